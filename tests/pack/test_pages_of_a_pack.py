"""The pages a pack leaves beside its shards: complete, harmless, and without a word about anybody."""

import csv
import json
import re

import numpy as np
import pytest

from mermed.contract import load_manifest
from mermed.pack.packing import PackPlan
from mermed.pack.pages.preview import choose_samples, make_sheet
from mermed.pack.pages.show import find_sample
from mermed.pack.work.bucket import BucketSize

NAME, BIRTH = "Kowalska", "19610203"
ATTACK = "<script>alert(1)</script>"
PAGES = ("report.html", "README.md", "croissant.json", "manifest.json", "splits.csv")


def write_dicom(path):
    """A radiograph with a person in its header and in its UIDs."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.826.{BIRTH}.1"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{NAME}^Anna", f"{NAME}-77", BIRTH
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 40, 48, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.random.default_rng(7).integers(0, 4096, (40, 48), dtype=np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def source(write_source):
    """A source that names one patient wherever it can: files, folders, ids, headers, broken and missing ones."""
    rows = [
        {"file": f"{NAME}_Anna/{NAME}_{number}.png", "label": "benign", "patient_id": f"{NAME}-{BIRTH}"}
        for number in range(6)
    ]
    rows += [
        {"file": f"{NAME}.dcm", "label": ATTACK, "patient_id": NAME, "make": False},
        {"file": f"{NAME}_gone.png", "label": "benign", "patient_id": NAME, "make": False},
        {"file": f"{NAME}_cut.png", "label": "benign", "patient_id": NAME},
        {"file": f"{NAME}_copy.png", "label": "benign", "patient_id": NAME, "make": False},
        {"file": f"../{NAME}.png", "label": "benign", "patient_id": NAME, "make": False},
    ]
    root = write_source(rows)
    folder = root / "us" / "set"
    write_dicom(folder / f"{NAME}.dcm")
    content = (folder / f"{NAME}_cut.png").read_bytes()
    (folder / f"{NAME}_cut.png").write_bytes(content[: len(content) // 2])
    (folder / f"{NAME}_copy.png").write_bytes((folder / f"{NAME}_Anna" / f"{NAME}_0.png").read_bytes())
    (folder / f"{NAME}_letter.txt").write_text(f"Dear Mrs {NAME}")
    return root


def test_no_page_names_a_file_or_a_person(source, pack_source, listed):
    out, result = pack_source(source)
    assert {reason for _, reason in result.reasons} >= {"missing", "truncated", "path_escape", "same_pixels"}
    # The lists for the site do name files, so the names were there to be leaked.
    assert any(NAME in row["file"] for row in listed(out / "quarantine.csv"))
    for name in PAGES:
        content = (out / name).read_bytes().lower()
        for secret in (NAME, BIRTH, "anna", str(source), str(out)):
            assert secret.lower().encode() not in content, name


def test_the_report_tells_where_every_input_went(source, pack_source):
    out, result = pack_source(source)
    text = (out / "report.html").read_text("utf-8")
    totals = result.manifest.totals
    sums = " + ".join(f"{totals[bin]} {bin}" for bin in ("packed", "duplicates", "excluded", "quarantined"))
    assert f"{totals['inputs']} inputs = {sums}" in text
    for _, reason in result.reasons:
        assert f"<code>{reason}</code>" in text
    assert 0 < text.count('alt="packed"') <= 8
    assert "us/set" in text


def test_a_label_that_is_a_script_stays_a_label(source, pack_source):
    out, _ = pack_source(source)
    text = (out / "report.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text
    assert set(re.findall(r'src="(.{5})', text)) == {"data:"}


def test_without_thumbnails_no_page_holds_a_picture(source, pack_source):
    out, _ = pack_source(source, plan=PackPlan(bucket_size=BucketSize(shows=False)))
    text = (out / "report.html").read_text("utf-8")
    assert "<img" not in text
    assert "data:image" not in text
    assert "No thumbnails" in text


def test_the_pages_are_the_same_bytes_when_everything_is_packed_again(source, pack_source, tmp_path):
    first, _ = pack_source(source)
    second, _ = pack_source(source, out=tmp_path / "again")
    for name in PAGES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_what_splits_csv_and_croissant_name_can_be_shown(source, pack_source):
    out, _ = pack_source(source)
    with (out / "splits.csv").open(newline="") as file:
        keys = [row["key"] for row in csv.DictReader(file)]
    assert len(keys) == load_manifest(out).totals["packed"]
    for key in keys:
        assert find_sample(out, key).describe()["key"] == key
    strips = choose_samples(out)
    assert sum(len(strip.samples) for strip in strips) == len(keys)
    assert np.asarray(make_sheet(strips)).any()
    columns = {field["name"] for field in json.loads((out / "croissant.json").read_text())["recordSet"][0]["field"]}
    assert columns == {"key", "image", "split", "group", "dataset", "label"}
