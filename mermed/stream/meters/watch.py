"""What the stream spends its time on, what it waits for at this moment, and how often something went wrong."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

CAUSES = ("network", "cache", "disk", "decode", "augment", "copy")
"""Where the seconds of a batch can go, in the order a batch meets them."""


class _Thread(threading.local):
    """What one thread has open: the seconds taken out of each timing around it, and the laps it fills."""

    def __init__(self) -> None:
        self.inner: list[float] = []
        self.laps: list[defaultdict[str, float]] = []


class Watch:
    """One per stream, shared by its threads: seconds per cause, waits with their reasons, counts of incidents.

    Nothing given to it may hold a secret or a patient identifier: all of it is shown to people and written to logs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._waits: dict[int, tuple[str, float]] = {}
        self._next_wait = 0
        self._mine = _Thread()

    @contextmanager
    def timing(self, cause: str) -> Iterator[None]:
        """Add the seconds of the body to `cause`, one of CAUSES; seconds of several threads add up.

        What the body times or reports itself, such as a download behind a disk read, is not counted a second time.
        """
        _check(cause)
        inner = self._mine.inner
        inner.append(0.0)
        begin = time.perf_counter()
        try:
            yield
        finally:
            elapsed_s = time.perf_counter() - begin
            self._add(cause, max(elapsed_s - inner.pop(), 0.0))
            if inner:
                inner[-1] += elapsed_s

    def spent(self, cause: str, seconds: float) -> None:
        """Add seconds of this thread measured otherwise; a `timing` around the call does not count them again."""
        _check(cause)
        if self._mine.inner:
            self._mine.inner[-1] += seconds
        self._add(cause, seconds)

    @contextmanager
    def lap(self) -> Iterator[Mapping[str, float]]:
        """Seconds per cause that this thread, and no other, spends in the body; complete once the body is over."""
        lap: defaultdict[str, float] = defaultdict(float)
        self._mine.laps.append(lap)
        try:
            yield lap
        finally:
            self._mine.laps.pop()

    def _add(self, cause: str, seconds: float) -> None:
        for lap in self._mine.laps:
            lap[cause] += seconds
        with self._lock:
            self._seconds[cause] += seconds

    @contextmanager
    def waiting(self, reason: str) -> Iterator[None]:
        """Say, for as long as the body runs, that work waits for `reason`, such as a store that is down."""
        with self._lock:
            number = self._next_wait
            self._next_wait += 1
            self._waits[number] = (reason, time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                del self._waits[number]

    def reasons(self) -> list[tuple[str, float]]:
        """What is waited for now and since how many seconds, the longest wait first; equal reasons once."""
        now = time.monotonic()
        longest: dict[str, float] = {}
        with self._lock:
            for reason, begin in self._waits.values():
                longest[reason] = max(longest.get(reason, 0.0), now - begin)
        return sorted(longest.items(), key=lambda entry: -entry[1])

    def count(self, incident: str, by: int = 1) -> None:
        """Count an incident, such as `retries` or `cache_misses`."""
        with self._lock:
            self._counts[incident] += by

    def counts(self) -> dict[str, int]:
        """How often each incident happened since the stream began."""
        with self._lock:
            return dict(self._counts)

    def seconds(self) -> dict[str, float]:
        """Seconds per cause since the stream began, summed over threads."""
        with self._lock:
            return dict(self._seconds)


def _check(cause: str) -> None:
    if cause not in CAUSES:
        raise ValueError(f"no such cause: {cause}; known are {' '.join(CAUSES)}")
