"""The engine for machines without a GPU: canvases and draws to views, one image at a time on each of some threads.

OpenCV turns, recolours and blurs, torch resizes; both release the interpreter's lock, so threads add up. An image's
views depend on its canvas and its rows alone, so they are the same bits whatever the batch and the number of threads.

Against the slow reference (tests/augment/chain.py), the whole chain on two real images of each modality: 0.2 grey
levels in the mean with the preset `seed`, 0.4 with `released` and `medical`; 1.3, 3.3 and 4.0 at the 99.9th percentile
off the rim of black corners. That rim is a staircase in the reference and smooth here: with it the worst view of
`released` is 1.5 off in the mean, of the others 0.5 and 1.1.
"""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from mermed.augment.cpu_colour import recolour, view_stains, write_view
from mermed.augment.cpu_view import SampleGrid, sample_grids, sample_views, source_image
from mermed.augment.draw import Field
from mermed.augment.lent_memory import LentMemory
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, CropBatch


class CpuCrops:
    """Turns canvases and draws into normalised float32 views on the CPU, on `num_threads` threads of its own.

    Draws say all there is to do, so it needs to know no policies.
    OpenCV is kept to one thread per call in the whole process: images are what runs side by side.
    """

    def __init__(
        self,
        normalisation: Normalisation,
        *,
        global_px: int,
        local_px: int,
        num_global: int,
        num_threads: int = 1,
    ) -> None:
        self._num_global = num_global
        self._sides_px = (global_px, local_px)
        # x in grey levels -> (x / 255 - mean) / std, as one product and one sum
        std = normalisation.std.astype(np.float64)
        self._scale: list[list[float]] = (1.0 / (255.0 * std)).tolist()
        self._shift: list[list[float]] = (-normalisation.mean / std).tolist()
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="views")
        self._memory = LentMemory()
        cv2.setNumThreads(1)

    def __call__(self, canvases: CanvasBatch, draws: Float32[np.ndarray, "batch views fields"]) -> CropBatch:
        """The views of `draws`; global views come first in `draws`. Their memory is the caller's until he drops it."""
        batch, views = draws.shape[:2]
        numbers = (self._num_global, views - self._num_global)
        crops = [
            self._memory.lend(number, batch, 3, side_px, side_px)
            for number, side_px in zip(numbers, self._sides_px, strict=True)
        ]
        planes = [view for kind in crops for view in kind.numpy()]
        # (batch, 3, side, side) -> (batch, side, side, 3): as it lies in the decoder's memory, so nothing is copied
        pixels = canvases.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        grids = sample_grids(draws, [view.shape[-1] for view in planes])
        modality: list[int] = canvases.modality.tolist()

        def make(image: int) -> None:
            self._make_views(
                pixels[image], draws[image], grids[image], [view[image] for view in planes], modality[image]
            )

        for _ in self._pool.map(make, range(batch)):
            pass
        return CropBatch(global_crops=crops[0], local_crops=crops[1], modality=canvases.modality)

    def _make_views(
        self,
        canvas: UInt8[np.ndarray, "side side 3"],
        draws: Float32[np.ndarray, "views fields"],
        grids: list[SampleGrid],
        planes: list[np.ndarray],
        modality: int,
    ) -> None:
        """Write all views of one image, each to its `planes` [3, side, side]."""
        height, width = (int(draws[0, field]) for field in (Field.FRAME_HEIGHT_PX, Field.FRAME_WIDTH_PX))
        source = source_image(canvas[:height, :width], is_deep=bool(draws[0, Field.DEEP]))
        scale, shift = self._scale[modality], self._shift[modality]
        rows = draws.tolist()
        views = sample_views(source, rows, grids, [view.shape[-1] for view in planes])
        for levels, row, stain, view in zip(views, rows, view_stains(draws), planes, strict=True):
            write_view(recolour(levels, row, stain), view, scale, shift)
