"""Whom a wait for a batch is owed to: the moments of the batch, and the wait divided among its causes by them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

READ_CAUSES = ("network", "cache", "disk")
OTHER = "other"
"""The part of a wait for a batch that no read accounts for: its order was still computed, or its threads starved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """When a batch was ready for what comes next, in seconds of `time.perf_counter`, and what its reads took.

    `read_at`: its last sample was in memory. `decoded_at`: its last image lay on its canvas. `read_s`: seconds per
    cause of its reads, summed over threads (`Watch.lap` around each read); those of other causes are no reads.
    """

    read_at: float
    decoded_at: float
    read_s: Mapping[str, float] = field(default_factory=dict)


def stall(asked_at: float, given_at: float, times: BatchTimes) -> dict[str, float]:
    """Divide the wait of a consumer from `asked_at` to `given_at`, in seconds per cause; the parts sum to the wait.

    Until the batch was read the wait is owed to the reads, in proportion to their seconds, then to the decoding until
    the batch was decoded, then to its copy. A batch that was ready when it was asked for stalls nobody but by its copy.
    """
    read_at = min(max(times.read_at, asked_at), given_at)
    decoded_at = min(max(times.decoded_at, read_at), given_at)
    parts = _reading(read_at - asked_at, times.read_s)
    parts["decode"] = decoded_at - read_at
    parts["copy"] = given_at - decoded_at
    return {cause: seconds for cause, seconds in parts.items() if seconds > 0.0}


def _reading(wait_s: float, read_s: Mapping[str, float]) -> dict[str, float]:
    total_s = sum(read_s.get(cause, 0.0) for cause in READ_CAUSES)
    if total_s <= 0.0:
        return {OTHER: wait_s}
    return {cause: wait_s * (read_s.get(cause, 0.0) / total_s) for cause in READ_CAUSES}


def last_of(moments: Iterable[float], laps: Iterable[Mapping[str, float]]) -> tuple[float, dict[str, float]]:
    """When the last of several things was done, and the seconds per cause of all of them: a batch from its samples."""
    summed: defaultdict[str, float] = defaultdict(float)
    for lap in laps:
        for cause, seconds in lap.items():
            summed[cause] += seconds
    return max(moments, default=0.0), dict(summed)


class StallMeter:
    """Adds up the stalls of one consumer between two readings."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def waited(self, asked_at: float, given_at: float, times: BatchTimes) -> None:
        """Count one wait for a batch, divided among its causes."""
        self.add(stall(asked_at, given_at, times))

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count seconds per cause that were divided elsewhere."""
        for cause, part in seconds.items():
            self._seconds[cause] += part

    def read(self) -> dict[str, float]:
        """Seconds stalled per cause since the last reading; then it starts over."""
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds
