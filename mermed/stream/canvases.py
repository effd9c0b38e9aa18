"""Loader and decoder as one: shares of an order in, CanvasBatch out, one thing to close."""

from collections.abc import Iterable

from mermed.batch import CanvasBatch
from mermed.stream.decode import Decoder
from mermed.stream.loader import Loader, Order, Share
from mermed.stream.reader import SampleReader
from mermed.stream.store import Store


class CanvasStream:
    """Yields the CanvasBatch of each share of `order`; use it as a context manager to stop its threads.

    `batch` is the largest share, `ahead` the batches that each stage may run ahead, `pin` asks for page-locked buffers.
    """

    def __init__(
        self,
        order: Order,
        store: Store,
        shares: Iterable[Share],
        *,
        batch: int,
        canvas_px: int,
        num_threads: int,
        ahead: int = 2,
        pin: bool = False,
    ) -> None:
        self._loader = Loader(order, SampleReader(store).read, shares, num_threads=num_threads, ahead=ahead)
        self._decoder = Decoder(
            self._loader, batch=batch, canvas_px=canvas_px, num_threads=num_threads, ahead=ahead, pin=pin
        )

    def stats(self) -> dict[str, float]:
        """Waits and occupancy of both queues since the stream began."""
        return self._loader.stats.as_dict() | self._decoder.stats.as_dict()

    def __iter__(self) -> "CanvasStream":
        return self

    def __next__(self) -> CanvasBatch:
        return next(self._decoder)

    def close(self) -> None:
        """Stop all threads and wait for them; safe to call twice."""
        self._decoder.close()
        self._loader.close()

    def __enter__(self) -> "CanvasStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
