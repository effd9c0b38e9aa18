"""Decode: EncodedBatch to CanvasBatch in threads, into a ring of buffers that is allocated once."""

import queue
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from mermed.batch import CanvasBatch, EncodedBatch
from mermed.contract import EncodedSample, SampleMeta
from mermed.errors import EnvironmentError_, IntegrityError, SampleError
from mermed.stream.crew import Crew, Job
from mermed.stream.header import Header, check_header
from mermed.stream.image import decode_into
from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.watch import Watch
from mermed.stream.stage import Stage

_POLL_S = 0.05

Enough = Callable[[EncodedBatch], Int64[np.ndarray, " batch"]]
"""For each image, the longer side in pixels that is enough: beyond it no view gains detail."""
Replace = Callable[[int, frozenset[str], SampleError], EncodedSample]
"""Another sample for a slot, none of whose keys is in the set, in place of one that failed with the error."""
Decoded = Callable[[int, float], object]
"""What is told the seconds that decoding the image of a slot took."""


@dataclass(slots=True)
class CanvasBuffer:
    """Memory of one CanvasBatch, reused for as long as the decoder lives.

    Canvases lie with their channels innermost, as a JPEG decoder writes them, so that a full one is decoded in place.
    `canvases` and `sizes` view the same memory, `filled` is the size of what each canvas holds beyond its zeros.
    """

    pixels: Tensor
    size_px: Tensor
    canvases: list[npt.NDArray[np.uint8]]
    sizes: npt.NDArray[np.int32]
    filled: list[tuple[int, int]]

    @classmethod
    def allocate(cls, batch: int, canvas_px: int, *, pin: bool) -> "CanvasBuffer":
        """Zeros for `batch` canvases, page-locked when `pin`."""
        pixels = torch.zeros((batch, canvas_px, canvas_px, 3), dtype=torch.uint8, pin_memory=pin)
        size_px = torch.zeros((batch, 2), dtype=torch.int32, pin_memory=pin)
        return cls(pixels, size_px, list(pixels.numpy()), size_px.numpy(), [(0, 0)] * batch)

    def fill(
        self,
        row: int,
        image: bytes,
        meta: SampleMeta | None = None,
        enough_px: int | None = None,
        header: Header | None = None,
    ) -> None:
        """Decode `image` into canvas `row`: pixels at the top left, zeros elsewhere."""
        canvas = self.canvases[row]
        former_height, former_width = self.filled[row]
        self.filled[row] = canvas.shape[0], canvas.shape[1]
        height, width = decode_into(canvas, image, meta, enough_px=enough_px, header=header)
        if former_height > height:
            canvas[height:former_height, :former_width] = 0
        if former_width > width:
            canvas[:height, width:former_width] = 0
        self.filled[row] = self.sizes[row] = height, width


@dataclass(frozen=True, slots=True)
class _Row:
    """The image that fills a row in the end, and since when."""

    meta: SampleMeta
    at: float


@dataclass(frozen=True, slots=True)
class _Filling:
    """A batch on its way into a buffer."""

    encoded: EncodedBatch
    buffer: CanvasBuffer
    rows: Job[_Row]


class Decoder:
    """Yields the CanvasBatch of each EncodedBatch, decoded `ahead` batches before they are asked for.

    Threads of `crew`, or `num_threads` of its own, do the work. A batch's buffers are used again once the next batch is
    asked for. `enough` tells how large an image need be, so that a larger JPEG is decoded at a lower scale; without it
    every image is decoded whole. An image that does not decode is exchanged for what `replace` gives; without `replace`
    it raises IntegrityError naming its key: every image was decoded when it was packed, so its bytes are not what was
    packed. `decoded_at` tells when the batch given last was complete.
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
        replace: Replace | None = None,
        decoded: Decoded | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._encoded = encoded
        self._enough = enough
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
            enough = [None] * len(encoded) if self._enough is None else self._enough(encoded).tolist()
            fill = partial(self._fill, buffer, encoded, enough)
            yield _Filling(encoded, buffer, self._crew.submit(fill, len(encoded), urgent=True))

    def _fill(self, buffer: CanvasBuffer, encoded: EncodedBatch, enough_px: Sequence[int | None], row: int) -> _Row:
        """Decode one image, or what replaces it, into its row."""
        image, meta, slot = encoded.images[row], encoded.meta[row], int(encoded.slot[row])
        failed: set[str] = set()
        begin = time.perf_counter()
        while True:
            try:
                with self._watch.timing("decode"):
                    buffer.fill(row, image, meta, enough_px[row], check_header(image, meta))
                break
            except SampleError as error:
                failed.add(meta.key)
                if self._replace is None:
                    raise _not_as_packed(meta, error) from None
                sample = self._replace(slot, frozenset(failed), error)
                image, meta = sample.image, sample.meta
            except MemoryError:
                raise EnvironmentError_(
                    "there is not enough memory to decode an image",
                    where={"key": meta.key, "slot": slot, "pixels": meta.width * meta.height},
                    next_step="run on a machine with more memory, or with fewer stream.num_threads",
                ) from None
        end = time.perf_counter()
        if self._decoded is not None:
            self._decoded(slot, end - begin)
        return _Row(meta, end)

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
        self.decoded_at = max((row.at for row in rows), default=0.0)
        encoded, buffer, count = filling.encoded, filling.buffer, len(filling.encoded)
        self._lent = buffer
        return CanvasBatch(
            # (batch, side, side, 3) -> (batch, 3, side, side), channels still innermost in memory
            pixels=buffer.pixels[:count].permute(0, 3, 1, 2),
            size_px=buffer.size_px[:count],
            modality=torch.from_numpy(encoded.modality),
            slot=np.asarray(encoded.slot),
            meta=tuple(row.meta for row in rows),
            position=encoded.position,
        )

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


def _not_as_packed(meta: SampleMeta, error: SampleError) -> IntegrityError:
    return IntegrityError(
        "an image that was packed does not decode",
        where={"source": f"{meta.modality}/{meta.dataset}/{meta.split}", "key": meta.key},
        found=error.found,
        next_step="mermed-shard verify DATA",
    )
