"""A pack that goes on: only what changed is read, only affected shards are written, and parts make one collection."""

import hashlib
import os
import shutil
from dataclasses import replace

import pytest

from mermed.contract import load_manifest
from mermed.errors import ConfigError
from mermed.pack.checks.verify import verify
from mermed.pack.packing import PackPlan, Stopped
from mermed.pack.work import sample
from mermed.pack.work.bucket import BucketSize
from mermed.pack.work.engine import LocalEngine

SMALL = BucketSize(inputs=8)


def rows(count=60):
    return [{"file": f"{n:03d}.png", "label": "ab"[n % 2], "split": ("train", "val")[n % 2]} for n in range(count)]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def read_files(monkeypatch):
    """The names of the files whose pixels are read from now on."""
    names = []
    real = sample.read_frames

    def spy(file, bounds, treatment):
        names.append(file.path.name)
        return real(file, bounds, treatment)

    monkeypatch.setattr(sample, "read_frames", spy)
    return names


def test_an_unchanged_source_is_known_without_reading_a_pixel_or_writing_a_byte(write_source, pack_source, read_files):
    source = write_source(rows())
    out, _ = pack_source(source)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    del read_files[:]
    _, result = pack_source(source)
    assert read_files == []
    assert (result.num_made, result.num_known) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_new_changed_and_removed_files_touch_only_their_buckets(write_source, pack_source, read_files, tmp_path):
    plan = PackPlan(bucket_size=SMALL)
    source = write_source(rows())
    out, first = pack_source(source, plan=plan)
    shards = {row.sha256 for row in first.manifest.shards}
    folder = source / "us" / "set"
    shutil.copyfile(folder / "000.png", tmp_path / "kept.png")
    os.utime(folder / "004.png", ns=(1, 1))
    write_source([row for row in rows(61) if row["file"] != "002.png"])
    (folder / "002.png").unlink()
    del read_files[:]
    _, second = pack_source(source, plan=plan)
    assert len(read_files) < 40
    assert second.num_known > 3
    kept = shards & {row.sha256 for row in second.manifest.shards}
    assert len(kept) >= len(shards) - 3
    pack_source(source, out=tmp_path / "fresh", plan=plan)
    assert tree(out) == tree(tmp_path / "fresh")
    assert not verify(out).problems


def test_a_duplicate_comes_back_when_the_copy_that_was_kept_is_gone(write_source, pack_source, listed, tmp_path):
    plan = PackPlan(bucket_size=SMALL)
    source = write_source(rows())
    folder = source / "us" / "set"
    shutil.copyfile(folder / "001.png", folder / "003.png")
    out, first = pack_source(source, plan=plan)
    (dropped,) = listed(out / "duplicates.csv")
    kept = {"us/set/001.png": "003.png", "us/set/003.png": "001.png"}[dropped["file"]]
    write_source([row for row in rows() if row["file"] != kept])
    (folder / kept).unlink()
    _, second = pack_source(source, plan=plan)
    assert second.manifest.totals["packed"] == first.manifest.totals["packed"]
    assert second.manifest.totals["duplicates"] == 0
    pack_source(source, out=tmp_path / "fresh", plan=plan)
    assert tree(out) == tree(tmp_path / "fresh")


def test_held_out_copies_that_contradict_each_other_are_both_quarantined(write_source, pack_source, listed):
    source = write_source([{"file": f"{n}.png", "label": "ab"[n % 2], "split": "test"} for n in range(4)])
    folder = source / "us" / "set"
    shutil.copyfile(folder / "0.png", folder / "1.png")
    out, result = pack_source(source)
    assert result.manifest.totals["packed"] == 2
    quarantined = listed(out / "quarantine.csv")
    assert [(row["file"], row["reason"]) for row in quarantined] == [
        ("us/set/0.png", "label_conflict"),
        ("us/set/1.png", "label_conflict"),
    ] or {row["file"] for row in quarantined} == {"us/set/0.png", "us/set/1.png"}
    assert not verify(out).problems


@pytest.mark.parametrize("parts", [1, 3, 5])
def test_parts_and_one_last_pack_make_the_same_collection(parts, write_source, pack_source, read_files, tmp_path):
    source = write_source(rows())
    pack_source(source, out=tmp_path / "whole", plan=PackPlan(bucket_size=SMALL))
    for number in range(parts, 0, -1):
        _, result = pack_source(source, plan=PackPlan(part=(number, parts), bucket_size=SMALL))
        assert result.manifest is None
    assert not (tmp_path / "out" / "manifest.json").exists()
    del read_files[:]
    out, result = pack_source(source, plan=PackPlan(bucket_size=SMALL))
    assert (read_files, result.num_made) == ([], 0)
    assert tree(out) == tree(tmp_path / "whole")


