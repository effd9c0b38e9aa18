"""Arrays packed by their recipes, to the end: every frame has its own label, group and split in its sample's JSON."""

import csv
import json
import tarfile

import numpy as np
import pytest
from medmnist_trees import chestmnist
from path_trees import pannuke, pcam

from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.shelf import find_recipe
from mermed.pack.treatment import Treatment

h5py = pytest.importorskip("h5py")


@pytest.fixture
def packed(tmp_path, pack_source):
    """Pack the miniature of a recipe after `fill(root)` gave its images pixels; returns the JSON of all samples."""

    def run(name, tree, fill):
        root = tmp_path / "root"
        root.mkdir()
        tree(root)
        fill(root)
        out, _ = pack_source(list_recipe(root, find_recipe(name)))
        metas = []
        for path in sorted(out.rglob("*.tar")):
            with tarfile.open(path) as tar:
                metas += [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
        with (out / "quarantine.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == []
        return metas

    return run


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def test_every_chestmnist_image_keeps_its_fourteen_findings(packed):
    def fill(root):
        path = root / "chestmnist_224.npz"
        with np.load(path) as loaded:
            arrays = dict(loaded)
        for number, part in enumerate(("train", "val", "test")):
            arrays[f"{part}_images"] = noise(3, 40, 40 + number)
        np.savez(path, **arrays)

    metas = packed("chestmnist", chestmnist, fill)
    assert len(metas) == 9
    found = {(m["split"], m["frame"]): sorted(k for k, v in m["labels"]["findings"].items() if v) for m in metas}
    for split in ("train", "val", "test"):
        assert [found[split, frame] for frame in range(3)] == [["atelectasis", "hernia"], [], ["infiltration"]]
    assert all(len(m["labels"]["findings"]) == 14 for m in metas)


def test_every_pcam_patch_keeps_its_class_and_patches_of_a_slide_their_group(packed):
    def fill(root):
        for path in root.glob("*_x.h5"):
            rng = np.random.default_rng(list(path.name.encode()))
            with h5py.File(path, "r+") as file:
                file["x"][...] = rng.integers(0, 256, file["x"].shape, dtype=np.uint8)

    metas = {(m["split"], m["frame"]): m for m in packed("pcam", pcam, fill)}
    assert {key: m["labels"]["class"] for key, m in metas.items() if key[0] == "train"} == {
        ("train", 0): "normal", ("train", 1): "tumour", ("train", 2): "normal",
    }  # fmt: skip
    groups = [metas["train", frame]["group"] for frame in range(3)]
    assert groups[0] == groups[1] != groups[2]


def test_pannuke_patches_stored_as_real_numbers_are_packed_as_bytes(packed):
    def fill(root):
        for fold in (1, 2, 3):
            path = root / f"Fold {fold}" / "images" / f"fold{fold}" / "images.npy"
            np.save(path, noise(2, 64, 60 + fold, 3).astype(np.float64))

    metas = packed("pannuke", pannuke, fill)
    assert {(m["split"], m["labels"]["class"], m["source_bits"]) for m in metas} == {
        (split, tissue, 8) for split in ("train", "val", "test") for tissue in ("Breast", "Bile-duct")
    }


@pytest.mark.parametrize("bad", [256.0, -1.0, 3.5, np.nan])
def test_colour_beyond_the_bits_of_the_recipe_is_refused_and_without_a_recipe_never_guessed(tmp_path, bad):
    pixels = noise(2, 8, 8, 3).astype(np.float64)
    pixels[1, 0, 0, 0] = bad
    np.save(tmp_path / "x.npy", pixels)
    first, rest = read_frames(RawFile(tmp_path / "x.npy"), Bounds(), Treatment(bits=8))
    assert isinstance(first, RawImage)
    assert np.array_equal(first.pixels, pixels[0])
    assert (rest.reason, rest.count) == ("range", 1)
    with pytest.raises(RejectedInput, match="no_decoder"):
        list(read_frames(RawFile(tmp_path / "x.npy"), Bounds(), Treatment()))
