"""Pathology and dermatology recipes over real images, laid out as their datasets lay them out. Skipped where absent."""

import csv
import re

import pytest
from miniature import write_table

from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.shelf import find_recipe


@pytest.fixture
def lay_out(real_data, tmp_path):
    """Link the images of a real set to where `place(name)` says; returns their rows by that place."""

    def link(folder, place):
        source = real_data / "real" / folder
        if not source.is_dir():
            pytest.skip(f"{folder} is not there")
        with (source / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = {place(row["file"].rsplit("/", 1)[1]): row for row in csv.DictReader(file)}
        for target, row in rows.items():
            (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / target).write_bytes((source / row["file"]).read_bytes())
        return rows

    return link


HAM = {
    "akiec": "actinic_keratosis", "bcc": "basal_cell_carcinoma", "bkl": "benign_keratosis", "df": "dermatofibroma",
    "mel": "melanoma", "nv": "nevus", "vasc": "vascular_lesion",
}  # fmt: skip


def test_real_ham10000_files_meet_their_diagnosis_and_their_lesion(lay_out, tmp_path):
    rows = lay_out("derm/ham10000_224", lambda name: f"HAM10000_images_part_{1 + int(name[5:12]) % 2}/{name}")
    table = [
        [row["patient_id"], file.rsplit("/", 1)[1][:-4], row["label"], row["dx_type"]] for file, row in rows.items()
    ]
    write_table(tmp_path / "HAM10000_metadata.csv", ["lesion_id", "image_id", "dx", "dx_type"], table)
    listing = list_recipe(tmp_path, find_recipe("ham10000"))
    assert {image.file: (image.labels["class"], image.group_id) for image in listing.images} == {
        file: (HAM[row["label"]], row["patient_id"]) for file, row in rows.items()
    }
    assert len(listing.images) > 100
    assert listing.rejected == ()


def test_the_copies_of_real_lc25000_fields_are_grouped_by_their_published_clusters(lay_out, tmp_path):
    def place(name):
        tissue = re.match("lung(aca|n|scc)", name)[1]
        return f"lung_colon_image_set/lung_image_sets/lung_{tissue}/{name}"

    rows = lay_out("path/lc25000_lung_224", place)
    for tissue in ("lung_aca", "lung_n", "lung_scc"):
        clusters = [
            [row["patient_id"].rsplit("_", 1)[1], f"./LC25000/{tissue}/{file.rsplit('/', 1)[1]}"]
            for file, row in rows.items()
            if f"/{tissue}/" in file
        ]
        folder = tmp_path / "annotations" / tissue / "UNI" / "resize_only"
        write_table(folder / "final_clusters.csv", ["cluster_label", "img_path"], clusters)
    listing = list_recipe(tmp_path, find_recipe("lc25000"))
    assert {image.file: image.group_id for image in listing.images} == {f: row["patient_id"] for f, row in rows.items()}
    assert {image.labels["class"].removeprefix("lung_") for image in listing.images} == {
        row["label"] for row in rows.values()
    }
