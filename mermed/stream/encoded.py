"""Encoded batches for an engine that decodes itself, with the meters of a CanvasStream."""

import time

from mermed.batch import EncodedBatch
from mermed.stream.loader import Loader
from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.timeline import BatchTimes, StallMeter


class EncodedStream:
    """Yields the batches of `loader`, which it does not close; `stalls` adds up what the consumer waited for reads."""

    def __init__(self, loader: Loader) -> None:
        self.stalls = StallMeter()
        self._loader = loader

    @property
    def queues(self) -> tuple[QueueStats, ...]:
        """The queue of encoded batches."""
        return (self._loader.stats,)

    def stats(self) -> dict[str, float]:
        """Waits and occupancy of the queue since the stream began."""
        return self._loader.stats.as_dict()

    def __iter__(self) -> "EncodedStream":
        return self

    def __next__(self) -> EncodedBatch:
        asked_at = time.perf_counter()
        batch = next(self._loader)
        times = BatchTimes(read_at=self._loader.read_at, decoded_at=self._loader.read_at, read_s=self._loader.read_s)
        self.stalls.waited(asked_at, time.perf_counter(), times)
        return batch
