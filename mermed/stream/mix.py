"""The weighted round robin: which source fills a slot, and which of its draws that is. Pure arithmetic, numpy only."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mermed.errors import ConfigError

MAX_CYCLE = 1 << 16
Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class Mixture:
    """A fixed cycle of sources: slot n holds the same source on every machine and in every run.

    `quota[s]` is the whole number of images of source s in one cycle, so a weight counts images. In the first n slots
    every source is within one image of its exact share, and in any contiguous run of slots within two (within one, so
    floor or ceil, when all quotas are equal): each place goes to the source with the earliest deadline among those
    whose turn has come (Tijdeman, The chairman assignment problem, 1980). Raises ConfigError for a quota below 1 or a
    cycle above 65,536 slots.
    """

    quota: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.quota or min(self.quota) < 1 or sum(self.quota) > MAX_CYCLE:
            raise ConfigError(
                "a mixture needs whole weights of 1 or more, not too large together",
                expected=f"a sum between 1 and {MAX_CYCLE}",
                found=self.quota,
                next_step="write the weights as small whole numbers, images per cycle",
            )

    @cached_property
    def cycle(self) -> Int64s:
        """The source at each place of one cycle."""
        total, taken = sum(self.quota), [0] * len(self.quota)
        slack = Fraction(total, max(2 * len(self.quota) - 2, 1))
        places = np.empty(total, np.int64)
        for place in range(total):
            behind = [quota * (place + 1) - total * used for quota, used in zip(self.quota, taken, strict=True)]
            ready = [source for source, lag in enumerate(behind) if lag >= slack or len(self.quota) == 1]
            chosen = min(ready, key=lambda source: Fraction(total - slack - behind[source]) / self.quota[source])
            taken[chosen] += 1
            places[place] = chosen
        return places

    @cached_property
    def _rank(self) -> Int64s:
        """How often the source of each place came earlier in the cycle."""
        rank = np.empty_like(self.cycle)
        for source in range(len(self.quota)):
            places = np.flatnonzero(self.cycle == source)
            rank[places] = np.arange(len(places))
        return rank

    def locate(self, slots: Int64s) -> tuple[Int64s, Int64s]:
        """The source of each slot and which of its draws (0-based, endless) the slot is."""
        lap, place = np.divmod(np.asarray(slots, np.int64), len(self.cycle))
        source = self.cycle[place]
        return source, lap * np.asarray(self.quota, np.int64)[source] + self._rank[place]

    def drawn(self, slots: int) -> tuple[int, ...]:
        """How many draws each source has given once the first `slots` slots are consumed."""
        laps, rest = divmod(slots, len(self.cycle))
        begun = np.bincount(self.cycle[:rest], minlength=len(self.quota))
        return tuple(laps * quota + int(extra) for quota, extra in zip(self.quota, begun, strict=True))


def reduced(weights: tuple[int, ...]) -> tuple[int, ...]:
    """The same shares in the smallest whole numbers."""
    divisor = math.gcd(*weights) or 1
    return tuple(weight // divisor for weight in weights)


def quota_by_size(sizes: tuple[int, ...], alpha: float, cycle: int = 840) -> tuple[int, ...]:
    """Whole quotas in proportion to size**alpha: of about `cycle` images each source has at least one.

    840 is divisible by 1 to 8, so equal shares of a few sources stay equal.
    """
    shares = [size**alpha for size in sizes]
    return reduced(tuple(max(1, round(cycle * share / sum(shares))) for share in shares))
