"""Decode: EncodedBatch to CanvasBatch in threads, into a ring of buffers that is allocated once."""

import queue
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64

from mermed.batch import CanvasBatch, EncodedBatch
from mermed.contract import EncodedSample, SampleMeta
from mermed.errors import EnvironmentError_, IntegrityError, SampleError
from mermed.stream.buffer import CanvasBuffer
from mermed.stream.content import CELLS, content_cells
from mermed.stream.crew import Crew, Job
from mermed.stream.header import GREY_16, Header, check_header
from mermed.stream.image import window_shares
from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.watch import Watch
from mermed.stream.stage import Stage

_POLL_S = 0.05

Enough = Callable[[EncodedBatch], Int64[np.ndarray, " batch"]]
"""For each image, the longer side in pixels that is enough: beyond it no view gains detail."""
Replace = Callable[[int, frozenset[str], SampleError], EncodedSample]
"""Another sample for a slot, none of whose keys is in the set, in place of one that failed with the error."""
Decoded = Callable[[Sequence[int], Sequence[float]], object]
"""What is told, batch by batch, the slots and the seconds that decoding the image of each took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What views need of canvases beyond their 8 bits, as the numbers of the modalities that need it."""

    content: frozenset[int] = frozenset()
    """Modalities whose canvases come with the map of where they show something."""
    deep: frozenset[int] = frozenset()
    """Modalities whose 16-bit images with a window keep their 16 bits."""


class Row(NamedTuple):
    """The image that fills a row in the end, its (height, width) there, and when it was decoded.

    `window` is that of a canvas of 16 bits; `content` the map of cells, where it was asked for.
    """

    meta: SampleMeta
    size: tuple[int, int]
    begin: float
    end: float
    window: tuple[float, float] | None = None
    content: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class _Filling:
    """A batch on its way into a buffer."""

    encoded: EncodedBatch
    buffer: CanvasBuffer
    rows: Job[Row]


