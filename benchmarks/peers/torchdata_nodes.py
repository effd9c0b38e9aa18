"""torchdata nodes: sampler, batcher, a parallel mapper of threads over an index of our shards, a prefetcher."""

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torchdata import nodes
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from peers.border import Opening
from peers.collection import write_collection
from peers.shards import IndexedShards

TITLE = "torchdata nodes (threads, our index)"
REQUIREMENTS = ("torchdata==0.11.0",)
SUPPORTS = frozenset({"threads", "ranks", "state", "mix"})
BATCHES_AHEAD = 2
prepare = write_collection


class NodesSource:
    """One pass of a nodes.Loader as a Source."""

    def __init__(self, shards: IndexedShards, root: nodes.BaseNode, state: Any) -> None:
        self._shards = shards
        self._loader: Any = nodes.Loader(root, restart_on_stop_iteration=False)
        if state is not None:
            self._loader.load_state_dict(state)
        self._batches: Any = iter(self._loader)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        yield from self._batches

    def state(self) -> Any:
        return self._loader.state_dict()

    def close(self) -> None:
        """The nodes stop their threads when they go: they have no public way to be told."""
        self._loader = self._batches = None
        gc.collect()
        self._shards.close()


def numbers_of(shards: IndexedShards, sampling: dict[str, Any], *, mix: bool) -> nodes.BaseNode:
    """Numbers of samples; mixed, every modality cycles for ever and is drawn by chance with equal weights."""
    if not mix:
        return nodes.SamplerWrapper(StatefulDistributedSampler(shards, **sampling))
    sources = {
        modality: nodes.MapStyleWrapper(numbers, StatefulDistributedSampler(numbers, **sampling))
        for modality, numbers in shards.by_modality().items()
    }
    return nodes.MultiNodeWeightedSampler(
        sources,
        dict.fromkeys(sources, 1.0),
        stop_criteria=nodes.StopCriteria.CYCLE_FOREVER,
        rank=sampling["rank"],
        world_size=sampling["num_replicas"],
        seed=sampling["seed"],
    )


def open(out: Path, asked: Opening) -> NodesSource:
    """One epoch of the rank's samples, endless when mixed."""
    shards = IndexedShards(out)

    def load(numbers: Sequence[int]) -> tuple[Any, list[str]]:
        return shards.load(numbers, asked.side_px)

    sampling = {"num_replicas": asked.num_ranks, "rank": asked.rank, "shuffle": asked.shuffle, "seed": asked.seed}
    batches = nodes.Batcher(numbers_of(shards, sampling, mix=asked.mix), asked.batch, drop_last=False)
    loaded = nodes.ParallelMapper(batches, load, num_workers=asked.workers, method="thread")
    return NodesSource(shards, nodes.Prefetcher(loaded, prefetch_factor=BATCHES_AHEAD), asked.state)
