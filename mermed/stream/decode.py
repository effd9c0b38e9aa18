"""Decode: EncodedBatch to CanvasBatch in threads, into a ring of buffers that is allocated once."""

import queue
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as image_ops

from mermed.batch import CanvasBatch, EncodedBatch
from mermed.contract import SampleMeta
from mermed.errors import IntegrityError, SampleError
from mermed.stream.stage import Stage
from mermed.stream.stats import QueueStats

_POLL_S = 0.05
_SCALED = np.rint(np.arange(2**16) / 257.0).astype(np.uint8)


def decode_rgb(image: bytes, meta: SampleMeta | None = None) -> UInt8[Tensor, "3 height width"]:
    """Decode JPEG or PNG bytes to RGB in [0, 255]; grey repeats. Raises SampleError on failure.

    16-bit grey is shown through the window of its `meta`; without one, its 16 bits are scaled to 8.
    """
    # torch wants memory it may write to; the copy costs a hundredth of the decode
    encoded = torch.frombuffer(bytearray(image), dtype=torch.uint8)
    deep = (meta.window, meta.rescale) if meta and meta.window and meta.rescale else None
    try:
        pixels = decode_image(encoded, ImageReadMode.GRAY if deep else ImageReadMode.RGB)
    except RuntimeError as error:
        raise SampleError("an image does not decode", found=str(error).splitlines()[0]) from None
    if pixels.dtype == torch.uint16:
        levels = _levels_of(*deep) if deep else _SCALED
        pixels = torch.from_numpy(np.take(levels, pixels.numpy()))
    return pixels.expand(3, -1, -1)


@lru_cache(maxsize=256)
def _levels_of(window: tuple[float, float], rescale: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """The 8-bit grey of every 16-bit value, through a window (centre, width) in units of the rescaled values."""
    (centre, width), (slope, intercept) = window, rescale
    values = np.arange(2**16, dtype=np.float64) * slope + intercept
    return np.rint(np.clip((values - centre) / width + 0.5, 0.0, 1.0) * 255.0).astype(np.uint8)


def fit(pixels: UInt8[Tensor, "3 height width"], side_px: int) -> UInt8[Tensor, "3 new_height new_width"]:
    """Reduce an image, with antialiasing, so that its longer side is at most `side_px`; never enlarge it."""
    height, width = pixels.shape[-2:]
    longest = max(height, width)
    if longest <= side_px:
        return pixels
    size = [max(1, round(height * side_px / longest)), max(1, round(width * side_px / longest))]
    return image_ops.resize(pixels, size, antialias=True)


@dataclass(frozen=True, slots=True)
class CanvasBuffer:
    """Memory of one CanvasBatch, reused for as long as the decoder lives."""

    pixels: Tensor
    size_px: Tensor

    def fill(self, row: int, image: bytes, meta: SampleMeta | None = None) -> None:
        """Decode `image` into canvas `row`: pixels at the top left, zeros elsewhere."""
        side_px = self.pixels.shape[-1]
        pixels = fit(decode_rgb(image, meta), side_px)
        height, width = pixels.shape[-2:]
        canvas = self.pixels[row]
        canvas[:, :height, :width] = pixels
        canvas[:, height:, :] = 0
        canvas[:, :height, width:] = 0
        self.size_px[row, 0], self.size_px[row, 1] = height, width


class Decoder:
    """Yields the CanvasBatch of each EncodedBatch, decoded `ahead` batches before they are asked for.

    A batch's buffers are used again once the next batch is asked for. An image that does not decode raises
    IntegrityError naming its key: every image was decoded when it was packed, so its bytes are not what was packed.
    """

    def __init__(
        self,
        encoded: Iterator[EncodedBatch],
        *,
        batch: int,
        canvas_px: int,
        num_threads: int,
        ahead: int = 2,
        pin: bool = False,
    ) -> None:
        self._encoded = encoded
        self._free: queue.SimpleQueue[CanvasBuffer] = queue.SimpleQueue()
        for _ in range(ahead + 1):
            pixels = torch.zeros((batch, 3, canvas_px, canvas_px), dtype=torch.uint8, pin_memory=pin)
            self._free.put(CanvasBuffer(pixels, torch.zeros((batch, 2), dtype=torch.int32, pin_memory=pin)))
        self._lent: CanvasBuffer | None = None
        self._closing = False
        self._pool = ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="mermed-decode")
        self._stage = Stage(self._submit(), ahead=ahead, name="canvas")

    @property
    def stats(self) -> QueueStats:
        """Waits at the queue of canvases."""
        return self._stage.stats

    def _submit(self) -> Generator[tuple[EncodedBatch, CanvasBuffer, list[Future[None]]]]:
        for encoded in self._encoded:
            buffer = self._wait_for_buffer()
            if buffer is None:
                return
            pairs = zip(encoded.images, encoded.meta, strict=True)
            fills = [self._pool.submit(buffer.fill, row, *pair) for row, pair in enumerate(pairs)]
            yield encoded, buffer, fills

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
        encoded, buffer, fills = next(self._stage)
        for meta, done in zip(encoded.meta, fills, strict=True):
            try:
                done.result()
            except SampleError as error:
                raise IntegrityError(
                    "an image that was packed does not decode",
                    where={"source": f"{meta.modality}/{meta.dataset}/{meta.split}", "key": meta.key},
                    found=error.found,
                    next_step="mermed-shard verify DATA",
                ) from None
        self._lent = buffer
        count = len(encoded)
        return CanvasBatch(
            pixels=buffer.pixels[:count],
            size_px=buffer.size_px[:count],
            modality=torch.from_numpy(encoded.modality),
            slot=np.asarray(encoded.slot),
            meta=encoded.meta,
            position=encoded.position,
        )

    def close(self) -> None:
        """Stop decoding and wait for the threads; safe to call twice. The source of encoded batches stays open."""
        self._closing = True
        self._stage.close()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
