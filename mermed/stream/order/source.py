"""One source: the samples of one dataset of one modality, drawn in a new keyed order each cycle."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from mermed import keyed
from mermed.config import StreamConfig
from mermed.contract import ShardRow
from mermed.errors import SampleError
from mermed.stream.order.shuffle import unshuffled

Int64s = NDArray[np.int64]


@lru_cache(1 << 14)
def cycle_key(seed: int, source: str, cycle: int) -> int:
    """The key of the order of one cycle of the source of that name."""
    return keyed.key("order", keyed.ORDER_VERSION, seed, source, cycle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What one source has given after some slots: draws, whole cycles over its samples, distinct samples, repeats."""

    source: str
    samples: int
    draws: int
    cycles: int
    unique: int

    @property
    def repeats(self) -> int:
        """Draws of a sample that had been drawn before."""
        return self.draws - self.unique


class Source:
    """Shards of one dataset of one modality in manifest order. Draw k is place k % samples of cycle k // samples.

    `block` samples stay together in the shuffle and `window` samples are mixed at once; a window of 0 mixes all.
    """

    def __init__(self, name: str, modality: int, rows: Sequence[ShardRow], seed: int, stream: StreamConfig) -> None:
        self.name = name
        self.modality = modality
        self.rows = tuple(rows)
        self.ends = np.cumsum([row.samples for row in rows], dtype=np.int64)
        self.samples = int(self.ends[-1])
        self.bytes = sum(row.bytes for row in rows)
        self.block, self.window = _sizes(stream, self.bytes / self.samples)
        self._seed = seed

    def next_draw(self, samples: Int64s, draw: int) -> int:
        """The first draw at or after `draw` that gives one of `samples`: where a block comes back, in closed form."""
        cycle, place = divmod(draw, self.samples)
        places = self._places(samples, cycle)
        later = places[places >= place]
        if len(later):
            return cycle * self.samples + int(later.min())
        return (cycle + 1) * self.samples + int(self._places(samples, cycle + 1).min())

    def _places(self, samples: Int64s, cycle: int) -> Int64s:
        return unshuffled(
            samples, self.samples, cycle_key(self._seed, self.name, cycle), block=self.block, window=self.window
        )

    def spare(self, sample: int, slot: int, attempt: int) -> int:
        """The sample that stands in for `sample` at `slot`: the `attempt`-th (from 0) of all others in a keyed order.

        Raises SampleError once every other sample was tried.
        """
        if attempt >= self.samples - 1:
            raise SampleError(
                "no sample of the source is left to stand in for one that cannot be used",
                where={"source": self.name, "slot": slot},
                expected="a source with a good sample",
                found=f"{self.samples} samples, {attempt} tried instead",
                next_step=f"pack the dataset again, or leave it out: --set mix.drop={self.name}",
            )
        stream = keyed.key("spare", keyed.ORDER_VERSION, self._seed, self.name, slot)
        place = int(keyed.permute(attempt, self.samples - 1, stream))
        return place + (place >= sample)

    def first_of(self, row: ShardRow) -> int:
        """The number in the source of the first sample of `row`; raises KeyError for a row of another source."""
        return self._firsts[row.name]

    @cached_property
    def _firsts(self) -> dict[str, int]:
        return {row.name: int(end) - row.samples for row, end in zip(self.rows, self.ends, strict=True)}

    def ledger(self, draws: int) -> Ledger:
        """The account after `draws` draws."""
        return Ledger(
            source=self.name,
            samples=self.samples,
            draws=draws,
            cycles=draws // self.samples,
            unique=min(draws, self.samples),
        )


def _sizes(stream: StreamConfig, mean_bytes: float) -> tuple[int, int]:
    """Samples in a block and in a window: from their sizes in MiB where they are given, else from their counts."""
    block = max(1, round(stream.block_mib * 2**20 / mean_bytes)) if stream.block_mib else stream.block_samples
    if stream.window_mib:
        return block, block * max(1, round(stream.window_mib * 2**20 / (block * mean_bytes)))
    return block, block * stream.window_blocks
