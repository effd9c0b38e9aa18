"""Looking at packed samples: the right one by its key, and a sheet of some of every source."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mermed.contract import SampleMeta, load_manifest
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.pack.pages.preview import GAP_PX, TILE_PX, choose_samples, make_sheet
from mermed.pack.pages.show import find_sample
from mermed.tar import check_shard

GOLDEN = Path(__file__).resolve().parents[2] / "shards" / "golden" / "v1"


def meta(key, split="train", modality="ct", size=(40, 30), **changes):
    fields = {"dataset": "set", "group": "ab" * 10, "source_bits": 8, "labels": {"class": "cyst"}, **changes}
    return SampleMeta(key=key, modality=modality, split=split, width=size[0], height=size[1], **fields)


def grey(level, size=(40, 30)):
    return Image.new("L", size, level)


@pytest.fixture
def folder(build_collection):
    """Twelve pictures in two modalities and splits; grey level 10 times their number."""
    samples = [(meta(f"set-{number:02d}"), grey(10 * number), "png") for number in range(6)]
    samples += [(meta(f"set-{number:02d}", "val"), grey(10 * number), "png") for number in range(6, 9)]
    samples += [(meta(f"set-{number:02d}", modality="us"), grey(10 * number), "png") for number in range(9, 12)]
    return build_collection(samples)


def test_every_sample_of_a_collection_is_found_by_its_key():
    for row in load_manifest(GOLDEN).shards:
        for sample in check_shard(GOLDEN / row.name, row):
            found = find_sample(GOLDEN, sample.meta.key)
            assert (found.shard, found.sample) == (row.name, sample)


def test_a_key_that_begins_another_is_not_taken_for_it(build_collection):
    made = build_collection([(meta("set-10"), grey(100), "png"), (meta("set-1"), grey(10), "png")])
    assert find_sample(made, "set-1").picture().getpixel((0, 0)) == 10
    with pytest.raises(ConfigError):
        find_sample(made, "et-1")


def test_an_unknown_key_is_answered_with_those_that_begin_alike(folder):
    with pytest.raises(ConfigError) as caught:
        find_sample(folder, "set-1")
    assert "set-10" in str(caught.value)
    assert "mermed-shard preview" in str(caught.value)
    with pytest.raises(ConfigError, match="none that begins alike"):
        find_sample(folder, "other-key")


def test_what_cannot_be_a_key_is_not_repeated(folder):
    with pytest.raises(ContractError) as caught:
        find_sample(folder, "Smith.John.1961")
    assert "Smith" not in str(caught.value)


def test_the_description_is_plain_json_with_shard_and_size(folder):
    description = json.loads(json.dumps(find_sample(folder, "set-07").describe()))
    assert description["shard"] == "ct/val/ct-val-000000.tar"
    assert (description["key"], description["labels"], description["extension"]) == ("set-07", {"class": "cyst"}, "png")
    assert description["image_bytes"] == len(find_sample(folder, "set-07").sample.image)


def test_16_bits_are_shown_through_the_window_of_the_sample(build_collection):
    stored = Image.fromarray((np.arange(1200, dtype=np.uint16).reshape(30, 40)) + 500)
    deep = meta("deep-1", window=(100.0, 400.0), rescale=(1.0, -1000.0), source_bits=12)
    shown = np.asarray(find_sample(build_collection([(deep, stored, "png")]), "deep-1").picture())
    hu = np.asarray(stored).astype(float) - 1000.0
    expected = np.clip((hu - 100.0) / 400.0 + 0.5, 0, 1) * 255
    assert shown.dtype == np.uint8
    assert np.abs(shown - expected).max() <= 0.51


def test_a_changed_byte_is_reported_with_shard_and_key(folder):
    row = load_manifest(folder).shards[0]
    content = bytearray((folder / row.name).read_bytes())
    content[content.index(b"IDAT") + 6] ^= 1
    (folder / row.name).write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        find_sample(folder, "set-00")
    assert {"shard": row.name, "key": "set-00"}.items() <= caught.value.where.items()


def test_a_lost_index_or_shard_is_told_with_the_next_step(folder):
    row = load_manifest(folder).shards[0]
    (folder / row.name).unlink()
    with pytest.raises(IntegrityError, match="mermed-shard verify"):
        find_sample(folder, "set-00")
    (folder / row.index_name).unlink()
    with pytest.raises(IntegrityError, match="mermed-shard index"):
        find_sample(folder, "set-00")


def test_a_stale_index_is_refused(folder):
    row = load_manifest(folder).shards[0]
    path = folder / row.index_name
    path.write_text(path.read_text().replace("set-00", "set-99"))
    with pytest.raises(IntegrityError, match="stale"):
        find_sample(folder, "set-99")


def test_a_sheet_holds_some_of_every_source_and_says_how_many_there_are(folder):
    strips = choose_samples(folder, per_source=2)
    assert [(strip.source, strip.num_samples, len(strip.samples)) for strip in strips] == [
        ("ct/set/train", 6, 2),
        ("ct/set/val", 3, 2),
        ("us/set/train", 3, 2),
    ]
    assert choose_samples(folder, per_source=2) == strips
    assert [len(strip.samples) for strip in choose_samples(folder, per_source=64)] == [6, 3, 3]


def test_one_modality_can_be_chosen(folder):
    assert [strip.source for strip in choose_samples(folder, modality="us")] == ["us/set/train"]
    with pytest.raises(ConfigError, match=r"ct \| us"):
        choose_samples(folder, modality="oct")


def test_samples_go_on_in_the_next_shard(build_collection):
    folder = build_collection([(meta(f"a-{n}"), grey(n), "png") for n in range(3)])
    other = build_collection([(meta(f"b-{n}"), grey(n), "png") for n in range(3)], "other")
    first, second = load_manifest(folder).shards[0], load_manifest(other).shards[0]
    moved = replace(second, name="ct/train/ct-train-000001.tar")
    for source, name in ((second.name, moved.name), (second.index_name, moved.index_name)):
        shutil.copy(other / source, folder / name)
    manifest = replace(load_manifest(folder), shards=(first, moved))
    (folder / "manifest.json").write_bytes(manifest.encode())
    (strip,) = choose_samples(folder, per_source=5)
    assert [found.sample.meta.key for found in strip.samples] == ["a-0", "a-1", "a-2", "b-0", "b-1"]


def tile(sheet, row, column):
    """The pixels of one tile; rows are as high as the sheet says."""
    rows = round((sheet.height - GAP_PX) / row[1])
    top = GAP_PX + row[0] * rows + 26
    left = GAP_PX + column * (TILE_PX + GAP_PX)
    return np.asarray(sheet)[top : top + TILE_PX, left : left + TILE_PX]


def test_every_picture_of_the_sheet_is_the_packed_one(folder):
    strips = choose_samples(folder, per_source=3)
    sheet = make_sheet(strips)
    for number, strip in enumerate(strips):
        for column, found in enumerate(strip.samples):
            level = 10 * int(found.sample.meta.key[-2:])
            pixels = tile(sheet, (number, len(strips)), column)
            # 40 x 30 is enlarged four times, in the middle of a black square.
            assert (pixels[20:140] == level).all()
            assert not pixels[:20].any()
            assert not pixels[140:].any()


def test_a_sheet_is_the_same_every_time_and_holds_labels_of_any_kind(build_collection):
    labels = [{}, {"class": "a very long name of a class " * 9}, {"findings": {"x" * 90: 1}}, {"class": "Läsion 病変"}]
    samples = [(meta(f"set-{n}", labels=label), grey(90), "jpg") for n, label in enumerate(labels)]
    folder = build_collection(samples)
    sheets = [make_sheet(choose_samples(folder)) for _ in range(2)]
    assert sheets[0].tobytes() == sheets[1].tobytes()
    # The gap between the tiles stays empty: no caption runs into its neighbour.
    gap = np.asarray(sheets[0])[GAP_PX + 26 :, GAP_PX + TILE_PX + 2 : TILE_PX + 2 * GAP_PX - 2]
    assert len(np.unique(gap.reshape(-1, 3), axis=0)) == 1


def test_a_sheet_that_no_image_could_hold_is_refused(folder):
    strips = choose_samples(folder) * 200
    with pytest.raises(ConfigError, match="--per-source"):
        make_sheet(strips)
