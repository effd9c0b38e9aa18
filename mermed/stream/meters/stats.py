"""How long each side of a bounded queue waits: the side that never waits is the bottleneck."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class QueueStats:
    """Waits of one queue since it began, in seconds, and its mean fill when an item is taken.

    A large `get_wait_s` says the stages before are slow, a large `put_wait_s` that those after are. One thread puts and
    one takes. `filled` is what it held when last looked at.
    """

    name: str
    capacity: int
    items: int = 0
    get_wait_s: float = 0.0
    put_wait_s: float = 0.0
    fill_sum: int = 0
    filled: int = 0

    @property
    def occupancy(self) -> float:
        """Mean share of the queue that was full when an item was taken: 1 is well fed, 0 is starved."""
        return self.fill_sum / (self.items * self.capacity) if self.items else 0.0

    @contextmanager
    def getting(self, filled: int) -> Iterator[None]:
        """Time the taking of one item from a queue that holds `filled`; a taking that fails counts its wait alone."""
        self.filled = min(filled, self.capacity)
        with self.completing():
            yield
        self.items += 1
        self.fill_sum += min(filled, self.capacity)

    @contextmanager
    def completing(self) -> Iterator[None]:
        """Time the wait for what an item taken lacks still: that too is a wait for the stages before."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.get_wait_s += time.perf_counter() - begin

    @contextmanager
    def putting(self) -> Iterator[None]:
        """Time the putting of one item."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.put_wait_s += time.perf_counter() - begin

    def as_dict(self) -> dict[str, float]:
        """The figures for a metrics line; `items` lets a reader of two lines compute the occupancy between them."""
        return {
            f"{self.name}_get_wait_s": round(self.get_wait_s, 4),
            f"{self.name}_put_wait_s": round(self.put_wait_s, 4),
            f"{self.name}_occupancy": round(self.occupancy, 4),
            f"{self.name}_items": self.items,
        }
