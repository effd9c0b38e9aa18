"""What the stream spends its time on, what it waits for at this moment, and how often something went wrong."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

CAUSES = ("network", "cache", "disk", "decode", "augment", "copy")
"""Where the seconds of a batch can go, in the order a batch meets them."""


class _Thread(threading.local):
    """What one thread has spent by cause, and the seconds taken out of each timing that it has open."""

    def __init__(self, all_seconds: list[dict[str, float]]) -> None:
        self.inner: list[float] = []
        self.seconds: dict[str, float] = dict.fromkeys(CAUSES, 0.0)
        all_seconds.append(self.seconds)


class _Timing:
    """The body of a `with` that is timed; a class, because a generator costs three times as much."""

    __slots__ = ("_begin", "_cause", "_mine")

    def __init__(self, mine: _Thread, cause: str) -> None:
        self._mine = mine
        self._cause = cause

    def __enter__(self) -> None:
        self._mine.inner.append(0.0)
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        elapsed_s = time.perf_counter() - self._begin
        mine = self._mine
        mine.seconds[self._cause] += max(elapsed_s - mine.inner.pop(), 0.0)
        if mine.inner:
            mine.inner[-1] += elapsed_s


class _Lap:
    """What the body of a `with` adds to the seconds of its thread."""

    __slots__ = ("_before", "_mine", "_spent")

    def __init__(self, mine: _Thread) -> None:
        self._mine = mine
        self._spent: dict[str, float] = {}

    def __enter__(self) -> Mapping[str, float]:
        self._before = self._mine.seconds.copy()
        return self._spent

    def __exit__(self, *_: object) -> None:
        before = self._before
        for cause, seconds in self._mine.seconds.items():
            if seconds != before[cause]:
                self._spent[cause] = seconds - before[cause]


class Watch:
    """One per stream, shared by its threads: seconds per cause, waits with their reasons, counts of incidents.

    Nothing given to it may hold a secret or a patient identifier: all of it is shown to people and written to logs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all_seconds: list[dict[str, float]] = []
        self._counts: Counter[str] = Counter()
        self._waits: dict[int, tuple[str, float]] = {}
        self._next_wait = 0
        self._mine = _Thread(self._all_seconds)

    def timing(self, cause: str) -> AbstractContextManager[None]:
        """Add the seconds of the body to `cause`, one of CAUSES; seconds of several threads add up.

        What the body times or reports itself, such as a download behind a disk read, is not counted a second time.
        """
        _check(cause)
        return _Timing(self._mine, cause)

    def spent(self, cause: str, seconds: float) -> None:
        """Add seconds of this thread measured otherwise; a `timing` around the call does not count them again."""
        _check(cause)
        if self._mine.inner:
            self._mine.inner[-1] += seconds
        self._mine.seconds[cause] += seconds

    def lap(self) -> AbstractContextManager[Mapping[str, float]]:
        """Seconds per cause that this thread, and no other, spends in the body; complete once the body is over."""
        return _Lap(self._mine)

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
            threads = [mine.copy() for mine in self._all_seconds]
        return {cause: total for cause in CAUSES if (total := sum(mine[cause] for mine in threads))}


def _check(cause: str) -> None:
    if cause not in CAUSES:
        raise ValueError(f"no such cause: {cause}; known are {' '.join(CAUSES)}")
