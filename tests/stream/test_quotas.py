"""Modalities and datasets in stated shares: quotas, changes, what is left out, what is refused by name."""

from collections import Counter

import numpy as np
import pytest

from mermed.config import StreamConfig
from mermed.contract import Manifest
from mermed.errors import ConfigError
from mermed.mix_config import MixChange, MixConfig
from mermed.stream.order.plan import Plan


def _plan(manifest, seed=0, **mix):
    return Plan(manifest, MixConfig(**mix), StreamConfig(), seed)


def _sources(references):
    return Counter(f"{r.row.modality}/{r.row.dataset}" for r in references)


def _order(references, modality, dataset=None):
    return [
        (r.row.name, r.index) for r in references if r.row.modality == modality and dataset in (None, r.row.dataset)
    ]


@pytest.fixture
def rich(shard_row):
    """Two modalities of three datasets each, of very different sizes."""
    sizes = {"cxr": {"chest": 900, "nih": 50, "tb": 4}, "us": {"busi": 300, "fetal": 300, "heart": 1}}
    return Manifest(
        shards=tuple(
            shard_row(modality, dataset, number, samples)
            for modality, datasets in sizes.items()
            for number, (dataset, samples) in enumerate(datasets.items())
        )
    )


def test_dataset_quotas_count_images_in_place_of_alpha(rich):
    counts = _sources(_plan(rich, datasets={"cxr/nih": 3, "cxr/tb": 2}).batch(range(120)))
    assert [counts[f"cxr/{name}"] for name in ("chest", "nih", "tb")] == [10, 30, 20]
    by_size = _sources(_plan(rich).batch(range(1680)))
    assert by_size["us/busi"] == by_size["us/fetal"]
    assert by_size["us/busi"] > 10 * by_size["us/heart"] > 0


def test_a_dataset_can_be_dropped_or_weigh_nothing(rich):
    for mix in ({"drop": ("cxr/nih",)}, {"datasets": {"cxr/nih": 0}}):
        plan = _plan(rich, **mix)
        assert "cxr/nih" not in {account.source for account in plan.ledger(10)}
        assert set(_sources(plan.batch(range(2000)))) == {"cxr/chest", "cxr/tb", "us/busi", "us/fetal", "us/heart"}


@pytest.mark.parametrize("seed", [0, 3])
def test_nested_shares_keep_their_bounds_over_any_run_and_every_rank(rich, seed):
    """Dataset inside modality: within two images of its share of the modality's draws, and of the run within four."""
    plan = _plan(rich, seed=seed, weights={"us": 3}, datasets={"cxr/nih": 5, "us/heart": 2})
    of_modality = {name: quota / 4 for name, quota in (("cxr", 1), ("us", 3))}
    inside = {"cxr": {"chest": 1 / 7, "nih": 5 / 7, "tb": 1 / 7}, "us": {"busi": 1 / 4, "fetal": 1 / 4, "heart": 1 / 2}}
    references = plan.batch(range(4000))
    for modality, datasets in inside.items():
        is_modality = np.array([r.row.modality == modality for r in references])
        assert _spread(is_modality, of_modality[modality]) < 2
        for dataset, share in datasets.items():
            is_dataset = np.array([r.row.dataset == dataset for r in references])
            assert _spread(is_dataset[is_modality], share) < 2
            assert _spread(is_dataset, share * of_modality[modality]) < 2 + 2 * share


def _spread(hits, share):
    """How far the count in any contiguous run, whatever rank or micro-batch it is, can lie from its share."""
    off = np.concatenate([[0], np.cumsum(hits - share)])
    return off.max() - off.min()


@pytest.mark.parametrize(
    ("mix", "near"),
    [
        ({"weights": {"cxrr": 1}}, "did you mean 'cxr'"),
        ({"drop": ("uss",)}, "did you mean 'us'"),
        ({"datasets": {"cxr/nhi": 1}}, "did you mean 'cxr/nih'"),
        ({"changes": (MixChange(slot=9, weights={"derm": 1}),)}, "derm"),
        ({"changes": (MixChange(slot=9, datasets={"us/bussi": 1}),)}, "did you mean 'us/busi'"),
    ],
)
def test_a_name_that_the_collection_lacks_is_refused_with_the_nearest(rich, mix, near):
    with pytest.raises(ConfigError, match=near):
        _plan(rich, **mix)


