"""Half blocks: a picture in a terminal, two pixels in each character."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

UPPER_HALF = "▀"
_RAMP = " .:-=+*#%@"


def half_blocks(picture: Image.Image, columns: int, rows: int) -> Text:
    """`picture` in at most `columns` x `rows` characters, in colour, its proportions kept."""
    pixels = _fit(picture, columns, 2 * rows)
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append(UPPER_HALF, Style(color=_colour(above), bgcolor=_colour(below)))
        text.append("\n")
    return text


def letters(picture: Image.Image, columns: int, rows: int) -> Text:
    """The same without colour or special characters: a denser letter is a lighter pixel."""
    grey = _fit(picture, columns, 2 * rows)[::2].mean(2)
    level = (grey / 256.0 * len(_RAMP)).astype(int)
    return Text("\n".join("".join(_RAMP[number] for number in line) for line in level) + "\n", no_wrap=True)


def _fit(picture: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """RGB pixels, reduced to fit, enlarged never."""
    picture = picture.convert("RGB")
    picture.thumbnail((max(width, 1), max(height, 1)), Image.Resampling.BOX)
    return np.asarray(picture)


def _colour(pixel: NDArray[np.uint8]) -> Color:
    return Color.from_rgb(*(int(level) for level in pixel))
