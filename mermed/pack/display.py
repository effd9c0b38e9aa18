"""Display: a stored image as a screen shows it: 8 bits, through its window where 16 bits are stored."""

import numpy as np
from PIL import Image

from mermed.contract import SampleMeta
from mermed.pack.window import Window, to_grey


def to_display(image: Image.Image, meta: SampleMeta) -> Image.Image:
    """An 8-bit "L" or "RGB" image; 16-bit images go through `rescale` and `window` of their JSON."""
    if image.mode in ("L", "RGB"):
        return image
    slope, intercept = meta.rescale or (1.0, 0.0)
    values = np.asarray(image).astype(np.float64) * slope + intercept
    centre, width = meta.window or (float(values.min() + values.max()) / 2.0, max(float(np.ptp(values)), 1.0))
    return Image.fromarray(to_grey(values, Window(centre, width)))
