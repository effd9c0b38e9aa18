"""A stage that runs ahead of its consumer: one thread, one bounded queue, errors passed on in order."""

import queue
import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from mermed.stream.meters.stats import QueueStats

T = TypeVar("T")
_POLL_S = 0.05


class Stage(Generic[T]):
    """Draws items from a generator in its own thread, at most `ahead` before they are asked for.

    An item may still be in the making when it is drawn: `is_ready` tells, and only ready ones count as filling the
    queue.
    Iterate to consume. An error in the generator is raised at the place in the order where it happened. `close` stops
    the thread and the generator; leaving the iteration early needs it, so use the stage as a context manager.
    """

    def __init__(
        self, items: Generator[T], *, ahead: int, name: str, is_ready: Callable[[T], bool] = lambda _: True
    ) -> None:
        self.stats = QueueStats(name, ahead)
        self._is_ready = is_ready
        self._items = items
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._stopping = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._run, name=f"mermed-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:  # every error must reach the consumer, or it would wait for ever
            self._put((None, error))
        finally:
            self._items.close()

    def _put(self, entry: tuple[T | None, BaseException | None]) -> bool:
        with self.stats.putting():
            while not self._stopping.is_set():
                try:
                    self._queue.put(entry, timeout=_POLL_S)
                    return True
                except queue.Full:
                    continue
        return False

    def __iter__(self) -> "Stage[T]":
        return self

    def __next__(self) -> T:
        if self._done:
            raise StopIteration
        with self.stats.getting(self._num_ready()):
            item, error = self._queue.get()
        if error is not None:
            self._done = True
            raise error
        return item  # type: ignore[return-value]

    def _num_ready(self) -> int:
        """Items in the queue that could be used at once."""
        with self._queue.mutex:
            entries = list(self._queue.queue)
        return sum(error is None and self._is_ready(item) for item, error in entries)  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop the thread and wait for it; safe to call twice."""
        self._stopping.set()
        self._done = True
        self._thread.join()

    def __enter__(self) -> "Stage[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
