"""The memory of one batch of canvases: allocated once, decoded into for as long as the stream lives."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mermed.contract import SampleMeta
from mermed.stream.header import Header
from mermed.stream.image import decode_into


@dataclass(slots=True)
class CanvasBuffer:
    """Memory of one CanvasBatch, reused for as long as the decoder lives.

    Canvases lie with their channels innermost, as a JPEG decoder writes them, so that a full one is decoded in place.
    `canvases` view the memory of `pixels`, `filled` is the size of what each holds beyond its zeros.
    """

    pixels: Tensor
    size_px: Tensor
    canvases: list[npt.NDArray[np.uint8]]
    filled: list[tuple[int, int]]

    @classmethod
    def allocate(cls, batch: int, canvas_px: int, *, pin: bool) -> "CanvasBuffer":
        """Zeros for `batch` canvases, page-locked when `pin`."""
        pixels = torch.zeros((batch, canvas_px, canvas_px, 3), dtype=torch.uint8, pin_memory=pin)
        size_px = torch.zeros((batch, 2), dtype=torch.int32, pin_memory=pin)
        return cls(pixels, size_px, list(pixels.numpy()), [(0, 0)] * batch)

    def fill(
        self,
        row: int,
        image: bytes,
        meta: SampleMeta | None = None,
        enough_px: int | None = None,
        header: Header | None = None,
        *,
        deep: bool = False,
    ) -> tuple[int, int]:
        """Decode `image` into canvas `row`, pixels at the top left, zeros elsewhere; returns its (height, width).

        The other arguments are those of `decode_into`.
        """
        canvas = self.canvases[row]
        former_height, former_width = self.filled[row]
        self.filled[row] = canvas.shape[0], canvas.shape[1]
        height, width = size = decode_into(canvas, image, meta, enough_px=enough_px, header=header, deep=deep)
        if former_height > height:
            canvas[height:former_height, :former_width] = 0
        if former_width > width:
            canvas[:height, width:former_width] = 0
        self.filled[row] = size
        return size
