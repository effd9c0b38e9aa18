"""The weighted round robin: which source fills a slot, and which of its draws that is. Pure arithmetic, numpy only."""

import heapq
import math
from dataclasses import dataclass
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
                found=self.quota if len(self.quota) <= 20 else f"{len(self.quota)} weights, sum {sum(self.quota)}",
                next_step="write the weights as small whole numbers, images per cycle",
            )

    @property
    def length(self) -> int:
        """Slots in one cycle."""
        return sum(self.quota)

    @cached_property
    def cycle(self) -> Int64s:
        """The source at each place of one cycle."""
        return _schedule(np.asarray(self.quota, np.int64))

    @cached_property
    def _places(self) -> Int64s:
        """The places of source 0 in its order, then those of source 1, and so on."""
        return np.argsort(self.cycle, kind="stable")

    @cached_property
    def _first(self) -> Int64s:
        """Where the places of each source begin in `_places`."""
        return np.cumsum(self.quota) - np.asarray(self.quota, np.int64)

    @cached_property
    def _rank(self) -> Int64s:
        """How often the source of each place came earlier in the cycle."""
        rank = np.empty_like(self.cycle)
        rank[self._places] = np.arange(self.length)
        return rank - self._first[self.cycle]

    def locate(self, slots: Int64s) -> tuple[Int64s, Int64s]:
        """The source of each slot and which of its draws (0-based, endless) the slot is."""
        lap, place = np.divmod(np.asarray(slots, np.int64), self.length)
        source = self.cycle[place]
        return source, lap * np.asarray(self.quota, np.int64)[source] + self._rank[place]

    def slots_of(self, source: int, draws: Int64s) -> Int64s:
        """The slot of each draw of `source`: the inverse of `locate`."""
        lap, rank = np.divmod(np.asarray(draws, np.int64), self.quota[source])
        return lap * self.length + self._places[self._first[source] + rank]

    def drawn(self, slots: int) -> tuple[int, ...]:
        """How many draws each source has given once the first `slots` slots are consumed."""
        laps, rest = divmod(slots, self.length)
        begun = np.bincount(self.cycle[:rest], minlength=len(self.quota))
        return tuple(laps * quota + int(extra) for quota, extra in zip(self.quota, begun, strict=True))


def _schedule(quota: Int64s) -> Int64s:
    """Give each place to the image with the earliest deadline among those whose time has come.

    With `parts` = 2 * sources - 2 and T slots in the cycle, image i (from 0) of a source with quota q may not come
    before its source lags T / parts behind, and its deadline is T (i + 1 - 1 / parts) / q; ties go to the first source.
    """
    total, parts = int(quota.sum()), 2 * len(quota) - 2
    if parts == 0:
        return np.zeros(total, np.int64)
    source = np.repeat(np.arange(len(quota)), quota)
    image = np.arange(total) - np.repeat(np.cumsum(quota) - quota, quota)
    opens = -(-total * (1 + parts * image) // (parts * quota[source])) - 1
    # Exact: numerators stay below 2^34 and two different fractions lie 2^-30 apart, far more than a rounding.
    urgency = np.lexsort((source, (parts * (image + 1) - 1) / quota[source]))
    turn = np.empty(total, np.int64)
    turn[urgency] = np.arange(total)
    arrival = np.argsort(opens, kind="stable")
    open_until = np.searchsorted(opens[arrival], np.arange(total), side="right").tolist()
    arriving, waiting, chosen, seen = turn[arrival].tolist(), [], [], 0
    for until in open_until:
        for arrived in arriving[seen:until]:
            heapq.heappush(waiting, arrived)
        seen = until
        chosen.append(heapq.heappop(waiting))
    return source[urgency][chosen]


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
