"""Phantoms: the same bytes for a seed, real files of seven modalities, labels that the mean does not give away."""

import csv
import hashlib

import numpy as np
import pytest

from mermed.errors import ConfigError
from mermed.pack.options import PackOptions
from mermed.pack.phantoms.source import SCENES, make_phantoms
from mermed.pack.phantoms.strokes import draw_person
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.readers.raw import Bounds
from mermed.pack.readers.reading import read_image
from mermed.pack.readers.sniff import sniff


def tree(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(phantoms, modality):
    with (phantoms / modality / f"{modality}_phantoms" / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        make_phantoms(tmp_path / name, images_per_modality=2, seed=seed)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    first, third = tree(tmp_path / "one"), tree(tmp_path / "three")
    assert not [name for name in first if "_000" in name and first[name] == third[name]]


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "x").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        make_phantoms(tmp_path)


def test_files_are_of_the_kinds_that_scanners_make(phantoms):
    kinds = {m: {sniff(p) for p in (phantoms / m).rglob(f"images/{m}_*")} for m in SCENES}
    assert kinds == {m: {"dicom"} if m in ("ct", "cxr") else {"raster"} for m in SCENES}
    raws = [read_image(path, Bounds()) for path in sorted((phantoms / "cxr").rglob("*.dcm"))]
    assert {raw.is_inverted for raw in raws} == {True, False}
    assert {raw.source_bits for raw in raws} == {8, 12}
    slices = [read_image(path, Bounds()) for path in sorted((phantoms / "ct").rglob("*.dcm"))]
    assert {raw.scale for raw in slices} == {"hounsfield"}
    assert {raw.padding is not None for raw in slices} == {True, False}
    scans = [read_image(path, Bounds()) for path in sorted((phantoms / "oct").rglob("oct_*.png"))]
    assert {raw.source_bits for raw in scans} == {16}
    assert {raw.pixels.max() > 4095 for raw in scans} == {True, False}


def test_patients_have_several_images_and_some_rows_no_label(phantoms):
    for modality in SCENES:
        table = rows(phantoms, modality)
        group = "group_id" if modality == "us" else "patient_id"
        patients = [row[group] for row in table]
        assert 1.5 < len(patients) / len(set(patients)) <= 4.5
        assert ("split" in table[0]) == (modality == "derm")
    assert any(not row["label"] for modality in SCENES for row in rows(phantoms, modality))


@pytest.mark.parametrize("modality", sorted(SCENES))
def test_the_mean_says_little_about_the_label_and_the_form_says_much(modality):
    scene = SCENES[modality]
    rng = np.random.default_rng(0)
    images = {label: [] for label in scene.labels}
    for label in scene.labels:
        for _ in range(12):
            image = scene.draw(rng, draw_person(rng), label)
            grey = (
                image.mean(-1) if image.ndim == 3 else np.clip((image + 160) / 400, 0, 1) if modality == "ct" else image
            )
            images[label].append(grey)
    means = [np.array([grey.mean() for grey in images[label]]) for label in scene.labels]
    between = np.ptp([values.mean() for values in means])
    assert between < 1.5 * np.mean([values.std() for values in means])
    assert all(np.isfinite(grey).all() and grey.std() > 0.05 for group in images.values() for grey in group)


def test_monochrome1_phantoms_show_the_same_way_round(phantoms):
    corners = []
    for path in sorted((phantoms / "cxr").rglob("*.dcm")):
        image = np.asarray(make_canonical(read_image(path, Bounds()), "cxr", PackOptions()).image, int)
        corners.append((image[:, :6].mean(), image[60:100, 62:74].mean()))
    assert all(air + 40 < spine for air, spine in corners)
