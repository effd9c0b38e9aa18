"""The ledger: exactly what was trained on, whatever was read ahead, stopped and resumed, on any number of ranks."""

import json

import numpy as np
import pytest

from mermed.config import StreamConfig
from mermed.contract import load_manifest
from mermed.errors import ResumeError
from mermed.mix_config import MixConfig
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.meters.ledger import COLUMNS, Tally, merged
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.replace.budget import Limits
from mermed.stream.replace.spares import Spares
from mermed.stream.replace.tombstones import Tombstones
from mermed.stream.store import LocalStore

SOURCES = ("cxr/nih", "us/busi")
BATCH = 8


def _note(tally, slot, source="us/busi", **changes):
    facts = {"size": 100, "failed": 0, "tombstoned": 0, "replaced": False}
    tally.note(slot, source, **{**facts, **changes})


def test_what_is_noted_counts_once_it_is_committed_and_not_before():
    tally = Tally(SOURCES)
    for slot in range(10):
        _note(tally, slot)
    assert tally.as_dict()["us/busi"]["draws"] == 0
    tally.commit(range(4))
    assert tally.as_dict()["us/busi"] == {
        "draws": 4, "bytes": 400, "failed": 0, "replaced": 0, "tombstoned": 0, "decode_s": 0.0,
    }  # fmt: skip
    tally.commit(range(4))
    assert tally.as_dict()["us/busi"]["draws"] == 4


def test_what_a_slot_is_said_to_be_last_counts_and_its_decoding_adds_up():
    tally = Tally(SOURCES)
    _note(tally, 3, size=70)
    tally.spent([3], [0.5])
    _note(tally, 3, size=90, failed=2, tombstoned=1, replaced=True)
    tally.spent([3], [0.25])
    tally.commit([3])
    assert tally.as_dict()["us/busi"] == {
        "draws": 1, "bytes": 90, "failed": 2, "replaced": 1, "tombstoned": 1, "decode_s": 0.75,
    }  # fmt: skip


def test_the_vectors_of_the_ranks_add_up_to_the_world():
    whole, parts = Tally(SOURCES), [Tally(SOURCES) for _ in range(3)]
    for slot in range(30):
        for tally in (whole, parts[slot // 10]):
            _note(tally, slot, SOURCES[slot % 2], size=slot, failed=slot % 3)
    for tally in (whole, *parts):
        tally.commit(range(30))
    total = sum(tally.vector() for tally in parts)
    assert total.dtype == np.float64
    assert total.shape == (len(SOURCES) * len(COLUMNS),)
    assert parts[0].as_dict(total) == whole.as_dict()
    assert merged([tally.as_dict() for tally in parts]) == whole.as_dict()


def test_a_checkpoint_is_plain_numbers_and_ranks_may_change_after_it():
    ranks = [Tally(SOURCES) for _ in range(2)]
    for slot in range(20):
        _note(ranks[slot % 2], slot, failed=slot % 2)
    for tally in ranks:
        tally.commit(range(20))
    state = json.loads(json.dumps(ranks[0].state_dict(ranks[0].vector() + ranks[1].vector())))
    later = [Tally(SOURCES) for _ in range(3)]
    for tally in later:
        tally.load_state_dict(state)
    for slot in range(20, 32):
        _note(later[slot % 3], slot)
        later[slot % 3].commit([slot])
    found = later[1].as_dict(sum(tally.vector() for tally in later))["us/busi"]
    assert (found["draws"], found["bytes"], found["failed"]) == (32, 3200, 10)


def test_a_checkpoint_of_other_sources_is_refused():
    tally = Tally(SOURCES)
    with pytest.raises(ResumeError, match="other sources") as caught:
        tally.load_state_dict(Tally(("oct/few", "us/busi")).state_dict())
    assert "oct/few" in str(caught.value)


def test_whole_numbers_stay_exact_far_beyond_a_run():
    tally = Tally(SOURCES)
    tally.load_state_dict({s: {**dict.fromkeys(COLUMNS, 0), "bytes": 2**52, "draws": 10**12} for s in SOURCES})
    _note(tally, 0, size=1)
    tally.commit([0])
    assert tally.as_dict()["us/busi"]["bytes"] == 2**52 + 1
    assert tally.as_dict()["us/busi"]["draws"] == 10**12 + 1


def _run(folder, tally, plan, slots):
    """Read all of `slots` and commit every batch but the last, which is lost on the way."""
    store = LocalStore(folder)
    shelf, reader = IndexShelf(store), SampleReader(store)
    gone = Tombstones(frozenset({"busi-0-001"}))
    limits = Limits(max_failed=1.0, max_failed_in_a_row=1000)
    spares = Spares(plan, reader.read, lambda r: shelf.key(r.row, r.index), limits=limits, tombstones=gone, tally=tally)
    sizes = {reference.slot: len(spares.read(reference).image) for reference in plan.batch(slots)}
    tally.commit(range(slots.start, slots.stop - BATCH))
    return sizes


def test_a_run_that_was_stopped_with_batches_ahead_has_the_ledger_of_one_that_was_not(tiny_world):
    folder = tiny_world({"cxr/nih": [6, 5], "us/busi": [9]})
    row = load_manifest(folder).shards[0]
    content = bytearray((folder / row.name).read_bytes())
    content[IndexShelf(LocalStore(folder)).span(row, 2).image.offset + 40] ^= 1
    (folder / row.name).write_bytes(content)
    plan = Plan(load_manifest(folder), MixConfig(), StreamConfig(), 0)
    whole, before = Tally(SOURCES), Tally(SOURCES)
    sizes = _run(folder, whole, plan, range(9 * BATCH))
    _run(folder, before, plan, range(4 * BATCH))
    after = Tally(SOURCES)
    after.load_state_dict(before.state_dict())
    _run(folder, after, plan, range(3 * BATCH, 9 * BATCH))
    assert after.as_dict() == whole.as_dict()
    counts = whole.as_dict()
    for account in plan.ledger(8 * BATCH):
        assert counts[account.source]["draws"] == account.draws
    assert sum(row["bytes"] for row in counts.values()) == sum(sizes[slot] for slot in range(8 * BATCH))
    assert counts["cxr/nih"]["failed"] == counts["cxr/nih"]["replaced"] > 0
    assert counts["us/busi"]["tombstoned"] == counts["us/busi"]["replaced"] > 0
