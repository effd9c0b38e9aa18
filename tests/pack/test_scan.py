"""Scan: known datasets are recognised by their files, and a draft for unknown ones loads, lists and is mostly right."""

import shutil

import numpy as np
import pytest
from collected import MINIATURES
from miniature import write_bytes, write_image, write_table
from PIL import Image

from mermed.errors import ConfigError
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.recipe import load_recipe
from mermed.pack.recipes.scan import recognise
from mermed.pack.recipes.scan_draft import draft_recipe
from mermed.pack.recipes.shelf import known_recipes

# Datasets that are downloaded into one folder and read it with a recipe each, or that only their folder's name tells.
RETFOUND = {name for name in MINIATURES if name.endswith("_retfound")}
SHARED_ROOTS = {"nct_crc_he": {"crc_val_he_7k"}, "crc_val_he_7k": {"nct_crc_he"}, **dict.fromkeys(RETFOUND, RETFOUND)}


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_a_miniature_is_recognised_as_itself_and_nothing_else(name, tmp_path):
    root = tmp_path / "downloads" / "some name"
    root.mkdir(parents=True)
    MINIATURES[name](root)
    found = recognise(tmp_path, known_recipes())
    assert name in {each.recipe.name for each in found}
    assert {each.recipe.name for each in found} <= {name, *SHARED_ROOTS.get(name, ())}
    assert all(list_recipe(each.root, each.recipe).images for each in found)


def test_several_datasets_in_one_folder_are_each_found_at_their_own_root(tmp_path):
    for name in ("rsna_ich_2019", "deeplesion", "lidc_idri", "nih_chestxray14"):
        (tmp_path / name[:4]).mkdir()
        MINIATURES[name](tmp_path / name[:4])
    found = {each.recipe.name: each.root for each in recognise(tmp_path, known_recipes())}
    assert found == {
        "deeplesion": tmp_path / "deep",
        "lidc_idri": tmp_path / "lidc",
        "nih_chestxray14": tmp_path / "nih_",
        "rsna_ich_2019": tmp_path / "rsna",
    }


def test_a_dataset_left_in_its_archive_is_recognised(tmp_path):
    MINIATURES["sars_cov_2"](tmp_path / "tree")
    shutil.make_archive(str(tmp_path / "sars"), "zip", tmp_path / "tree")
    shutil.rmtree(tmp_path / "tree")
    (found,) = recognise(tmp_path, known_recipes())
    assert (found.recipe.name, found.root) == ("sars_cov_2", tmp_path)


def test_nothing_is_recognised_in_an_empty_folder_or_by_the_name_of_a_folder(tmp_path):
    (tmp_path / "nih_chestxray14").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert recognise(tmp_path, known_recipes()) == []


def _drafted(root, tmp_path):
    draft = draft_recipe(root)
    (tmp_path / "draft.toml").write_text(draft.text, "utf-8")
    recipe = load_recipe(tmp_path / "draft.toml")
    assert list_recipe(root, recipe) == draft.listing
    return recipe, {image.file: image for image in draft.listing.images}, draft


def test_a_draft_takes_splits_and_classes_from_folders_and_patients_from_names(tmp_path):
    root = tmp_path / "breast ultrasound"
    for part in ("train", "test"):
        for kind in ("benign", "malignant"):
            for number in range(3):
                write_image(root / "data" / part / kind / f"patient{part[1]}{number}_{kind} (1).png")
    recipe, images, _ = _drafted(root, tmp_path)
    assert (recipe.name, recipe.modality) == ("breast_ultrasound", "us")
    image = images["data/test/malignant/patiente2_malignant (1).png"]
    assert (image.labels, image.split) == ({"class": "malignant"}, "test")


def test_a_draft_reads_the_patient_in_a_name(tmp_path):
    root = tmp_path / "skin"
    for number in range(6):
        write_image(root / ("nevus", "melanoma")[number % 2] / f"patient_{number // 2:03d}_{number}.jpg", mode="RGB")
    recipe, images, _ = _drafted(root, tmp_path)
    assert recipe.modality == "derm"
    assert images["melanoma/patient_002_5.jpg"].patient_id == "patient_002"
    assert images["melanoma/patient_002_5.jpg"].labels == {"class": "melanoma"}


def test_a_draft_joins_the_table_that_names_the_images(tmp_path):
    root = tmp_path / "fundus"
    rows = []
    for number in range(12):
        write_image(root / "images" / f"{number:05d}.png", mode="RGB")
        rows.append(
            [
                f"{number:05d}",
                f"p{number // 2}",
                "63",
                ("mild", "severe")[number % 2],
                ("training", "holdout")[number > 9],
            ]
        )
    write_table(root / "meta.csv", ["id_code", "patient_id", "age", "diagnosis", "split"], rows, delimiter=";")
    write_table(root / "other.csv", ["site", "country"], [["a", "x"], ["b", "y"]])
    recipe, images, draft = _drafted(root, tmp_path)
    assert recipe.modality == "cfp"
    assert recipe.tables[0].file == ("meta.csv",)
    image = images["images/00003.png"]
    assert (image.labels, image.patient_id, image.split) == ({"class": "severe"}, "p1", "train")
    assert images["images/00010.png"].split == ""
    assert {row.place: row.reason for row in draft.listing.rejected} == {"fundus/other.csv": "not_listed"}


@pytest.mark.parametrize(("both", "form"), [(False, "one_hot"), (True, "findings")])
def test_a_draft_tells_one_class_of_several_columns_from_several_findings(both, form, tmp_path):
    root = tmp_path / "chest xray"
    rows = []
    for number in range(6):
        write_image(root / f"{number}.png")
        rows.append([f"{number}.png", str(int(number % 2 == 0)), str(int(number % 2 == 1 or both)), "0"])
    write_table(root / "labels.csv", ["image", "edema", "mass", "nodule"], [*rows, ["9.png", "0", "0", "1"]])
    recipe, images, draft = _drafted(root, tmp_path)
    assert bool(recipe.labels.one_hot) == (form == "one_hot")
    assert bool(recipe.labels.findings) == (form == "findings")
    assert images["1.png"].labels == ({"findings": {"edema": 0, "mass": 1, "nodule": 0}} if both else {"class": "mass"})
    assert [row.reason for row in draft.listing.rejected] == ["missing"]


def test_masks_are_found_by_name_and_by_their_two_values(tmp_path):
    root = tmp_path / "us"
    for number in range(3):
        write_image(root / "benign" / f"benign ({number}).png")
        write_image(root / "benign" / f"benign ({number})_mask.png")
        path = root / "second" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.where(np.eye(16) > 0, 255, 0).astype(np.uint8)).save(path)
    _, images, draft = _drafted(root, tmp_path)
    assert sorted(images) == [f"benign/benign ({number}).png" for number in range(3)]
    assert {row.reason for row in draft.listing.rejected} == {"mask"}
    assert len(draft.listing.rejected) == 6


def test_a_draft_of_damaged_and_odd_files_still_lists(tmp_path):
    root = tmp_path / "[x] {y}"
    write_bytes(root / "a b, (1)" / "1.png", b"no image")
    write_bytes(root / "a b, (1)" / "2.png", b"")
    write_image(root / "labels_gt" / "1.png")
    (root / "bad.csv").write_bytes(b"\xff\xfe\0,\n\0")
    _, images, draft = _drafted(root, tmp_path)
    assert sorted(images) == ["a b, (1)/1.png", "a b, (1)/2.png"]
    assert 'modality = "unknown"' in draft.text


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(ConfigError, match="no image found"):
        draft_recipe(tmp_path)
