"""What the stream spends its time on, what it waits for at this moment, and how often something went wrong."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

CAUSES = ("network", "cache", "disk", "decode", "augment", "copy")
"""Where the seconds of a batch can go, in the order a batch meets them."""


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

    @contextmanager
    def timing(self, cause: str) -> Iterator[None]:
        """Add the seconds of the body to `cause`, one of CAUSES; seconds of several threads add up."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.spent(cause, time.perf_counter() - begin)

    def spent(self, cause: str, seconds: float) -> None:
        """Add seconds measured elsewhere."""
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
