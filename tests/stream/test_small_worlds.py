"""Small worlds, exhaustively: all numbers of shards, ranks and threads, a stop at every slot, then another batch."""

from itertools import chain, product

import pytest

from mermed.config import StreamConfig
from mermed.contract import load_manifest
from mermed.mix_config import MixChange, MixConfig
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore
from mermed.world import World

SHARDS = [
    ("cxr/five", 5),
    ("us/one", 1),
    ("oct/two", 2),
    ("cxr/more", 3),
    ("cxr/more", 4),
    ("path/tiles", 6),
    ("path/tiles", 2),
    ("cxr/more", 1),
    ("path/tiles", 7),
]
"""A world of n shards is the first n: sources of one, two and five samples, fewer than a batch draws from them."""
SLOTS = 12
"""Three cycles of the mixture of modalities: every source of the smaller worlds has begun anew by then."""
BATCHES = {1: (1, 5, 12), 2: (2, 12), 3: (3, 12), 4: (4, 12)}
"""Global batches tried for each number of ranks."""


class _SmallWorld:
    def __init__(self, folder, mix=None):
        self.plan = Plan(load_manifest(folder), mix or MixConfig(), StreamConfig(block_samples=2), 0)
        self._reader = SampleReader(LocalStore(folder))
        self.keys = [self._reader.read(reference).meta.key for reference in self.plan.batch(range(6 * SLOTS))]

    def read(self, first, world, num_threads, batch, num_batches, ahead=2):
        """What one rank reads: for every batch the slots, the keys and the position after it."""
        shares = rank_shares(first, batch, world.share(batch), num_batches)
        with Loader(self.plan, self._reader.read, shares, num_threads=num_threads, ahead=ahead) as loader:
            return [(part.slot.tolist(), [meta.key for meta in part.meta], part.position.slots) for part in loader]

    def expected(self, first, batch, num_batches):
        """The slots, keys and position of each global batch, from the list of keys by slot alone."""
        starts = range(first, first + batch * num_batches, batch)
        return [(list(range(n, n + batch)), self.keys[n : n + batch], n + batch) for n in starts]


def _joined(ranks):
    """The global batches that the parts of all ranks make up."""
    return [
        (list(chain(*(p[0] for p in parts))), list(chain(*(p[1] for p in parts))), *{p[2] for p in parts})
        for parts in zip(*ranks, strict=True)
    ]


@pytest.fixture
def small_world(tiny_world):
    """The world of the first so many shards."""

    def make(num_shards, mix=None):
        sources = {}
        for source, samples in SHARDS[:num_shards]:
            sources.setdefault(source, []).append(samples)
        return _SmallWorld(tiny_world(sources), mix)

    return make


@pytest.mark.parametrize("num_shards", range(1, 10))
def test_every_topology_goes_on_from_every_slot_with_the_keys_of_one_list(small_world, num_shards):
    world = small_world(num_shards)
    for stop, num_ranks, num_threads in product(range(SLOTS + 1), range(1, 5), range(1, 5)):
        batches = BATCHES[num_ranks]
        batch = batches[(stop + num_threads) % len(batches)]
        ranks = [
            world.read(stop, World(rank=rank, num_ranks=num_ranks), num_threads, batch, 2) for rank in range(num_ranks)
        ]
        assert _joined(ranks) == world.expected(stop, batch, 2), (stop, num_ranks, num_threads, batch)


@pytest.mark.parametrize("ahead", range(1, 9))
def test_a_run_cut_at_any_slot_with_a_full_ring_goes_on_at_the_next_one(small_world, ahead):
    world = small_world(9)
    for stop in range(1, SLOTS):
        shares = rank_shares(0, 1, range(1), SLOTS)
        with Loader(world.plan, world._reader.read, shares, num_threads=3, ahead=ahead) as loader:
            begun = [next(loader) for _ in range(stop)]
        position = begun[-1].position.slots
        assert position == stop
        rest = world.read(position, World(), 2, 3, 2, ahead=ahead)
        assert [meta.key for part in begun for meta in part.meta] + list(chain(*(p[1] for p in rest))) == world.keys[
            : stop + 6
        ]


@pytest.mark.parametrize("num_shards", range(1, 10))
def test_every_source_gives_each_sample_once_a_cycle_however_few_it_has(small_world, num_shards):
    world = small_world(num_shards)
    sizes = {}
    for source, samples in SHARDS[:num_shards]:
        sizes[source] = sizes.get(source, 0) + samples
    drawn = {source: [] for source in sizes}
    for reference, key in zip(world.plan.batch(range(6 * SLOTS)), world.keys, strict=True):
        drawn[f"{reference.row.modality}/{reference.row.dataset}"].append(key)
    for source, samples in sizes.items():
        cycles = [drawn[source][n : n + samples] for n in range(0, len(drawn[source]), samples)]
        assert len(cycles) >= 2
        assert all(len(set(cycle)) == samples for cycle in cycles[:-1])
        assert len(set(cycles[-1])) == len(cycles[-1])


@pytest.mark.parametrize("num_ranks", range(1, 5))
def test_a_change_of_the_mix_is_met_alike_by_every_topology_and_from_every_slot(small_world, num_ranks):
    changes = (MixChange(slot=5, weights={"us": 0, "path": 3}), MixChange(slot=17, weights={"us": 2}))
    world = small_world(9, MixConfig(changes=changes))
    assert [phase.first for phase in world.plan.outer.phases] == [0, 8, 18]
    for stop in range(2 * SLOTS):
        ranks = [world.read(stop, World(rank=rank, num_ranks=num_ranks), 2, 12, 2) for rank in range(num_ranks)]
        assert _joined(ranks) == world.expected(stop, 12, 2)


@pytest.mark.parametrize("num_ranks", range(1, 9))
def test_all_ranks_have_as_many_batches_of_the_same_size_whatever_the_number_of_samples(small_world, num_ranks):
    world = small_world(9)
    samples = sum(samples for _, samples in SHARDS)
    assert samples == 31
    parts = [world.read(0, World(rank=r, num_ranks=num_ranks), 1, num_ranks * 2, 4) for r in range(num_ranks)]
    assert {tuple(len(slots) for slots, _, _ in rank) for rank in parts} == {(2, 2, 2, 2)}


def test_one_shard_is_enough_for_four_ranks_of_eight_threads(small_world):
    world = small_world(1)
    ranks = [world.read(0, World(rank=rank, num_ranks=4), 8, 12, 3) for rank in range(4)]
    assert _joined(ranks) == world.expected(0, 12, 3)