@pytest.mark.parametrize(
    "mix",
    [
        {"drop": ("cxr", "us")},
        {"weights": {"cxr": 0, "us": 0}},
        {"changes": (MixChange(slot=9, weights={"cxr": 0, "us": 0}),)},
        {"changes": (MixChange(slot=9, datasets={"us/busi": 0, "us/fetal": 0, "us/heart": 0}),)},
        {"drop": ("cxr", "us/busi", "us/fetal", "us/heart")},
    ],
)
def test_a_mix_that_leaves_nothing_to_draw_is_refused(rich, mix):
    with pytest.raises(ConfigError, match="no samples to draw from"):
        _plan(rich, **mix)


def test_a_change_at_a_slot_loses_and_doubles_no_sample(rich):
    changes = (
        MixChange(slot=101, weights={"us": 0}),
        MixChange(slot=333, weights={"us": 4}, datasets={"us/heart": 0, "cxr/tb": 9}),
        MixChange(slot=2000, datasets={"us/heart": 1}),
    )
    plan = _plan(rich, changes=changes)
    references = plan.batch(range(6000))
    assert not _order(references[102:332], "us")
    assert not _order(references[340:2000], "us", "heart")
    for account in plan.ledger(6000):
        modality, dataset = account.source.split("/")
        drawn = _order(references, modality, dataset)
        assert len(drawn) == account.draws
        cycles = [drawn[n : n + account.samples] for n in range(0, len(drawn), account.samples)]
        assert all(len(set(cycle)) == len(cycle) for cycle in cycles)
        assert len(set(drawn)) == account.unique


def test_the_order_before_a_change_and_inside_every_source_is_that_without_it(rich):
    plain = _plan(rich).batch(range(3000))
    changed = _plan(rich, changes=(MixChange(slot=500, weights={"cxr": 5}, datasets={"cxr/nih": 9}),))
    after = changed.batch(range(3000))
    assert after[:500] == plain[:500]
    for source in ("cxr/chest", "cxr/nih", "cxr/tb", "us/busi", "us/fetal", "us/heart"):
        one, two = _order(plain, *source.split("/")), _order(after, *source.split("/"))
        common = min(len(one), len(two))
        assert common > 0
        assert one[:common] == two[:common]


def test_a_dataset_added_later_leaves_the_order_inside_every_other_source_as_it_was(rich):
    for without in ("cxr/nih", "us/busi"):
        fewer = Manifest(shards=tuple(row for row in rich.shards if f"{row.modality}/{row.dataset}" != without))
        before, now = _plan(fewer).batch(range(2000)), _plan(rich).batch(range(2000))
        for row in fewer.shards:
            one, two = _order(before, row.modality, row.dataset), _order(now, row.modality, row.dataset)
            common = min(len(one), len(two))
            assert one[:common] == two[:common]
        other = "us" if without.startswith("cxr") else "cxr"
        assert _order(before, other) == _order(now, other)


def test_a_modality_added_later_leaves_the_order_inside_the_others_as_it_was(rich, shard_row):
    more = Manifest(shards=(*rich.shards, shard_row("derm", "moles", 0, 77)))
    before, now = _plan(rich).batch(range(2000)), _plan(more).batch(range(3000))
    for modality in ("cxr", "us"):
        one, two = _order(before, modality), _order(now, modality)
        assert one[: len(two)] == two[: len(one)]


def test_the_same_set_under_two_names_is_drawn_in_two_orders(shard_row):
    twice = Manifest(shards=(shard_row("us", "one", 0, 200), shard_row("us", "two", 1, 200)))
    references = _plan(twice).batch(range(400))
    first, second = ([r.index for r in references if r.row.dataset == name] for name in ("one", "two"))
    assert sorted(first) == sorted(second) == list(range(200))
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 10


def test_what_a_batch_holds_is_told_for_any_slot(rich):
    plan = _plan(rich, weights={"us": 3}, changes=(MixChange(slot=8, weights={"cxr": 0}),))
    assert plan.quota(8) == {"cxr": 2.0, "us": 6.0}
    assert plan.quota(8, slot=8) == {"cxr": 0.0, "us": 8.0}