def test_a_pack_that_is_asked_to_stop_ends_between_two_buckets_and_goes_on(
    write_source, pack_source, read_files, tmp_path
):
    source = write_source(rows())
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        pack_source(source, plan=PackPlan(bucket_size=SMALL, stop=lambda: next(asked)))
    first = list(read_files)
    pack_source(source, plan=PackPlan(bucket_size=SMALL))
    assert not set(first) & set(read_files[len(first) :])
    assert sorted(read_files) == [row["file"] for row in rows()]
    pack_source(source, out=tmp_path / "fresh", plan=PackPlan(bucket_size=SMALL))
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_other_options_or_another_salt_are_refused_unless_asked_for(write_source, pack_source, read_files, tmp_path):
    source = write_source(rows(10))
    pack_source(source)
    with pytest.raises(ConfigError, match="other rules") as caught:
        pack_source(source, side_px=32)
    assert "--rebuild" in caught.value.next_step
    del read_files[:]
    out, _ = pack_source(source, side_px=32, plan=PackPlan(rebuild=True))
    assert len(read_files) == 10
    pack_source(source, out=tmp_path / "fresh", side_px=32)
    assert tree(out) == tree(tmp_path / "fresh")


def test_a_collection_that_this_packer_did_not_make_is_not_extended_unasked(write_source, pack_source):
    source = write_source(rows(6))
    out, result = pack_source(source)
    foreign = replace(result.manifest, recipes={"plain": "0" * 64})
    (out / "manifest.json").write_bytes(foreign.encode())
    (out / "ledger" / "published.json").unlink()
    with pytest.raises(ConfigError, match="adopted") as caught:
        pack_source(source)
    assert "--rebuild" in caught.value.next_step
    pack_source(source, plan=PackPlan(rebuild=True))
    assert load_manifest(out).encode() == result.manifest.encode()


def test_a_dataset_does_not_vanish_unasked(write_source, pack_source, tmp_path):
    write_source(rows(6), dataset="one")
    source = write_source(rows(6), dataset="two")
    out, _ = pack_source(source)
    shutil.rmtree(source / "us" / "two")
    with pytest.raises(ConfigError, match="no us/two"):
        pack_source(source)
    assert "us/two" in load_manifest(out).labels
    pack_source(source, plan=PackPlan(prune=True))
    assert set(load_manifest(out).labels) == {"us/one"}
    assert not verify(out).problems


def test_a_lost_shard_is_made_again_from_its_source(write_source, pack_source, tmp_path):
    source = write_source(rows())
    out, result = pack_source(source)
    before = tree(out)
    (out / result.manifest.shards[0].name).unlink()
    (out / "ledger" / "published.json").unlink()
    pack_source(source)
    assert tree(out) == before


def test_files_beside_a_collection_do_not_stop_it_from_going_on_after_a_killed_publishing(
    write_source, pack_source, monkeypatch
):
    from mermed.pack.collection.publishing import Publisher

    out, _ = pack_source(write_source(rows(10)))
    (out / "near_duplicates.csv").write_text("mine")
    source = write_source(rows(12))

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "_write_pages", killed)
        with pytest.raises(RuntimeError):
            pack_source(source)
    assert not (out / "manifest.json").exists()
    _, result = pack_source(source)
    assert result.manifest.totals["packed"] == 12
    assert (out / "near_duplicates.csv").read_text() == "mine"


def test_a_file_that_changes_while_it_is_read_is_quarantined(write_source, pack_source, monkeypatch, listed):
    source = write_source(rows(4))
    real = sample.read_frames

    def change(file, bounds, treatment):
        yield from real(file, bounds, treatment)
        if file.path.name == "002.png":
            os.utime(file.path, ns=(5, 5))

    monkeypatch.setattr(sample, "read_frames", change)
    out, result = pack_source(source)
    assert [(row["file"], row["reason"]) for row in listed(out / "quarantine.csv")] == [("us/set/002.png", "changed")]
    assert result.manifest.totals == {"inputs": 4, "packed": 3, "duplicates": 0, "excluded": 0, "quarantined": 1}


def test_inputs_that_lacked_a_reader_are_tried_again_once_the_tools_changed(
    write_source, pack_source, read_files, monkeypatch
):
    from mermed.pack import packing
    from mermed.pack.collection import publishing
    from mermed.pack.readers.raw import RejectedInput
    from mermed.pack.work import making

    source = write_source(rows(4))
    real = sample.read_frames

    def lacking(file, bounds, treatment):
        if file.path.name == "002.png":
            raise RejectedInput("no_decoder", "none")
        yield from real(file, bounds, treatment)

    with monkeypatch.context() as patched:
        patched.setattr(sample, "read_frames", lacking)
        pack_source(source)
    _, same = pack_source(source)
    assert same.num_made == 0
    assert same.reasons["quarantined", "no_decoder"] == 1
    newer = {**making.tool_versions(), "python-gdcm": "99"}
    monkeypatch.setattr(packing, "tool_versions", lambda: newer)
    monkeypatch.setattr(publishing, "tool_versions", lambda: newer)
    monkeypatch.setattr(making, "tool_versions", lambda: newer)
    _, again = pack_source(source)
    assert again.num_made == 1
    assert again.manifest.totals["packed"] == 4


def test_hands_read_ahead_over_the_borders_of_buckets_and_give_the_same_bytes(write_source, pack_source, tmp_path):
    source = write_source(rows())
    plan = PackPlan(bucket_size=BucketSize(inputs=2))
    pack_source(source, out=tmp_path / "none", plan=plan)
    pack_source(source, out=tmp_path / "two", plan=plan, engine=LocalEngine(hands=2))
    assert tree(tmp_path / "none") == tree(tmp_path / "two")