class Decoder:
    """Yields the CanvasBatch of each EncodedBatch, decoded `ahead` batches before they are asked for.

    Threads of `crew`, or `num_threads` of its own, do the work. A batch's buffers are used again once the next batch is
    asked for. `needs` says what else canvases hold; without it they hold 8 bits and no maps. `enough` tells how large
    an image need be, so that a larger JPEG is decoded at a lower scale; without it every image is decoded whole. An
    image that does not decode is exchanged for what `replace` gives; without `replace` it raises IntegrityError naming
    its key: every image was decoded when it was packed, so its bytes are not what was packed. `decoded_at` tells when
    the batch given last was complete.
    """

    def __init__(
        self,
        encoded: Iterator[EncodedBatch],
        *,
        batch: int,
        canvas_px: int,
        num_threads: int = 1,
        crew: Crew | None = None,
        ahead: int = 2,
        pin: bool = False,
        enough: Enough | None = None,
        needs: Needs | None = None,
        replace: Replace | None = None,
        decoded: Decoded | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._encoded = encoded
        self._enough = enough
        self._needs = needs or Needs()
        self._replace = replace
        self._decoded = decoded
        self._watch = watch or Watch()
        self.decoded_at = 0.0
        self._free: queue.SimpleQueue[CanvasBuffer] = queue.SimpleQueue()
        for _ in range(ahead + 1):
            self._free.put(CanvasBuffer.allocate(batch, canvas_px, pin=pin))
        self._lent: CanvasBuffer | None = None
        self._closing = False
        self._owns_crew = crew is None
        self._crew = crew or Crew(num_threads, "decode")
        self._stage = Stage(self._submit(), ahead=ahead, name="canvas", is_ready=lambda entry: entry.rows.is_over)

    @property
    def stats(self) -> QueueStats:
        """Waits at the queue of canvases."""
        return self._stage.stats

    def _submit(self) -> Generator[_Filling]:
        for encoded in self._encoded:
            buffer = self._wait_for_buffer()
            if buffer is None:
                return
            # What needs no pixels is done for the whole batch here: between two images a core has forgotten all of it.
            headers = [_header_or_error(image, meta) for image, meta in zip(encoded.images, encoded.meta, strict=True)]
            fill = self._filler(buffer, encoded, headers)
            yield _Filling(encoded, buffer, self._crew.submit(fill, len(encoded)))

    def _filler(
        self, buffer: CanvasBuffer, encoded: EncodedBatch, headers: Sequence[Header | SampleError]
    ) -> Callable[[int], Row]:
        """What fills one row of a batch; threads call it, each for other rows."""
        enough = [None] * len(encoded) if self._enough is None else self._enough(encoded).tolist()
        return partial(self._fill, buffer, encoded, headers, enough)

    def _fill(
        self,
        buffer: CanvasBuffer,
        encoded: EncodedBatch,
        headers: Sequence[Header | SampleError],
        enough_px: Sequence[int | None],
        row: int,
    ) -> Row:
        """Decode one image, or what replaces it, into its row."""
        image, meta, header = encoded.images[row], encoded.meta[row], headers[row]
        failed: set[str] = set()
        while True:
            begin = time.perf_counter()
            try:
                if isinstance(header, SampleError):
                    raise header
                modality = int(encoded.modality[row])
                is_deep = modality in self._needs.deep and header.kind == GREY_16
                window = window_shares(meta) if is_deep else None
                size = buffer.fill(row, image, meta, enough_px[row], header, deep=window is not None)
                is_mapped = modality in self._needs.content
                content = content_cells(buffer.canvases[row], size, window) if is_mapped else None
                return Row(meta, size, begin, time.perf_counter(), window, content)
            except SampleError as error:
                failed.add(meta.key)
                if self._replace is None:
                    raise _not_as_packed(meta, error) from None
                sample = self._replace(int(encoded.slot[row]), frozenset(failed), error)
                image, meta, header = sample.image, sample.meta, _header_or_error(sample.image, sample.meta)
            except MemoryError:
                raise EnvironmentError_(
                    "there is not enough memory to decode an image",
                    where={"key": meta.key, "slot": int(encoded.slot[row]), "pixels": meta.width * meta.height},
                    next_step="run on a machine with more memory, or with fewer stream.num_threads",
                ) from None

    def _wait_for_buffer(self) -> CanvasBuffer | None:
        """A free buffer of the ring, or None once the decoder closes."""
        while not self._closing:
            try:
                return self._free.get(timeout=_POLL_S)
            except queue.Empty:
                continue
        return None

    def __iter__(self) -> "Decoder":
        return self

    def __next__(self) -> CanvasBatch:
        if self._lent is not None:
            self._free.put(self._lent)
            self._lent = None
        filling = next(self._stage)
        with self.stats.completing():
            rows = filling.rows.results()
        self.decoded_at = max((row.end for row in rows), default=0.0)
        encoded, buffer, count = filling.encoded, filling.buffer, len(filling.encoded)
        self._lent = buffer
        buffer.size_px[:count] = torch.tensor([row.size for row in rows], dtype=torch.int32).reshape(count, 2)
        self._account(encoded, [row.end - row.begin for row in rows])
        return CanvasBatch(
            # (batch, side, side, 3) -> (batch, 3, side, side), channels still innermost in memory
            pixels=buffer.pixels[:count].permute(0, 3, 1, 2),
            size_px=buffer.size_px[:count],
            modality=torch.from_numpy(encoded.modality),
            slot=np.asarray(encoded.slot),
            meta=tuple(row.meta for row in rows),
            position=encoded.position,
            window=_windows(rows),
            content=_contents(rows) if self._needs.content else None,
        )

    def _account(self, encoded: EncodedBatch, seconds: list[float]) -> None:
        """Say what decoding each image of a batch took."""
        self._watch.spent("decode", sum(seconds))
        if self._decoded is not None:
            self._decoded(encoded.slot.tolist(), seconds)

    def close(self) -> None:
        """Stop decoding and wait for the threads; safe to call twice. The source of encoded batches stays open."""
        self._closing = True
        self._stage.close()
        if self._owns_crew:
            self._crew.close()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _windows(rows: Sequence[Row]) -> npt.NDArray[np.float32] | None:
    if all(row.window is None for row in rows):
        return None
    return np.array([row.window or (np.nan, np.nan) for row in rows], np.float32)


def _contents(rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
    """The maps of a batch; all true where none was asked for."""
    everywhere = np.ones((CELLS, CELLS), np.bool_)
    return np.array([everywhere if row.content is None else row.content for row in rows])


def _header_or_error(image: bytes, meta: SampleMeta) -> Header | SampleError:
    try:
        return check_header(image, meta)
    except SampleError as error:
        return error


def _not_as_packed(meta: SampleMeta, error: SampleError) -> IntegrityError:
    return IntegrityError(
        "an image that was packed does not decode",
        where={"source": f"{meta.modality}/{meta.dataset}/{meta.split}", "key": meta.key},
        found=error.found,
        next_step="mermed-shard verify DATA",
    )
