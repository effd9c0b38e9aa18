"""The plan: the same samples for any ranks and batch, each source whole in every cycle, O(1) at any slot."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from mermed.config import MixConfig, StreamConfig
from mermed.contract import Manifest
from mermed.errors import ConfigError, SampleError
from mermed.stream.loader import rank_shares
from mermed.stream.order.plan import Plan
from mermed.world import World


def _plan(manifest, *, mix=None, seed=0, **stream):
    return Plan(manifest, mix or MixConfig(), StreamConfig(**stream), seed)


def _names(references):
    return [(r.slot, r.row.name, r.index) for r in references]


@pytest.mark.parametrize("window_blocks", [0, 1, 3])
def test_every_cycle_of_a_source_holds_each_sample_once(manifest, window_blocks):
    plan = _plan(manifest, block_samples=8, window_blocks=window_blocks)
    drawn = {}
    for reference in plan.batch(range(6000)):
        drawn.setdefault((reference.row.modality, reference.row.dataset), []).append(
            (reference.row.name, reference.index)
        )
    for source, samples in (("cxr", "nih"), 63), (("cxr", "pediatric"), 100), (("oct", "few"), 3), (("us", "busi"), 70):
        draws = drawn[source]
        cycles = [draws[start : start + samples] for start in range(0, len(draws) - samples + 1, samples)]
        assert len(cycles) >= 2
        assert all(len(set(cycle)) == samples for cycle in cycles)
        assert samples == 3 or cycles[0] != cycles[1]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 6])
def test_the_order_is_the_same_for_every_number_of_ranks(manifest, num_ranks):
    plan = _plan(manifest)
    gathered = []
    shares = [rank_shares(24, 12, World(rank=r, num_ranks=num_ranks).share(12), 5) for r in range(num_ranks)]
    for parts in zip(*shares, strict=True):
        assert len({part.position for part in parts}) == 1
        for part in parts:
            gathered += _names(plan.batch(part.slots))
    assert gathered == _names(plan.batch(range(24, 84)))


def test_the_order_is_the_same_for_every_batch_and_starting_slot(manifest):
    plan = _plan(manifest)
    whole = _names(plan.batch(range(500)))
    for batch in (1, 7, 64):
        pieces = [_names(plan.batch(range(n, min(n + batch, 500)))) for n in range(0, 500, batch)]
        assert [name for piece in pieces for name in piece] == whole
    assert _names(plan.batch(range(123, 130))) == whole[123:130]


def test_every_share_of_every_rank_is_balanced(manifest):
    plan = _plan(manifest)
    for rank in range(4):
        for share in islice(rank_shares(0, 28, World(rank=rank, num_ranks=4).share(28), 50), 50):
            counts = Counter(reference.row.modality for reference in plan.batch(share.slots))
            assert set(counts.values()) <= {2, 3}


def test_only_the_asked_splits_are_drawn(manifest):
    assert {r.row.split for r in _plan(manifest).batch(range(1000))} == {"train"}
    both = _plan(manifest, splits=("train", "test")).batch(range(1000))
    assert {r.row.split for r in both} == {"train", "test"}


def test_another_seed_is_another_order_of_the_same_sources(manifest):
    first, second = (_plan(manifest, seed=seed).batch(range(300)) for seed in (0, 1))
    assert [r.modality for r in first] == [r.modality for r in second]
    assert _names(first) != _names(second)


def test_a_source_added_to_another_modality_leaves_the_others_in_order(manifest):
    without = Manifest(shards=tuple(row for row in manifest.shards if row.dataset != "pediatric"))
    order = {
        plan: [(r.row.name, r.index) for r in of.batch(range(600)) if r.row.modality == "us"]
        for plan, of in (("with", _plan(manifest)), ("without", _plan(without)))
    }
    assert order["with"] == order["without"]


def test_the_ledger_counts_what_the_plan_draws(manifest):
    plan = _plan(manifest, mix=MixConfig(weights={"cxr": 3, "us": 2}))
    for slots in (0, 1, 77, 1000):
        drawn = Counter(f"{r.row.modality}/{r.row.dataset}" for r in plan.batch(range(slots)))
        for account in plan.ledger(slots):
            assert account.draws == drawn[account.source]
            assert account.repeats == max(0, account.draws - account.samples)


def test_resume_at_a_far_slot_is_the_same_arithmetic(manifest):
    far = 10**15
    references = _plan(manifest).batch(range(far, far + 30))
    assert [r.slot for r in references] == list(range(far, far + 30))
    assert Counter(r.row.modality for r in references) == {"cxr": 10, "oct": 10, "us": 10}


def test_every_other_sample_of_the_source_stands_in_once_before_none_is_left(manifest):
    plan = _plan(manifest)
    for reference in plan.batch(range(12)):
        source = [row for row in manifest.shards if (row.dataset, row.split) == (reference.row.dataset, "train")]
        samples = {(row.name, index) for row in source for index in range(row.samples)}
        spares = [plan.spare(reference, attempt) for attempt in range(len(samples) - 1)]
        assert {spare.slot for spare in spares} == {reference.slot}
        assert {spare.modality for spare in spares} == {reference.modality}
        assert sorted((s.row.name, s.index) for s in spares) == sorted(
            samples - {(reference.row.name, reference.index)}
        )
        with pytest.raises(SampleError, match="no sample of the source is left"):
            plan.spare(reference, len(samples) - 1)


def test_a_stand_in_depends_on_the_slot_and_the_seed_alone(manifest):
    first, again, other = _plan(manifest), _plan(manifest), _plan(manifest, seed=1)
    references = first.batch(range(60))
    spares = [first.spare(reference, 0) for reference in references]
    assert [again.spare(reference, 0) for reference in reversed(references)] == spares[::-1]
    assert _names(other.spare(reference, 0) for reference in references) != _names(spares)
    many = [spare.index for spare in spares if spare.row.dataset == "pediatric"]
    assert len(set(many)) > len(many) / 2


def test_a_modality_can_be_dropped_or_weighed(manifest):
    dropped = _plan(manifest, mix=MixConfig(drop=("oct",)))
    assert dropped.quota(10) == {"cxr": 5.0, "us": 5.0}
    assert _plan(manifest, mix=MixConfig(weights={"cxr": 2})).quota(8) == {"cxr": 4.0, "oct": 2.0, "us": 2.0}


def test_a_mix_that_names_an_absent_modality_is_refused(manifest):
    with pytest.raises(ConfigError, match="derm"):
        _plan(manifest, mix=MixConfig(weights={"derm": 1}))
    with pytest.raises(ConfigError, match="no samples"):
        _plan(manifest, mix=MixConfig(drop=("cxr", "oct", "us")))


def test_a_window_keeps_draws_close_and_no_window_does_not(manifest):
    big = Manifest(shards=(manifest.shards[0].__class__(**{**_fields(manifest.shards[0]), "samples": 4096}),))
    local = [r.index for r in _plan(big, block_samples=16, window_blocks=4).batch(range(64))]
    assert len({index // 16 for index in local}) <= 8
    spread = [r.index for r in _plan(big).batch(range(64))]
    assert len({index // 16 for index in spread}) > 32
    assert abs(np.mean(spread) - 2048) < 600


def _fields(row):
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
