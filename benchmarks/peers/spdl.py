"""SPDL: its pipeline of threads over plain files, shuffled by its sampler; batches stay in the order of the sampler."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from spdl.pipeline import PipelineBuilder
from spdl.source import DistributedDeterministicSampler, DistributedRandomSampler
from spdl.source.utils import MergeIterator, repeat_source

from peers import files
from peers.border import Opening, keyed_images
from peers.decoding import decode

TITLE = "SPDL (threads, files)"
REQUIREMENTS = ("spdl==0.8.0",)
SUPPORTS = frozenset({"threads", "ranks", "mix", "endless"})
BATCHES_AHEAD = 2
OTHER_THREADS = 2
"""Threads for its source and for making batches, besides the decoding ones."""
prepare = files.prepare


class PipelineSource:
    """A running pipeline as a Source."""

    def __init__(self, pipeline: Any, decoders: ThreadPoolExecutor) -> None:
        self._pipeline = pipeline
        self._decoders = decoders
        pipeline.start()

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        yield from self._pipeline.get_iterator()

    def state(self) -> Any:
        raise NotImplementedError("SPDL has no state")

    def close(self) -> None:
        self._pipeline.stop()
        self._decoders.shutdown()


def load(number: int, *, images: list[tuple[str, Path]], side_px: int) -> tuple[np.ndarray, str]:
    key, path = images[number]
    return decode(path.read_bytes(), side_px), key


def stacked(samples: list[tuple[np.ndarray, str]]) -> tuple[np.ndarray, list[str]]:
    return np.stack([pixels for pixels, _ in samples]), [key for _, key in samples]


class Numbers:
    """A sampler's choices as numbers of images, without an end; shuffled, every epoch has an order of its own."""

    def __init__(self, chosen: list[int], *, rank: int, num_ranks: int, seed: int, shuffle: bool) -> None:
        self._chosen = chosen
        self._seed = seed
        sampler = DistributedRandomSampler if shuffle else DistributedDeterministicSampler
        self._sampler = sampler(len(chosen), rank=rank, world_size=num_ranks)

    def __iter__(self) -> Iterator[int]:
        # it seeds every epoch's shuffle with the number of the epoch, which may begin anywhere
        return (self._chosen[place] for place in repeat_source(self._sampler, epoch=self._seed * 1_000_000))


def open(out: Path, asked: Opening) -> PipelineSource:
    """Endless batches; mixed, modalities take turns (`MergeIterator` without weights)."""
    if asked.state is not None:
        raise NotImplementedError("SPDL has no state")
    images = keyed_images(out)
    groups: dict[str, list[int]] = {}
    for number, (key, _) in enumerate(images):
        groups.setdefault(key.partition("-")[0] if asked.mix else "all", []).append(number)
    numbers = [
        Numbers(chosen, rank=asked.rank, num_ranks=asked.num_ranks, seed=asked.seed + place, shuffle=asked.shuffle)
        for place, chosen in enumerate(groups.values())
    ]
    decoders = ThreadPoolExecutor(asked.workers)
    pipeline = (
        PipelineBuilder()
        .add_source(MergeIterator(numbers))
        .pipe(
            partial(load, images=images, side_px=asked.side_px),
            concurrency=asked.workers,
            executor=decoders,
            output_order="input",
        )
        .aggregate(asked.batch)
        .pipe(stacked)
        .add_sink(BATCHES_AHEAD)
        .build(num_threads=OTHER_THREADS)
    )
    return PipelineSource(pipeline, decoders)
