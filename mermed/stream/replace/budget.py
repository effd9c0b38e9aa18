"""The failure budget: how many samples may fail and be replaced before a run stops."""

import threading
from collections import Counter
from dataclasses import dataclass

from mermed.config import StreamConfig
from mermed.errors import IntegrityError, MermedError

LEAST_DRAWS = 10_000
"""Draws that the share is taken of at least, so that one bad sample at the start of a run is no rate."""
MEMORY_DRAWS = 200_000
"""Draws after which all counts are halved, so that a new fault is not hidden by a long good past."""
_WORST = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What may fail: the share of draws, and failures without a good sample between them."""

    max_failed: float
    max_failed_in_a_row: int

    @classmethod
    def of(cls, config: StreamConfig) -> "Limits":
        """The limits a run is configured with."""
        return cls(config.max_failed, config.max_failed_in_a_row)


class Budget:
    """Counts the draws of one rank and the samples that failed, in whatever order its threads meet them.

    The share is of the last 100,000 to 200,000 draws, and of 10,000 at least: with the default of 0.001 a run stops at
    its 11th failure early on, and at a hundred or two later. It begins anew in every process: a resumed run is judged
    by the storage it finds now, and whoever resumes has read why it stopped. What failed in all is in the run's ledger.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._draws = 0.0
        self._failed = 0.0
        self._in_a_row = 0
        self._shards: Counter[str] = Counter()

    def passed(self) -> None:
        """A sample was good, and a slot is filled."""
        with self._lock:
            self._in_a_row = 0
            self._draws += 1
            if self._draws >= MEMORY_DRAWS:
                self._draws /= 2
                self._failed /= 2

    def failed(self, shard: str, error: MermedError) -> None:
        """A sample failed with `error`; raises IntegrityError, naming the worst shards, once that is one too many."""
        with self._lock:
            self._failed += 1
            self._in_a_row += 1
            self._shards[shard] += 1
            draws = max(self._draws, LEAST_DRAWS)
            if self._failed > self._limits.max_failed * draws:
                self._stop(f"{self._limits.max_failed:.3%} of {draws:,.0f} draws (stream.max_failed)", error)
            if self._in_a_row >= self._limits.max_failed_in_a_row:
                self._stop(f"{self._limits.max_failed_in_a_row} in a row (stream.max_failed_in_a_row)", error)

    def _stop(self, limit: str, error: MermedError) -> None:
        total = sum(self._shards.values())
        worst = ", ".join(f"{name}: {count}" for name, count in self._shards.most_common(_WORST))
        raise IntegrityError(
            "too many samples cannot be used, so the run stops instead of replacing them",
            where={"shards": f"{len(self._shards)}, the worst {worst}"},
            expected=f"fewer than {limit}",
            found=f"{total} failures, {self._in_a_row} of them in a row; the last: {error.reason()}",
            next_step="mermed-shard verify DATA lists every damaged shard; replace those, then resume",
        )
