"""Loader and decoder as one: shares of an order in, CanvasBatch out, one thing to close."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping

from mermed.batch import CanvasBatch, EncodedBatch
from mermed.stream.crew import Crew
from mermed.stream.decode import Decoded, Decoder, Enough, Needs, Replace
from mermed.stream.loader import Loader, Order, ReadSample, Share
from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.timeline import BatchTimes, StallMeter
from mermed.stream.meters.watch import Watch


class CanvasStream:
    """Yields the CanvasBatch of each share of `order`; use it as a context manager to stop its threads.

    `read` turns a reference into its sample, in the `num_threads` that decode or in `io_threads` of its own. `batch` is
    the largest share, `ahead` the batches that each stage may run ahead, `pin` asks for page-locked buffers; `enough`,
    `needs`, `replace` and `decoded` are those of the `decoder` it makes. `stalls` adds up what the consumer waited.
    """

    def __init__(
        self,
        order: Order,
        read: ReadSample,
        shares: Iterable[Share],
        *,
        batch: int,
        canvas_px: int,
        num_threads: int,
        io_threads: int = 0,
        ahead: int = 2,
        pin: bool = False,
        enough: Enough | None = None,
        needs: Needs | None = None,
        replace: Replace | None = None,
        decoded: Decoded | None = None,
        watch: Watch | None = None,
        decoder: Callable[..., Decoder] = Decoder,
    ) -> None:
        self.stalls = StallMeter()
        self._read_times: deque[tuple[float, Mapping[str, float]]] = deque()
        self._crew = Crew(num_threads, "work")
        self._loader = Loader(
            order,
            read,
            shares,
            num_threads=io_threads,
            crew=None if io_threads else self._crew,
            ahead=ahead,
            watch=watch,
        )
        self._decoder = decoder(
            self._encoded(),
            batch=batch,
            canvas_px=canvas_px,
            num_threads=num_threads,
            crew=self._crew,
            ahead=ahead,
            pin=pin,
            enough=enough,
            needs=needs,
            replace=replace,
            decoded=decoded,
            watch=watch,
        )

    @property
    def queues(self) -> tuple[QueueStats, QueueStats]:
        """The queue of encoded batches and that of canvases."""
        return self._loader.stats, self._decoder.stats

    def stats(self) -> dict[str, float]:
        """Waits and occupancy of both queues since the stream began."""
        return self._loader.stats.as_dict() | self._decoder.stats.as_dict()

    def _encoded(self) -> Generator[EncodedBatch]:
        """The loader's batches, their read times noted in the order in which the decoder gives them."""
        for encoded in self._loader:
            self._read_times.append((self._loader.read_at, self._loader.read_s))
            yield encoded

    def __iter__(self) -> "CanvasStream":
        return self

    def __next__(self) -> CanvasBatch:
        asked_at = time.perf_counter()
        batch = next(self._decoder)
        read_at, read_s = self._read_times.popleft()
        times = BatchTimes(read_at=read_at, decoded_at=self._decoder.decoded_at, read_s=read_s)
        self.stalls.waited(asked_at, time.perf_counter(), times)
        return batch

    def close(self) -> None:
        """Stop all threads and wait for them; safe to call twice."""
        self._decoder.close()
        self._loader.close()
        self._crew.close()

    def __enter__(self) -> "CanvasStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
