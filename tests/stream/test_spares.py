"""Replacement: one bad sample changes one slot, in the same way on every topology, and never goes unseen."""

import errno
import json
import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from mermed.config import StreamConfig
from mermed.contract import load_manifest
from mermed.errors import ContractError, EnvironmentError_, IntegrityError, SampleError
from mermed.mix_config import MixConfig
from mermed.stream.cache.reader import CachedReader
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.meters.ledger import Tally
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.replace import spares as spares_module
from mermed.stream.replace.budget import Limits
from mermed.stream.replace.journal import Journal, incidents
from mermed.stream.replace.spares import Spares
from mermed.stream.replace.tombstones import Tombstones
from mermed.stream.store import LocalStore
from mermed.world import World

SOURCES = {"cxr/nih": [7, 6, 5], "us/busi": [9, 4], "us/clinic": [8]}
LENIENT = Limits(max_failed=1.0, max_failed_in_a_row=10_000)


@pytest.fixture
def world(tiny_world):
    return tiny_world(SOURCES)


def _plan(folder):
    return Plan(load_manifest(folder), MixConfig(), StreamConfig(), 0)


def _spares(folder, *, read=None, limits=LENIENT, **parts):
    store, plan = LocalStore(folder), _plan(folder)
    shelf = IndexShelf(store)
    reading = read or SampleReader(store).read
    return Spares(plan, reading, lambda r: shelf.key(r.row, r.index), limits=limits, **parts)


def _damage(folder, keys, spot="image"):
    """Flip a bit in the image or the JSON of the samples of `keys`."""
    shelf = IndexShelf(LocalStore(folder))
    for row in load_manifest(folder).shards:
        content = bytearray((folder / row.name).read_bytes())
        for span in map(shelf.table(row).span, range(row.samples)):
            if span.key in keys:
                at = {"image": span.image.offset + 30, "json": span.meta.offset + 9}
                content[at[spot]] ^= 0x10
        (folder / row.name).write_bytes(content)


def _keys(folder, slots, spares=None):
    read = (spares or _spares(folder)).read
    return [read(reference).meta.key for reference in _plan(folder).batch(slots)]


