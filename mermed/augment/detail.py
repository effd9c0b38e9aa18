"""How much detail the drawn views can show: what decides at which scale an image need be decoded."""

import numpy as np
from jaxtyping import Float32, Int64

from mermed.augment.draw import Field


def enough_px(
    draws: Float32[np.ndarray, "batch views fields"], *, num_global: int, global_px: int, local_px: int
) -> Int64[np.ndarray, " batch"]:
    """The longer side in pixels to which each image may be reduced before one of its views would be enlarged by it.

    A view that already enlarges its crop keeps the image whole: the side is then that of the image.
    """
    views = draws.shape[1]
    side_px = np.repeat([float(global_px), float(local_px)], [num_global, views - num_global])
    shorter = np.minimum(draws[..., Field.HEIGHT_PX], draws[..., Field.WIDTH_PX])
    spare = np.maximum((shorter / side_px).min(axis=1), 1.0)
    longest = np.maximum(draws[:, 0, Field.FRAME_HEIGHT_PX], draws[:, 0, Field.FRAME_WIDTH_PX])
    return np.ceil(longest / spare).astype(np.int64)
