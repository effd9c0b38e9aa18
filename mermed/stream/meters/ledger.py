"""The run's account of each source: what was drawn, read, replaced and decoded, of the slots that were trained on."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsInt

import numpy as np
from numpy.typing import NDArray

from mermed.errors import ResumeError

COLUMNS = ("draws", "bytes", "failed", "replaced", "tombstoned", "decode_s")
"""Per source: slots filled, bytes of their images as stored, samples that failed, slots filled by a stand-in, samples
passed over as tombstones, and thread-seconds of decoding."""
_WHOLE = COLUMNS[:-1]


class Tally:
    """Counts per source in two steps: facts are noted by slot while it is read ahead, and count once it is committed.

    So a checkpoint holds exactly what was trained on: what was read ahead and lost is read and noted again. Numbers are
    float64, exact for whole ones up to 2**53. Each rank has one; the sum over ranks of `vector()` is the world's.
    Draws, distinct samples, repeats and cycles also follow from the plan alone (`Plan.ledger`); a stand-in is a repeat
    that the plan does not know of.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = tuple(sources)
        self._rows = {name: number for number, name in enumerate(self.sources)}
        self._before = np.zeros((len(self.sources), len(COLUMNS)))
        self._mine = np.zeros_like(self._before)
        self._pending: dict[int, tuple[int, list[float]]] = {}
        self._lock = threading.Lock()

    def note(self, slot: int, source: str, *, size: int, failed: int, tombstoned: int, replaced: bool) -> None:
        """What filling `slot` took; said again (its image did not decode), the last word counts."""
        facts = [1.0, float(size), float(failed), float(replaced), float(tombstoned), 0.0]
        with self._lock:
            former = self._pending.get(slot)
            facts[-1] = former[1][-1] if former else 0.0
            self._pending[slot] = self._rows[source], facts

    def spent(self, slots: Sequence[int], decode_s: Sequence[float]) -> None:
        """Add the seconds of decoding the image of each of `slots`, once these are noted."""
        with self._lock:
            for slot, seconds in zip(slots, decode_s, strict=True):
                self._pending[slot][1][-1] += seconds

    def commit(self, slots: Iterable[SupportsInt]) -> None:
        """The batch of `slots` was trained on; slots that were never noted here count nothing."""
        with self._lock:
            for slot in slots:
                row, facts = self._pending.pop(int(slot), (0, None))
                if facts is not None:
                    self._mine[row] += facts

    def vector(self) -> NDArray[np.float64]:
        """What this rank has committed since it began, flat, to be summed over the ranks."""
        with self._lock:
            return self._mine.ravel().copy()

    def totals(self, world: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Sources by COLUMNS since the run began, resumes included; `world` is the sum of all ranks' vectors."""
        mine = self.vector() if world is None else np.asarray(world, np.float64)
        return self._before + mine.reshape(self._before.shape)

    def as_dict(self, world: NDArray[np.float64] | None = None) -> dict[str, dict[str, int | float]]:
        """The totals by source and column; whole numbers are int."""
        return {
            source: {name: int(row[place]) if name in _WHOLE else row[place] for place, name in enumerate(COLUMNS)}
            for source, row in zip(self.sources, self.totals(world).tolist(), strict=True)
        }

    state_dict = as_dict

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from the totals of a checkpoint, the same on every rank; raises ResumeError when sources differ."""
        if set(state) != set(self.sources):
            raise ResumeError(
                "the ledger of a checkpoint counts other sources",
                expected=" ".join(self.sources),
                found=" ".join(sorted(state)),
                next_step="resume with the collection and the mix the run began with",
            )
        self._before = np.array([[state[source].get(name, 0) for name in COLUMNS] for source in self.sources], float)
        self._mine[:] = 0


def merged(states: Iterable[Mapping[str, Mapping[str, int | float]]]) -> dict[str, dict[str, int | float]]:
    """The sum of several ledgers in their dictionary form, such as those of ranks without a collective."""
    total: dict[str, dict[str, int | float]] = {}
    for state in states:
        for source, counts in state.items():
            row = total.setdefault(source, dict.fromkeys(counts, 0))
            for name, value in counts.items():
                row[name] = row.get(name, 0) + value
    return total
