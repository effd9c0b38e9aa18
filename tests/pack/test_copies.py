"""Copies and leakage: one image or group in two places is found, inside collections and across, and nothing else."""

import csv
import io

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from mermed.cli.shard_compare import dedupe, split_check
from mermed.contract import load_manifest
from mermed.errors import ContractError, IntegrityError
from mermed.pack.checks.copies import KINDS, find_copies
from mermed.pack.checks.holdings import load_holdings, pixel_digest
from mermed.pack.checks.leakage import find_leakage
from mermed.tar import check_shard


def scene(seed, shape=(120, 160)):
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def stored_again(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def mirrored(pixels):
    return np.asarray(ImageOps.mirror(Image.fromarray(pixels)))


def centre(pixels, share):
    height, width = (round(side * share) for side in pixels.shape)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def read_csv(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def found(copies):
    held = copies.holdings
    rows = zip(copies.kind.tolist(), copies.first.tolist(), copies.second.tolist(), strict=True)
    return {(KINDS[kind], *sorted((held.keys[a].decode(), held.keys[b].decode()))) for kind, a, b in rows}


@pytest.fixture
def twins(write_collection, tmp_path):
    """Twelve pictures and, of the first: the same again, one stored again, mirrored, and cropped to 90 %."""
    first = scene(0)
    samples = [{"key": f"a{n}", "pixels": scene(n)} for n in range(12)]
    samples += [
        {"key": "same", "pixels": first, "label": "x"},
        {"key": "again", "pixels": stored_again(first), "split": "test", "label": "y"},
        {"key": "mirror", "pixels": mirrored(first)},
        {"key": "crop", "pixels": centre(first, 0.9)},
    ]
    return lambda **options: write_collection(tmp_path / "one", samples, **options)


FIRST_THREE = {("exact", "a0", "same"), ("near", "a0", "again"), ("near", "again", "same")}


@pytest.mark.parametrize("listed", [True, False], ids=["from splits.csv", "from the images"])
def test_equal_and_stored_again_copies_are_found_and_mirrors_only_when_asked(listed, twins):
    holdings = load_holdings([str(twins(listed=listed))])
    assert bool(holdings.decoded) is not listed
    assert found(find_copies(holdings)) == FIRST_THREE
    with_mirrors = found(find_copies(holdings, mirrored=True)) - FIRST_THREE
    assert with_mirrors == {("mirrored", *sorted((key, "mirror"))) for key in ("a0", "again", "same")}


def test_a_crop_of_90_percent_is_found_when_the_images_are_looked_at(twins):
    holdings = load_holdings([str(twins(listed=True))], crops=True, num_workers=2)
    cropped = found(find_copies(holdings, cropped=True)) - FIRST_THREE
    assert cropped == {("cropped", *sorted((key, "crop"))) for key in ("a0", "again", "same")}


def test_a_distance_of_zero_finds_only_equal_hashes(twins):
    copies = find_copies(load_holdings([str(twins(listed=True))]), distance=0)
    assert ("exact", "a0", "same") in found(copies)
    assert set(copies.distance.tolist()) == {0}


def test_the_same_image_under_two_modalities_is_no_pair(write_collection, tmp_path):
    samples = [{"key": "a", "pixels": scene(1)}, {"key": "b", "pixels": scene(1), "modality": "ct"}]
    assert len(find_copies(load_holdings([str(write_collection(tmp_path / "x", samples))]))) == 0


def test_dedupe_tells_conflicting_labels_and_writes_them_down(twins):
    folder = twins(listed=True)
    result = CliRunner().invoke(dedupe, [str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    lines = read_csv(folder / "near_duplicates.csv")
    assert len(lines) == 3
    conflict = next(line for line in lines if {line["key"], line["other_key"]} == {"same", "again"})
    assert conflict["relation"] == "other group, other split, other label"
    assert {conflict["label"], conflict["other_label"]} == {"x", "y"}
    row = next(line for line in result.output.splitlines() if " near " in line)
    assert row.split() == ["cxr", "near", "2", "0", "2", "2", "1"]


def test_one_image_under_two_labels_in_two_collections_is_told(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", [{"key": "a", "pixels": scene(1), "label": "benign"}], listed=True)
    other = write_collection(tmp_path / "other", [{"key": "b", "pixels": scene(1), "label": "malignant"}], listed=True)
    CliRunner().invoke(dedupe, [str(one), str(other)], catch_exceptions=False)
    (line,) = read_csv(one / "near_duplicates.csv")
    assert (line["kind"], line["relation"]) == ("exact", "other group, other label")
    assert {line["label"], line["other_label"]} == {"benign", "malignant"}


def test_a_collection_without_copies_says_so(write_collection, tmp_path):
    folder = write_collection(tmp_path / "x", [{"key": f"a{n}", "pixels": scene(n)} for n in range(9)])
    result = CliRunner().invoke(dedupe, [str(folder)], catch_exceptions=False)
    assert "no image of 9 is there twice" in result.output
    assert (folder / "near_duplicates.csv").read_text().count("\n") == 1


def test_copies_inside_one_split_are_no_leak(write_collection, tmp_path):
    samples = [{"key": f"a{n}", "pixels": scene(n % 3)} for n in range(6)]
    result = CliRunner().invoke(split_check, [str(write_collection(tmp_path / "x", samples))], catch_exceptions=False)
    assert result.exit_code == 0
    assert "nothing of 6 samples" in result.output


def test_a_group_in_two_splits_is_a_leak(write_collection, tmp_path):
    samples = [
        {"key": "a", "pixels": scene(1), "group": "p"},
        {"key": "b", "pixels": scene(2), "group": "p", "split": "test"},
        {"key": "c", "pixels": scene(3), "group": "p", "split": "val"},
        {"key": "d", "pixels": scene(4), "group": "q"},
    ]
    leakage = find_leakage(load_holdings([str(write_collection(tmp_path / "x", samples))]))
    assert found(leakage.pairs) == {("group", "a", "b"), ("group", "a", "c")}
    with pytest.raises(IntegrityError, match="splits leak") as caught:
        leakage.raise_if_leaking(allow_near=True)
    assert caught.value.exit_code == 4


def test_training_images_of_one_collection_in_the_test_set_of_another_leak(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", [{"key": f"a{n}", "pixels": scene(n)} for n in range(8)], listed=True)
    theirs = [
        {"key": "b0", "pixels": scene(50), "split": "test"},
        {"key": "b1", "pixels": scene(3), "split": "test"},
        {"key": "b2", "pixels": stored_again(scene(4)), "split": "test"},
        {"key": "b3", "pixels": stored_again(scene(5)), "split": "train"},
    ]
    other = write_collection(tmp_path / "other", theirs, listed=True)
    for folder in (one, other):
        assert find_leakage(load_holdings([str(folder)])).leaks == ()
    leakage = find_leakage(load_holdings([str(one), str(other)]))
    assert found(leakage.pairs) == {("exact", "a3", "b1"), ("near", "a4", "b2")}
    assert [(leak.kind, leak.source, leak.target, leak.spoiled) for leak in leakage.leaks] == [
        ("exact", f"{one} train", f"{other} test", 1),
        ("near", f"{one} train", f"{other} test", 1),
    ]


def test_look_alikes_are_accepted_only_with_allow_near_and_listed_all_the_same(write_collection, tmp_path):
    samples = [{"key": "a", "pixels": scene(1)}, {"key": "b", "pixels": stored_again(scene(1)), "split": "val"}]
    folder = write_collection(tmp_path / "x", samples)
    assert isinstance(CliRunner().invoke(split_check, [str(folder)]).exception, IntegrityError)
    accepted = CliRunner().invoke(split_check, [str(folder), "--allow-near", "--out", str(tmp_path / "l.csv")])
    assert accepted.exit_code == 0, accepted.output
    (line,) = read_csv(tmp_path / "l.csv")
    assert (line["kind"], {line["split"], line["other_split"]}) == ("near", {"train", "val"})


def test_a_list_that_does_not_fit_its_manifest_is_refused(twins):
    folder = twins(listed=True)
    lines = (folder / "splits.csv").read_text().splitlines()
    (folder / "splits.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ContractError, match="lists other samples"):
        load_holdings([str(folder)])
    assert len(load_holdings([str(folder)], decode=True)) == len(lines) - 1


def test_the_digest_of_a_pack_is_that_of_its_lossless_images(write_source, pack_source):
    folder, _ = pack_source(write_source([{"file": f"{n}.png", "label": "a"} for n in range(3)]), codec="png")
    listed = {line["key"]: line["pixels"] for line in read_csv(folder / "splits.csv")}
    stored = [s for row in load_manifest(folder).shards for s in check_shard(folder / row.name, row)]
    assert {s.meta.key: pixel_digest(np.asarray(Image.open(io.BytesIO(s.image)))) for s in stored} == listed


def test_a_place_without_a_collection_is_refused(tmp_path):
    with pytest.raises(ContractError, match="no packed collection"):
        load_holdings([str(tmp_path)])


def test_what_a_pack_lists_is_what_its_images_say_but_for_the_codec(collection):
    holdings = load_holdings([str(collection)])
    assert holdings.decoded == ()
    looked_at = load_holdings([str(collection)], decode=True)
    order, other = np.argsort(holdings.keys), np.argsort(looked_at.keys)
    assert (holdings.keys[order] == looked_at.keys[other]).all()
    assert np.bitwise_count(holdings.hashes[order] ^ looked_at.hashes[other]).sum(1).max() <= 8
    assert (holdings.group[order] == looked_at.group[other]).all()