def _loaded(folder, spares, *, ranks, threads, batch, slots, first_slot=0):
    """The key of each slot as the loaders of all ranks give them."""
    found = {}
    for rank in range(ranks):
        offsets = World(rank=rank, num_ranks=ranks).share(batch)
        shares = rank_shares(first_slot, batch, offsets, (slots - first_slot) // batch)
        with Loader(_plan(folder), spares.read, shares, num_threads=threads) as loader:
            for encoded in loader:
                found |= {int(slot): meta.key for slot, meta in zip(encoded.slot, encoded.meta, strict=True)}
    return [found[slot] for slot in sorted(found)]


def test_a_bad_sample_changes_its_own_slots_and_no_other(world):
    before = _keys(world, range(80))
    bad = {before[3], before[10]}
    _damage(world, bad)
    after = _keys(world, range(80))
    assert [slot for slot in range(80) if before[slot] != after[slot]] == [s for s in range(80) if before[s] in bad]
    assert not bad & set(after)
    for old, new in zip(before, after, strict=True):
        assert old.split("-")[0] == new.split("-")[0], "a stand-in comes from the same source"


@pytest.mark.parametrize(("ranks", "threads", "batch"), [(1, 4, 6), (2, 1, 12), (3, 4, 12), (3, 2, 6)])
def test_every_topology_replaces_alike(world, ranks, threads, batch):
    _damage(world, {"nih-0-001", "nih-2-004", "busi-1-003", "clinic-2-000", "clinic-2-005"})
    tombstones = Tombstones(frozenset({"busi-0-002", "nih-1-000"}))
    expected = _keys(world, range(72), _spares(world, tombstones=tombstones))
    found = _loaded(world, _spares(world, tombstones=tombstones), ranks=ranks, threads=threads, batch=batch, slots=72)
    assert found == expected


def test_a_run_that_goes_on_later_replaces_alike(world):
    _damage(world, {"nih-0-001", "busi-1-003", "clinic-2-000"})
    whole = _loaded(world, _spares(world), ranks=1, threads=2, batch=8, slots=96)
    rest = _loaded(world, _spares(world), ranks=2, threads=3, batch=6, slots=96, first_slot=48)
    assert rest == whole[48:]


@pytest.mark.parametrize("spot", ["image", "json"])
def test_a_flipped_bit_anywhere_in_a_sample_is_replaced_and_told(world, tmp_path, spot):
    first = _plan(world).batch(range(1))[0]
    key = IndexShelf(LocalStore(world)).key(first.row, first.index)
    _damage(world, {key}, spot)
    watch = Watch()
    spares = _spares(world, journal=Journal(tmp_path, 3, watch), watch=watch)
    sample = spares.read(first)
    (incident,) = incidents(tmp_path)
    assert (incident.slot, incident.rank, incident.attempt) == (0, 3, -1)
    assert (incident.key, incident.shard, incident.index) == (key, first.row.name, first.index)
    assert incident.source == f"{first.row.modality}/{first.row.dataset}"
    assert incident.replaced_by == sample.meta.key != key
    assert incident.reason == "integrity"
    assert watch.counts() == {"failed": 1}


def test_what_stands_in_may_fail_too_and_every_failure_is_told(world, tmp_path):
    plan = _plan(world)
    first = plan.batch(range(1))[0]
    shelf = IndexShelf(LocalStore(world))
    chain = [first, plan.spare(first, 0), plan.spare(first, 1), plan.spare(first, 2)]
    keys = [shelf.key(reference.row, reference.index) for reference in chain]
    _damage(world, set(keys[:3]))
    spares = _spares(world, journal=Journal(tmp_path, 0, Watch()))
    assert spares.read(first).meta.key == keys[3]
    found = list(incidents(tmp_path))
    assert [(incident.key, incident.attempt, incident.replaced_by) for incident in found] == [
        (key, attempt - 1, keys[3]) for attempt, key in enumerate(keys[:3])
    ]


def test_the_mixture_holds_whatever_is_replaced(world):
    """A fifth of all samples fails: every batch keeps its shares of modalities and datasets."""

    def datasets(keys):
        return [Counter(key.split("-")[0] for key in keys[at : at + 12]) for at in range(0, 144, 12)]

    before = _keys(world, range(144))
    bad = set(random.Random(0).sample(sorted(set(before)), len(set(before)) // 5))
    _damage(world, bad)
    after = _keys(world, range(144))
    assert not bad & set(after)
    assert datasets(after) == datasets(before)


def test_an_image_that_does_not_decode_is_replaced_by_the_next_in_line(world):
    plan, spares = _plan(world), _spares(world)
    first = plan.batch(range(5, 6))[0]
    shelf = IndexShelf(LocalStore(world))
    line = [first, *(plan.spare(first, attempt) for attempt in range(3))]
    keys = [shelf.key(reference.row, reference.index) for reference in line]
    error = SampleError("an image does not decode")
    assert spares.read(first).meta.key == keys[0]
    assert spares.replace(5, frozenset(keys[:1]), error).meta.key == keys[1]
    assert spares.replace(5, frozenset(keys[:2]), error).meta.key == keys[2]


def test_each_failure_counts_once_although_its_slot_is_searched_again(world, tmp_path):
    plan, watch, tally = _plan(world), Watch(), Tally(list(SOURCES))
    first = plan.batch(range(5, 6))[0]
    shelf = IndexShelf(LocalStore(world))
    keys = [shelf.key(r.row, r.index) for r in (first, *(plan.spare(first, attempt) for attempt in range(4)))]
    _damage(world, {keys[1]})
    spares = _spares(world, watch=watch, tally=tally, journal=Journal(tmp_path, 0, watch))
    error = SampleError("an image does not decode")
    spares.read(first)
    spares.replace(5, frozenset({keys[0]}), error)
    assert spares.replace(5, frozenset({keys[0], keys[2]}), error).meta.key == keys[3]
    assert watch.counts() == {"failed": 3}
    told = [(incident.key, incident.reason, incident.replaced_by) for incident in incidents(tmp_path)]
    assert told == [
        (keys[0], "sample", keys[2]),
        (keys[1], "integrity", keys[2]),
        (keys[2], "sample", keys[3]),
    ]
    tally.commit([5])
    counts = tally.as_dict()[f"{first.row.modality}/{first.row.dataset}"]
    assert (counts["draws"], counts["failed"], counts["replaced"]) == (1, 3, 1)


def test_a_tombstoned_sample_is_never_drawn_nor_read_and_other_slots_stay(world):
    before = _keys(world, range(100))
    gone = {before[0], before[7], "clinic-2-003"}
    read, plan = [], _plan(world)
    reader = SampleReader(LocalStore(world))

    def noting(reference):
        sample = reader.read(reference)
        read.append(sample.meta.key)
        return sample

    watch = Watch()
    spares = _spares(world, read=noting, tombstones=Tombstones(frozenset(gone)), watch=watch)
    after = [spares.read(reference).meta.key for reference in plan.batch(range(100))]
    assert not gone & set(read)
    assert [slot for slot in range(100) if before[slot] != after[slot]] == [s for s in range(100) if before[s] in gone]
    assert set(watch.counts()) == {"tombstoned"}


def test_tombstones_are_free_of_the_budget(world):
    gone = frozenset(key for key in _keys(world, range(60)) if key[-1] in "02468")
    spares = _spares(world, tombstones=Tombstones(gone), limits=Limits(max_failed=0.0, max_failed_in_a_row=1))
    assert not gone & set(_keys(world, range(60), spares))


def test_a_source_that_is_all_tombstones_is_named(world):
    gone = frozenset(f"clinic-2-{index:03d}" for index in range(8))
    spares = _spares(world, tombstones=Tombstones(gone))
    with pytest.raises(IntegrityError, match="no sample of a source can be used") as caught:
        _keys(world, range(40), spares)
    assert "us/clinic" in str(caught.value)
    assert "0 that failed and 8 tombstones" in str(caught.value)


def test_a_source_whose_samples_all_fail_is_named_with_the_last_reason(world, tmp_path):
    _damage(world, {f"clinic-2-{index:03d}" for index in range(8)})
    spares = _spares(world, journal=Journal(tmp_path, 0, Watch()))
    with pytest.raises(IntegrityError, match="no sample of a source can be used") as caught:
        _keys(world, range(40), spares)
    assert "us/clinic" in str(caught.value)
    assert "8 that failed" in str(caught.value)
    assert [incident.replaced_by for incident in incidents(tmp_path)] == [""] * 8


def test_a_large_source_is_given_up_after_enough_failures(tiny_world, monkeypatch):
    folder = tiny_world({"us/busi": [200]})
    monkeypatch.setattr(spares_module, "MOST_FAILED", 10)
    read = []

    def failing(reference):
        read.append(reference.index)
        raise IntegrityError("bytes changed")

    with pytest.raises(IntegrityError, match="no sample of a source can be used"):
        _spares(folder, read=failing).read(_plan(folder).batch(range(1))[0])
    assert len(read) == len(set(read)) == 10


def test_one_sample_has_no_stand_in(tiny_world):
    folder = tiny_world({"us/busi": [1], "cxr/nih": [3]})
    _damage(folder, {"busi-0-000"})
    with pytest.raises(IntegrityError, match="no sample of a source") as caught:
        _keys(folder, range(4))
    assert "us/busi" in str(caught.value)


def test_a_missing_shard_is_replaced_from_the_others_of_its_source_within_the_budget(world, tmp_path):
    row = next(row for row in load_manifest(world).shards if row.name.endswith("cxr-train-000001.tar"))
    before = _keys(world, range(90))
    (world / row.name).unlink()
    after = _keys(world, range(90), _spares(world, journal=Journal(tmp_path, 0, Watch())))
    assert [slot for slot in range(90) if before[slot] != after[slot]] == [
        slot for slot in range(90) if before[slot].startswith("nih-1-")
    ]
    found = list(incidents(tmp_path))
    assert {incident.shard for incident in found} == {row.name}
    assert {incident.key for incident in found} == {""}
    assert all(incident.replaced_by.startswith(("nih-0", "nih-2")) for incident in found)


def test_a_missing_shard_beyond_the_budget_stops_the_run_and_is_named_with_its_count(world):
    row = next(row for row in load_manifest(world).shards if row.name.endswith("cxr-train-000001.tar"))
    (world / row.name).unlink()
    spares = _spares(world, limits=Limits.of(StreamConfig()))
    with pytest.raises(IntegrityError, match="too many samples cannot be used") as caught:
        _keys(world, range(900), spares)
    text = str(caught.value)
    assert f"1, the worst {row.name}: 11" in text
    assert "mermed-shard verify DATA" in text
    assert "stream.max_failed" in text


def test_the_strictest_budget_stops_at_the_first_failure(world):
    _damage(world, {"nih-0-001"})
    with pytest.raises(IntegrityError, match="too many samples") as caught:
        _keys(world, range(200), _spares(world, limits=Limits(max_failed=0.0, max_failed_in_a_row=32)))
    assert "a sample's bytes changed since they were packed" in str(caught.value)


def test_a_store_that_is_down_is_never_replaced(world):
    def down(reference):
        raise EnvironmentError_("the store does not answer")

    spares = _spares(world, read=down)
    with pytest.raises(EnvironmentError_, match="does not answer"):
        spares.read(_plan(world).batch(range(1))[0])


def test_a_disk_that_cannot_read_some_bytes_loses_those_samples_alone(world, tmp_path, monkeypatch):
    """EIO at one place of one shard, as a bad sector gives it."""
    before = _keys(world, range(60))
    row = next(row for row in load_manifest(world).shards if row.name.endswith("us-train-000000.tar"))
    bad = IndexShelf(LocalStore(world)).span(row, 4)
    node, pread = (world / row.name).stat().st_ino, os.pread

    def failing(descriptor, size, offset):
        if os.fstat(descriptor).st_ino == node and offset <= bad.image.offset < offset + size:
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    after = _keys(world, range(60), _spares(world, journal=Journal(tmp_path, 0, Watch())))
    assert bad.key in before
    assert [s for s in range(60) if before[s] != after[s]] == [s for s in range(60) if before[s] == bad.key]
    assert {incident.detail for incident in incidents(tmp_path)} == {"a file of the collection cannot be read"}


def test_a_machine_out_of_descriptors_stops_the_run_and_replaces_nothing(world, tmp_path, monkeypatch):
    def none_left(path, flags):
        raise OSError(errno.EMFILE, "Too many open files")

    spares, first = _spares(world, journal=Journal(tmp_path, 0, Watch())), _plan(world).batch(range(1))[0]
    monkeypatch.setattr(os, "open", none_left)
    with pytest.raises(EnvironmentError_, match="cannot be opened") as caught:
        spares.read(first)
    monkeypatch.undo()
    assert "Too many open files" in str(caught.value)
    assert list(incidents(tmp_path)) == []


def test_an_error_of_the_program_is_never_replaced(world):
    def wrong(reference):
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        _spares(world, read=wrong).read(_plan(world).batch(range(1))[0])


def test_a_machine_out_of_memory_is_asked_again_and_then_named_with_the_key(world, monkeypatch):
    monkeypatch.setattr(spares_module, "_MEMORY_PAUSE_S", 0.0)
    reader, tries = SampleReader(LocalStore(world)), Counter()
    first, second = _plan(world).batch(range(2))

    def tight(reference):
        tries[reference.slot] += 1
        if reference.slot == 1 or tries[reference.slot] < 3:
            raise MemoryError
        return reader.read(reference)

    spares = _spares(world, read=tight)
    shelf = IndexShelf(LocalStore(world))
    assert spares.read(first).meta.key == shelf.key(first.row, first.index)
    with pytest.raises(EnvironmentError_, match="not enough memory") as caught:
        spares.read(second)
    assert shelf.key(second.row, second.index) in str(caught.value)
    assert tries == {0: 3, 1: 3}


def test_threads_that_replace_at_once_agree_with_one(world):
    _damage(world, {f"nih-0-{index:03d}" for index in range(7)})
    references = _plan(world).batch(range(60))
    expected = [_spares(world).read(reference).meta.key for reference in references]
    watch = Watch()
    spares = _spares(world, watch=watch)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda reference: spares.read(reference).meta.key, references))
    assert found == expected
    alone = Watch()
    one = _spares(world, watch=alone)
    for reference in references:
        one.read(reference)
    assert watch.counts() == alone.counts()


def test_a_stand_in_that_breaks_the_contract_is_passed_over_as_well(world):
    reader, plan = SampleReader(LocalStore(world)), _plan(world)
    first = plan.batch(range(1))[0]
    bad = {(r.row.name, r.index) for r in (first, plan.spare(first, 0))}

    def strict(reference):
        if (reference.row.name, reference.index) in bad:
            raise ContractError("a member is not a plain USTAR file")
        return reader.read(reference)

    third = plan.spare(first, 1)
    assert _spares(world, read=strict).read(first) == reader.read(third)


def test_the_journal_holds_no_text_but_keys_and_reasons(world, tmp_path):
    _damage(world, {"nih-0-001", "busi-1-003"})
    spares = _spares(world, journal=Journal(tmp_path, 0, Watch()))
    _keys(world, range(100), spares)
    lines = [json.loads(line) for line in (tmp_path / "quarantine-rank-00000.jsonl").read_text().splitlines()]
    assert lines
    for line in lines:
        assert set(line) == {
            "slot",
            "source",
            "shard",
            "index",
            "key",
            "reason",
            "detail",
            "attempt",
            "replaced_by",
            "rank",
        }
        assert str(tmp_path) not in json.dumps(line)


@pytest.mark.parametrize("unit", ["block", "shard"])
def test_a_cache_between_changes_no_replacement(tiny_world, tmp_path, unit):
    """Bad samples, a missing shard and tombstones: every slot is filled as without a cache, for every unit of it."""
    folder = tiny_world({"cxr/nih": [30, 20, 10], "us/busi": [25, 15]})
    _damage(folder, {"nih-0-004", "nih-1-007", "busi-0-011", "busi-1-003"})
    lost = next(row for row in load_manifest(folder).shards if row.name.endswith("cxr-train-000002.tar"))
    (folder / lost.name).unlink()
    gone = Tombstones(frozenset({"busi-0-000", "nih-0-001"}))
    stream = StreamConfig(block_samples=4, window_blocks=3)
    plan, slots = Plan(load_manifest(folder), MixConfig(), stream, 0), range(84)
    direct = SampleReader(LocalStore(folder))
    cached = CachedReader(
        LocalStore(folder),
        Watch(),
        plan,
        rank_shares(0, 12, range(12), 7),
        load_manifest(folder).shards,
        folder=tmp_path / "cache",
        capacity_bytes=2**24,
        unit=unit,
    )
    found, told = [], []
    with cached:
        for number, reader in enumerate((direct, cached)):
            journal = Journal(tmp_path, number, Watch())
            spares = Spares(
                plan,
                reader.read,
                lambda r, reader=reader: reader.indexes.key(r.row, r.index),
                limits=LENIENT,
                tombstones=gone,
                journal=journal,
            )
            found.append([spares.read(reference) for reference in plan.batch(slots)])
            lines = journal.path.read_text().splitlines()
            told.append([{**json.loads(line), "rank": 0, "detail": ""} for line in lines])
    assert found[0] == found[1]
    assert told[0] == told[1]
    assert {line["key"] for line in told[0]} >= {"nih-0-004", "busi-0-011", ""}
