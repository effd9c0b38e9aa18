"""Orders of one epoch under the shuffles of the field: the real code where it runs on plain numbers, models elsewhere.

A scheme gives the numbers of the samples in the order in which they are drawn, for a collection of `SHARDS` shards of
`SHARD_SAMPLES` samples each. A model follows the documented algorithm at the documented settings; its name says so.
"""

import json
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers.environments import NoEnvironment, python_of

from mermed.config import StreamConfig
from mermed.contract import Manifest, ShardRow
from mermed.mix_config import MixConfig
from mermed.stream.order.plan import Plan

SHARDS, SHARD_SAMPLES = 1000, 1000
SAMPLES = SHARDS * SHARD_SAMPLES
Int64s = NDArray[np.int64]
Order = Callable[[int, int], Int64s]
"""(seed, count) -> the first `count` samples of an epoch."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A shuffle: its order, and how many samples must be at hand at once for it."""

    order: Order
    held: int


def synthetic_rows(shards: int, samples: int, sources: Sequence[tuple[str, str]]) -> tuple[ShardRow, ...]:
    """Rows of shards that lie nowhere, dealt to the sources in turn."""
    rows = []
    for number in range(shards):
        modality, dataset = sources[number % len(sources)]
        rows.append(
            ShardRow(
                name=f"{modality}/train/{modality}-train-{number:06d}.tar",
                modality=modality,
                dataset=dataset,
                split="train",
                samples=samples,
                bytes=samples * 100_000,
                sha256="0" * 64,
                index_sha256="0" * 64,
            )
        )
    return tuple(rows)


def ours(block_samples: int, window_blocks: int) -> Order:
    """The plan itself, over one source."""
    manifest = Manifest(shards=synthetic_rows(SHARDS, SHARD_SAMPLES, [("cxr", "sites")]))
    starts = {row.name: number * SHARD_SAMPLES for number, row in enumerate(manifest.shards)}

    def order(seed: int, count: int) -> Int64s:
        stream = StreamConfig(block_samples=block_samples, window_blocks=window_blocks)
        plan = Plan(manifest, MixConfig(), stream, seed)
        parts = (plan.batch(range(n, min(n + 8192, count))) for n in range(0, count, 8192))
        return np.array([starts[r.row.name] + r.index for part in parts for r in part], np.int64)

    return order


def independent(seed: int, count: int) -> Int64s:
    """One permutation of everything, from numpy."""
    return np.random.default_rng(seed).permutation(SAMPLES)[:count]


def webdataset(buffer: int) -> Order:
    """The library's own shuffle stages, as WebDataset(shardshuffle=100).shuffle(buffer) puts them together."""
    from webdataset import filters  # a missing library leaves out this scheme alone

    def order(seed: int, count: int) -> Int64s:
        shards = filters.shuffle(100, seed=seed)(iter(range(SHARDS)))
        samples = (sample for shard in shards for sample in _in_shard(shard))
        mixed = filters.shuffle(buffer, seed=seed + 1)(samples)
        return np.fromiter(mixed, np.int64, count)

    return order


def _in_shard(shard: int) -> range:
    return range(shard * SHARD_SAMPLES, (shard + 1) * SHARD_SAMPLES)


def chunks(seed: int, count: int) -> Int64s:
    """Shards permuted, then the samples inside each: one shard at hand (LitData's shuffle, one worker)."""
    generator = np.random.default_rng(seed)
    shards = generator.permutation(SHARDS)[: -(-count // SHARD_SAMPLES)]
    return np.concatenate([generator.permutation(_in_shard(shard)) for shard in shards])[:count]


def shard_windows(window: int) -> Order:
    """Shards permuted, samples mixed over `window` shards at a time (FFCV's quasi-random order does so with pages)."""

    def order(seed: int, count: int) -> Int64s:
        generator = np.random.default_rng(seed)
        shards = generator.permutation(SHARDS)
        parts = [np.concatenate([_in_shard(s) for s in shards[n : n + window]]) for n in range(0, SHARDS, window)]
        return np.concatenate([generator.permutation(part) for part in parts])[:count]

    return order


def reservoir(samples: Iterator[int], size: int, source: random.Random) -> Iterator[int]:
    """A buffer of `size` samples; each draw takes one of them at random and the next sample takes its place."""
    held = [sample for _, sample in zip(range(size), samples, strict=False)]
    for sample in samples:
        place = source.randrange(size)
        yield held[place]
        held[place] = sample
    source.shuffle(held)
    yield from held


def in_stored_order(buffer: int) -> Order:
    """Shards in stored order through a buffer (DALI's readers with random_shuffle, initial_fill=buffer)."""

    def order(seed: int, count: int) -> Int64s:
        return np.fromiter(reservoir(iter(range(SAMPLES)), buffer, random.Random(seed)), np.int64, count)

    return order


def slices(length: int, parallel: int, buffer: int) -> Order:
    """Slices of shards in random order, `parallel` read at once in random turns, through a buffer (Energon)."""

    def order(seed: int, count: int) -> Int64s:
        source = random.Random(seed)
        return np.fromiter(reservoir(_interleaved(length, parallel, source), buffer, source), np.int64, count)

    return order


def _interleaved(length: int, parallel: int, source: random.Random) -> Iterator[int]:
    starts = list(range(0, SAMPLES, length))
    source.shuffle(starts)
    waiting = iter(starts)
    active = [iter(range(start, start + length)) for _, start in zip(range(parallel), waiting, strict=False)]
    while active:
        place = source.randrange(len(active))
        sample = next(active[place], None)
        if sample is not None:
            yield sample
        elif (start := next(waiting, None)) is not None:
            active[place] = iter(range(start, start + length))
        else:
            active.pop(place)


_CHILDREN = {
    "mosaicml": """
import json, sys
import numpy as np
from streaming.base.shuffle import get_shuffle
ask = json.load(sys.stdin)
sizes = np.full(ask["shards"], ask["shard_samples"], np.int64)
for seed in ask["seeds"]:
    order = get_shuffle("py1e", sizes, 1, seed, 0, ask["block_size"])
    np.save(f"{ask['folder']}/{seed}.npy", np.asarray(order, np.int64)[: ask["count"]])
""",
    "grain": """
import json, sys
import numpy as np
import grain
ask = json.load(sys.stdin)
for seed in ask["seeds"]:
    order = grain.MapDataset.range(ask["shards"] * ask["shard_samples"]).shuffle(seed=seed)
    np.save(f"{ask['folder']}/{seed}.npy", np.fromiter((order[n] for n in range(ask["count"])), np.int64))
""",
}


def real(peer: str, seeds: Sequence[int], count: int, **settings: int) -> Order:
    """The orders that the library of `peer` gives for `seeds`, computed at once in its own environment.

    Raises NoEnvironment where that is not installed or does not run.
    """
    python = python_of(peer)
    with tempfile.TemporaryDirectory() as folder:
        ask = {"folder": folder, "seeds": list(seeds), "count": count, **settings}
        ask |= {"shards": SHARDS, "shard_samples": SHARD_SAMPLES}
        done = subprocess.run(
            [str(python), "-c", _CHILDREN[peer]], input=json.dumps(ask), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoEnvironment(f"its shuffle failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        orders = {seed: np.load(Path(folder) / f"{seed}.npy", allow_pickle=False) for seed in seeds}
    return lambda seed, _: orders[seed]
