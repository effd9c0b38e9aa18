"""Every format file through a whole pack: packed, or left out with the right reason, and the accounts close."""

import csv
import shutil
from collections import Counter

import pytest

from mermed.contract import load_manifest
from mermed.pack.checks.verify import verify
from mermed.pack.work.engine import LocalEngine

PREFIXES = {
    "ct_": "ct", "series17": "ct", "mr_": "ct", "seg_": "ct", "sr_": "ct", "cr_": "cxr", "cxr": "cxr", "dx": "cxr",
    "us": "us", "derm": "derm", "fundus": "cfp", "png_named": "cfp", "oct": "oct", "path": "path", "wsm": "path",
    "CMU": "path", "pyramid": "path", "empty": "ct",
}  # fmt: skip
# What of each file is left out; every other file is packed whole. Counts of frames are those of the default sampling.
LEFT_OUT = {
    "mr_small_bigendian.nii": {"blank": 5, "not_sampled": 4},
    "ct_jpeg_process10_12_retired.dcm": {"no_decoder": 1},
    "ct_jpeg_extended_12bit.dcm": {"no_decoder": 1},
    "mr_truncated_pixels.dcm": {"truncated": 1},
    "sr_no_pixels.dcm": {"no_pixels": 1},
    "seg_liver_1bit_3frames.dcm": {"segmentation": 1},
    "empty.png": {"empty": 1},
    "cxr_truncated.jpg": {"truncated": 1},
    "ct_head_avm_256x242x154_uint8.nii.gz": {"little_content": 32, "not_sampled": 122},
    "wsm_tiled_25frames_10x10.dcm": {"small_tile": 25},
    "CMU-1-Small-Region.svs": {"blank_tile": 14},
    "pyramid_jpeg_tiled.tif": {"blank_tile": 14},
    "us_cine_30frames_ybr422_jpeg.dcm": {"near_duplicate_frame": 24},
    "us_lung.avi": {"near_duplicate_frame": 64},
    "us_lung.gif": {"near_duplicate_frame": 14, "not_sampled": 13},
    "us_lung.mp4": {"near_duplicate_frame": 173},
    "us_lung.mpeg": {"near_duplicate_frame": 164},
}
SAME_SLICE = {
    f"ct_{name}.dcm"
    for name in (
        "implicit_le", "explicit_le", "explicit_be", "deflated", "rle", "j2k_lossless", "jpegls_lossless",
        "jpeg_lossless_sv1",
    )
}  # fmt: skip


@pytest.fixture
def format_source(real_data, tmp_path):
    """All format files as one dataset per modality."""
    for name in ("pydicom", "nibabel", "openslide", "av", "gdcm"):
        pytest.importorskip(name)
    rows = {}
    for path in sorted((real_data / "formats").rglob("*")):
        file = path.relative_to(real_data / "formats")
        if path.is_dir() or len(file.parts) == 1:
            continue
        names = (file.parts[1], file.name)
        modality = next(slug for prefix, slug in PREFIXES.items() if any(name.startswith(prefix) for name in names))
        target = tmp_path / "src" / modality / "formats" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        rows.setdefault(modality, []).append(file.as_posix())
    for modality, files in rows.items():
        with (tmp_path / "src" / modality / "formats" / "labels.csv").open("w", newline="") as table:
            csv.writer(table).writerows([("file", "label"), *((file, "") for file in files)])
    return tmp_path / "src"


@pytest.mark.slow
def test_all_format_files_are_packed_or_left_out_for_the_right_reason(format_source, pack_source, listed):
    out, result = pack_source(format_source, engine=LocalEngine(hands=2))
    found = {}
    for name in ("quarantine.csv", "excluded.csv"):
        for row in listed(out / name):
            counts = found.setdefault(row["file"].split("/")[-1], Counter())
            counts[row["reason"]] += int(row["images"])
    assert found == {name: Counter(counts) for name, counts in LEFT_OUT.items()}
    dropped = {row["file"].split("/")[-1] for row in listed(out / "duplicates.csv")}
    assert len(dropped & SAME_SLICE) == 7
    assert dropped - SAME_SLICE == {"ct_float64.tif", "ct_multipage_uint16.tif"} or len(dropped - SAME_SLICE) == 2
    totals = load_manifest(out).totals
    assert totals["inputs"] == sum(totals[name] for name in ("packed", "duplicates", "excluded", "quarantined"))
    assert result.manifest.totals["packed"] == 187
    assert not verify(out).problems
