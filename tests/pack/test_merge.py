"""Merge: several collections become one that verifies, byte for byte the same shards, or nothing."""

import csv
import hashlib

import numpy as np
import pytest
from click.testing import CliRunner

from mermed.cli.shard_merge import merge as merge_command
from mermed.contract import load_manifest
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.pack.checks.merge import merge
from mermed.pack.checks.stats import check_stats, compute_stats
from mermed.pack.checks.verify import verify


def noise(seed):
    return np.random.default_rng(seed).integers(seed % 7 * 20, 256, (24, 31), dtype=np.uint8)


def samples(prefix, *, dataset="set", label="a", seed=0, **fixed):
    splits = ("train", "train", "val", "test", "train")
    return [
        {"key": f"{prefix}-{n}", "pixels": noise(seed + n), "dataset": dataset, "split": split, "label": label} | fixed
        for n, split in enumerate(splits)
    ]


@pytest.fixture
def two(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", samples("k", dataset="zebra") + samples("m", modality="us", seed=20))
    other = write_collection(tmp_path / "other", samples("n", dataset="ant", seed=40), listed=True)
    return one, other


def test_the_merged_collection_verifies_and_its_shards_keep_their_bytes(two, tmp_path):
    merged = merge(tmp_path / "out", two)
    assert verify(tmp_path / "out").problems == ()
    parts = [row for folder in two for row in load_manifest(folder).shards]
    assert sorted(row.sha256 for row in merged.shards) == sorted(row.sha256 for row in parts)
    assert merged.totals["packed"] == 15
    names = [(row.name, row.dataset) for row in merged.shards if row.source.startswith("cxr") and row.split == "train"]
    assert names == [("cxr/train/cxr-train-000000.tar", "ant"), ("cxr/train/cxr-train-000001.tar", "zebra")]


def test_merged_constants_are_those_of_the_images(two, tmp_path):
    merged = merge(tmp_path / "out", two)
    computed = compute_stats(tmp_path / "out", merged)
    check_stats(computed, merged)
    for modality in ("cxr", "us"):
        np.testing.assert_allclose(merged.stats[modality]["mean"], computed[modality]["mean"], rtol=1e-13)
        np.testing.assert_allclose(merged.stats[modality]["std"], computed[modality]["std"], rtol=1e-11)
    assert merged.stats["cxr"]["images"] == 6


def test_lists_are_joined_and_what_one_lacks_stays_empty(two, tmp_path):
    merge(tmp_path / "out", two)
    lines = list(csv.DictReader((tmp_path / "out" / "splits.csv").read_text("utf-8").splitlines()))
    assert len(lines) == 15
    assert {bool(line["pixels"]) for line in lines if line["dataset"] == "ant"} == {True}
    assert {line["pixels"] for line in lines if line["dataset"] == "zebra"} == {""}


def test_label_spaces_of_one_dataset_are_united(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", samples("k", label="b"))
    other = write_collection(tmp_path / "other", samples("m", label="a", seed=9))
    assert merge(tmp_path / "out", [one, other]).labels == {"cxr/set": {"kind": "multi-class", "classes": ["a", "b"]}}


def test_a_key_in_two_collections_is_refused_and_nothing_is_published(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", samples("k"))
    other = write_collection(tmp_path / "other", samples("k", dataset="else"))
    with pytest.raises(ContractError, match="a key occurs"):
        merge(tmp_path / "out", [one, other])
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_a_group_in_two_splits_is_refused(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", [{"key": "a", "pixels": noise(1), "group": "p"}])
    other = write_collection(tmp_path / "other", [{"key": "b", "pixels": noise(2), "group": "p", "split": "test"}])
    with pytest.raises(ContractError, match="groups stand in two splits"):
        merge(tmp_path / "out", [one, other])


def test_a_group_id_of_another_dataset_is_another_group(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", [{"key": "a", "pixels": noise(1), "group": "p"}])
    theirs = {"key": "b", "pixels": noise(2), "group": "p", "split": "test", "dataset": "else"}
    other = write_collection(tmp_path / "other", [theirs])
    assert merge(tmp_path / "out", [one, other]).totals["packed"] == 2


def test_a_damaged_shard_is_refused_by_name(two, tmp_path):
    row = load_manifest(two[1]).shards[0]
    content = bytearray((two[1] / row.name).read_bytes())
    content[700] ^= 1
    (two[1] / row.name).write_bytes(content)
    with pytest.raises(IntegrityError, match=row.name):
        merge(tmp_path / "out", two)


def test_contradicting_kinds_of_labels_are_refused(write_collection, tmp_path):
    one = write_collection(tmp_path / "one", samples("k"))
    other = write_collection(tmp_path / "other", samples("m", seed=9))
    text = (other / "manifest.json").read_text().replace("multi-class", "multi-label")
    (other / "manifest.json").write_text(text)
    with pytest.raises(ContractError, match="in two ways"):
        merge(tmp_path / "out", [one, other])


def test_links_that_are_not_possible_become_checked_copies(two, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "cross-device link")

    monkeypatch.setattr("mermed.pack.checks.merge.os.link", refuse)
    merged = merge(tmp_path / "out", two)
    row = merged.shards[0]
    assert hashlib.sha256((tmp_path / "out" / row.name).read_bytes()).hexdigest() == row.sha256
    assert verify(tmp_path / "out").problems == ()


def test_a_merge_that_died_is_ended_by_the_next(two, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mermed.pack.checks.merge._merge_list", die)
        with pytest.raises(KeyboardInterrupt):
            merge(tmp_path / "out", two)
    assert not (tmp_path / "out" / "manifest.json").exists()
    merge(tmp_path / "out", two[1:])
    assert verify(tmp_path / "out").problems == ()
    with pytest.raises(ConfigError, match="holds a finished collection"):
        merge(tmp_path / "out", two)


@pytest.mark.parametrize("twice", [True, False])
def test_a_folder_named_twice_is_refused(twice, two, tmp_path):
    with pytest.raises(ConfigError, match="named twice"):
        merge(two[0] if not twice else tmp_path / "out", [two[0], two[0]] if twice else [two[0]])


def test_the_command_says_what_it_did(two, tmp_path):
    result = CliRunner().invoke(merge_command, [str(tmp_path / "out"), *map(str, two)], catch_exceptions=False)
    assert "merged 15 samples" in result.output
