"""Mixtures one after another: weights that change at stated slots without a draw lost, doubled or out of balance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mermed.errors import ConfigError
from mermed.stream.order.mix import Mixture, reduced

Int64s = NDArray[np.int64]
NEVER = int(np.iinfo(np.int64).max)
"""The slot of a draw that is never made: its source has no images in the last mixture."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One mixture, in force from slot `first` on.

    `sources` numbers the sources it draws from; `before` holds the draws that every source had given until then.
    """

    first: int
    mixture: Mixture
    sources: Int64s
    before: Int64s


class Schedule:
    """The mixtures of a run over the same sources, each in force from a slot on.

    `changes` holds (slot, quota) pairs with rising slots, the first one at 0; a quota of 0 means that the source is not
    drawn from. A change takes effect where the first whole cycle of the mixture before it ends, at or after its slot:
    there every source has exactly its share, so the bounds of Mixture hold across the change. Draws are counted on: a
    source that comes back goes on where it stopped. Everything is O(1) in the slot. Raises ConfigError for a quota
    without any image.
    """

    def __init__(self, changes: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        self.num_sources = len(changes[0][1])
        phases: list[Phase] = []
        for slot, quota in changes:
            phase = self._phase(slot, quota, phases[-1] if phases else None)
            if phases and phases[-1].first == phase.first:
                phases.pop()
            phases.append(phase)
        self.phases = tuple(phases)
        self._firsts = np.array([phase.first for phase in phases], np.int64)
        self._before = np.stack([phase.before for phase in phases])

    def _phase(self, slot: int, quota: tuple[int, ...], last: Phase | None) -> Phase:
        sources = np.flatnonzero(np.asarray(quota))
        if not len(sources):
            raise ConfigError("no samples to draw from", where={"from slot": slot}, found="a mixture without any image")
        mixture = Mixture(reduced(tuple(quota[source] for source in sources)))
        if last is None:
            return Phase(0, mixture, sources, np.zeros(self.num_sources, np.int64))
        laps = -(-max(0, slot - last.first) // last.mixture.length)
        before = last.before.copy()
        before[last.sources] += laps * np.asarray(last.mixture.quota, np.int64)
        return Phase(last.first + laps * last.mixture.length, mixture, sources, before)

    def quota(self, slot: int = 0) -> tuple[int, ...]:
        """Images of every source per cycle of the mixture in force at `slot`."""
        phase = self.phases[self._number(slot)]
        quota = np.zeros(self.num_sources, np.int64)
        quota[phase.sources] = phase.mixture.quota
        return tuple(quota.tolist())

    def locate(self, slots: Int64s) -> tuple[Int64s, Int64s]:
        """The source of each slot and which of its draws (0-based, endless) the slot is."""
        slots = np.asarray(slots, np.int64)
        source, draw = np.empty_like(slots), np.empty_like(slots)
        for phase, inside in self._split(slots):
            number, given = phase.mixture.locate(slots[inside] - phase.first)
            source[inside] = phase.sources[number]
            draw[inside] = given + phase.before[source[inside]]
        return source, draw

    def _split(self, slots: Int64s) -> Iterator[tuple[Phase, Int64s | slice]]:
        if len(self.phases) == 1:
            yield self.phases[0], slice(None)
            return
        numbers = np.searchsorted(self._firsts, slots, side="right") - 1
        for number in np.unique(numbers):
            yield self.phases[number], np.flatnonzero(numbers == number)

    def slots_of(self, source: int, draws: Int64s) -> Int64s:
        """The slot of each draw of `source`, NEVER for one that is not made: the inverse of `locate`."""
        draws = np.asarray(draws, np.int64)
        slots = np.full_like(draws, NEVER)
        numbers = np.searchsorted(self._before[:, source], draws, side="right") - 1
        for number in np.unique(numbers):
            phase, inside = self.phases[number], numbers == number
            place = np.flatnonzero(phase.sources == source)
            if len(place):
                given = draws[inside] - phase.before[source]
                slots[inside] = phase.first + phase.mixture.slots_of(int(place[0]), given)
        return slots

    def drawn(self, slots: int) -> tuple[int, ...]:
        """How many draws each source has given once the first `slots` slots are consumed."""
        phase = self.phases[self._number(slots)]
        drawn = phase.before.copy()
        drawn[phase.sources] += phase.mixture.drawn(slots - phase.first)
        return tuple(drawn.tolist())

    def _number(self, slot: int) -> int:
        return int(np.searchsorted(self._firsts, slot, side="right")) - 1
