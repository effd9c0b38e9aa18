"""The data audit: the same number for any split of the slots, another one for any other data."""

import pytest

from mermed.config import StreamConfig
from mermed.contract import SampleMeta, load_manifest
from mermed.mix_config import MixConfig
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.meters.audit import Audit, audit_of, slot_audit
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore
from mermed.world import World


def _meta(key, modality="us", dataset="busi"):
    facts = {"split": "train", "group": "g", "width": 4, "height": 4, "source_bits": 8}
    return SampleMeta(key=key, modality=modality, dataset=dataset, **facts)


METAS = [_meta(f"k{number}") for number in range(12)]


def test_any_split_of_the_slots_in_any_order_adds_up_to_the_same():
    whole = audit_of(range(12), METAS)
    audit = Audit()
    for part in (range(7, 12), range(3), range(3, 7)):
        audit.add(part, METAS[part.start : part.stop])
    assert audit.value == whole
    other = Audit(audit_of(range(6), METAS[:6]))
    other.merge(audit_of(range(6, 12), METAS[6:]))
    assert other.value == whole
    assert 0 <= whole < 2**64


@pytest.mark.parametrize(
    ("slots", "metas"),
    [
        (range(11), METAS[:11]),
        ([*range(12), 3], [*METAS, METAS[3]]),
        (range(12), [*METAS[:5], METAS[6], METAS[5], *METAS[7:]]),
        (range(12), [*METAS[:11], METAS[0]]),
        (range(12), [*METAS[:11], _meta("k11", dataset="clinic")]),
        (range(12), [*METAS[:11], _meta("k11", modality="cxr")]),
        (range(1, 13), METAS),
    ],
    ids=["lost", "doubled", "exchanged", "another", "another dataset", "another modality", "shifted"],
)
def test_a_slot_that_is_lost_doubled_or_filled_otherwise_changes_it(slots, metas):
    assert audit_of(slots, metas) != audit_of(range(12), METAS)


def test_the_number_of_a_slot_never_changes():
    """A record of an older run can be compared: these are the numbers of version 1 of the audit."""
    assert slot_audit(0, _meta("busi-000")) == 0xB671733194B59265
    assert slot_audit(10**12, _meta("nih-0f", "cxr", "nih")) == 0x3F396A41955C5944


@pytest.mark.parametrize(("ranks", "threads", "batch"), [(1, 4, 10), (2, 2, 20), (5, 1, 20), (3, 3, 12)])
def test_every_topology_that_reads_the_same_slots_has_the_same_audit(tiny_world, ranks, threads, batch):
    folder = tiny_world({"cxr/nih": [6, 5], "us/busi": [9], "us/clinic": [2]})
    plan = Plan(load_manifest(folder), MixConfig(), StreamConfig(), 0)
    read = SampleReader(LocalStore(folder)).read
    expected = audit_of(range(60), [read(reference).meta for reference in plan.batch(range(60))])
    audit = Audit()
    for rank in range(ranks):
        shares = rank_shares(0, batch, World(rank=rank, num_ranks=ranks).share(batch), 60 // batch)
        with Loader(plan, read, shares, num_threads=threads) as loader:
            for encoded in loader:
                audit.add(encoded.slot, encoded.meta)
    assert audit.value == expected
