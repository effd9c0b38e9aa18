"""grain: its global shuffle and its threads over an index of our shards; a thread makes a whole batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np

from peers.border import Opening
from peers.collection import write_collection
from peers.shards import IndexedShards

TITLE = "grain (threads, our index)"
REQUIREMENTS = ("grain==0.2.18",)
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
BATCHES_AHEAD = 2
"""Its default of 500 elements read ahead would be 500 batches here."""
prepare = write_collection


class GrainSource:
    """An IterDataset as a Source; its state is the number of the next batch."""

    def __init__(self, shards: IndexedShards, dataset: "grain.IterDataset", state: Any) -> None:
        self._shards = shards
        self._batches = iter(dataset)
        if state is not None:
            self._batches.set_state(state)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        yield from self._batches

    def state(self) -> Any:
        return self._batches.get_state()

    def close(self) -> None:
        self._batches.close()
        self._shards.close()


def order(shards: IndexedShards, *, seed: int, shuffle: bool, mix: bool) -> "grain.MapDataset":
    """Numbers of samples without an end; mixed, each modality has its own shuffle and an equal share."""

    def endless(numbers: list[int], number: int) -> "grain.MapDataset":
        dataset = grain.MapDataset.source(np.array(numbers)).seed(seed + number)
        return (dataset.shuffle() if shuffle else dataset).repeat()

    if not mix:
        return endless(list(range(len(shards))), 0)
    return grain.MapDataset.mix(
        [endless(numbers, number) for number, numbers in enumerate(shards.by_modality().values())]
    )


def open(out: Path, asked: Opening) -> GrainSource:
    """A rank takes every `num_ranks`-th sample, as grain's guide says."""
    shards = IndexedShards(out)
    numbers = order(shards, seed=asked.seed, shuffle=asked.shuffle, mix=asked.mix)[asked.rank :: asked.num_ranks]
    batches = numbers.batch(asked.batch).map(lambda chosen: shards.load(chosen, asked.side_px))
    reading = grain.ReadOptions(num_threads=asked.workers, prefetch_buffer_size=max(BATCHES_AHEAD, asked.workers))
    return GrainSource(shards, batches.to_iter_dataset(reading), asked.state)
