"""Recipes over real file names: real images laid out as their dataset lays them out. Skipped where they are absent."""

import csv

import pytest

from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.shelf import find_recipe


@pytest.fixture
def lay_out(real_data, tmp_path):
    """Copies the files of a real set to where `place(row)` says, and returns their rows by that place."""

    def copy(folder, place):
        with (real_data / "real" / folder / "labels.csv").open(newline="") as file:
            rows = {place(row): row for row in csv.DictReader(file) if place(row)}
        for target, row in rows.items():
            path = tmp_path / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((real_data / "real" / folder / row["file"]).read_bytes())
        return rows

    return copy


def name_of(row):
    return row["file"].rsplit("/", 1)[1]


def listed(recipe, root):
    listing = list_recipe(root, find_recipe(recipe))
    return {image.file: image for image in listing.images}, {row.place: row.reason for row in listing.rejected}


def test_every_real_busi_file_is_listed_under_its_class_and_every_mask_is_left_out(lay_out, tmp_path):
    rows = lay_out("us/busi_256", lambda row: f"Dataset_BUSI_with_GT/{row['label']}/{name_of(row)}")
    for place in list(rows)[::10]:
        (tmp_path / place.replace(".png", "_mask.png")).write_bytes(b"a mask")
    images, reasons = listed("busi", tmp_path)
    assert {file: image.labels["class"] for file, image in images.items()} == {
        k: row["label"] for k, row in rows.items()
    }
    assert set(reasons.values()) == {"mask"}
    assert len(reasons) == len(list(rows)[::10])


def test_the_patients_of_real_kermany_scans_are_read_from_their_names(lay_out, tmp_path):
    rows = lay_out("oct/kermany_oct_few", lambda row: f"OCT2017/train/{row['label'].upper()}/{name_of(row)}")
    images, _ = listed("kermany_oct2017", tmp_path)
    assert set(images) == set(rows)
    for file, row in rows.items():
        assert images[file].labels["class"] == row["label"]
        assert f"kermany_{images[file].patient_id}" == row["patient_id"]


def test_the_eyes_of_real_odir_patients_stay_together(lay_out, tmp_path):
    rows = lay_out(
        "cfp/eye_diseases_256",
        lambda row: row["source"] == "odir" and f"ODIR-5K/ODIR-5K/Training Images/{name_of(row)}",
    )
    letters = {"normal": "N", "cataract": "C", "glaucoma": "G"}
    table = ["filename,labels", *(f"{name_of(row)},['{letters[row['label']]}']" for row in rows.values())]
    (tmp_path / "full_df.csv").write_text("\n".join(table) + "\n")
    images, reasons = listed("odir5k", tmp_path)
    assert set(images) == set(rows)
    assert not reasons
    for file, row in rows.items():
        assert images[file].labels["class"] == row["label"]
        assert f"odir_{images[file].patient_id}" == row["patient_id"]


def test_real_files_of_the_cataract_set_fit_its_recipe(lay_out, tmp_path):
    rows = lay_out(
        "cfp/eye_diseases_256",
        lambda row: row["source"] == "retina_dataset" and f"dataset/2_{row['label']}/{name_of(row)}",
    )
    images, reasons = listed("retina_cataract", tmp_path)
    assert {file: image.labels["class"] for file, image in images.items()} == {
        k: row["label"] for k, row in rows.items()
    }
    assert not reasons
