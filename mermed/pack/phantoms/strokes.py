"""Strokes: the strokes that phantoms are made of. Grids run from -1 to 1, masks from 0 to 1, all on float64 arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What all images of one phantom patient share, whatever their label: build, position, exposure, tint and noise."""

    size: float
    shift_y: float
    shift_x: float
    level: float
    tint: tuple[float, float, float]
    grain: float


def draw_person(rng: np.random.Generator) -> Person:
    """A random person."""
    return Person(
        size=rng.uniform(0.88, 1.08),
        shift_y=rng.uniform(-0.08, 0.08),
        shift_x=rng.uniform(-0.08, 0.08),
        level=rng.uniform(0.85, 1.15),
        tint=tuple(rng.uniform(0.93, 1.07, 3)),  # type: ignore[arg-type]
        grain=rng.uniform(0.7, 1.3),
    )


def grid(height: int, width: int, person: Person) -> tuple[Array, Array]:
    """Row and column coordinates, moved and scaled to fit `person`; the longer side runs from -1 to 1."""
    half = max(height, width) / 2.0
    rows = (np.arange(height, dtype=np.float64) - (height - 1) / 2.0) / half
    columns = (np.arange(width, dtype=np.float64) - (width - 1) / 2.0) / half
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return (y - person.shift_y) / person.size, (x - person.shift_x) / person.size


def soft_step(distance: Array, width: float) -> Array:
    """1 where `distance` is well above 0, 0 well below, with a soft edge of `width`."""
    return 1.0 / (1.0 + np.exp(-np.clip(distance / width, -30.0, 30.0)))


def ellipse(
    y: Array,
    x: Array,
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    angle: float = 0.0,
    edge: float = 0.02,
) -> Array:
    """A filled ellipse with a soft edge; `centre` and `radii` are (row, column), `angle` in radians."""
    return soft_step(1.0 - radius(y, x, centre, radii, angle=angle), edge / min(radii))


def radius(y: Array, x: Array, centre: tuple[float, float], radii: tuple[float, float], *, angle: float = 0.0) -> Array:
    """Distance from `centre` in units of `radii`: 1 on the ellipse."""
    down, right = y - centre[0], x - centre[1]
    along = down * np.cos(angle) - right * np.sin(angle)
    across = down * np.sin(angle) + right * np.cos(angle)
    return np.hypot(along / radii[0], across / radii[1])


def ragged(
    rng: np.random.Generator, y: Array, x: Array, centre: tuple[float, float], size: float, roughness: float
) -> Array:
    """How far inside a blob with a wavy outline each place lies, in units of `size`; `roughness` 0 gives a circle."""
    down, right = y - centre[0], x - centre[1]
    angle = np.arctan2(down, right)
    outline = np.ones_like(angle)
    for harmonic in (2, 3, 5, 7, 9):
        outline += roughness * rng.uniform(0.3, 0.7) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    return outline - np.hypot(down, right) / size


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Smooth noise of zero mean and unit spread with about `cells` bumps along (rows, columns)."""
    coarse = rng.standard_normal(cells).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float64)
    return (smooth - smooth.mean()) / (smooth.std() + 1e-9)


def mix(base: Array, over: Array | float | tuple[float, ...], mask: Array) -> Array:
    """`over` where the mask is 1, `base` where it is 0; a mask of a grey size fits colour too."""
    cover = mask[..., None] if base.ndim == 3 and mask.ndim == 2 else mask
    return base * (1.0 - cover) + np.asarray(over) * cover


def stamp(
    image: Array, y: Array, x: Array, centre: tuple[float, float], size: float, over: float | tuple[float, ...]
) -> None:
    """Draw a small soft dot into `image`, touching only the pixels around it."""
    near = size + 0.06
    rows = np.flatnonzero(np.abs(y[:, 0] - centre[0]) < near)
    columns = np.flatnonzero(np.abs(x[0] - centre[1]) < near)
    if rows.size and columns.size:
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        dot = 0.9 * ellipse(y[window], x[window], centre, (size, size), edge=0.008)
        image[window] = mix(image[window], over, dot)


def expose(image: Array, person: Person, target: float | tuple[float, float, float], *, inside: Array) -> Array:
    """Scale each channel so that its mean over `inside` is the target times the person's level and tint.

    So the mean of an image tells the person, and nothing about the label.
    """
    channels = image.reshape(*image.shape[:2], -1)  # (rows, columns) or (rows, columns, 3) -> (rows, columns, channels)
    goals = np.broadcast_to(np.asarray(target, np.float64), channels.shape[-1:]) * person.level
    goals = goals * (np.asarray(person.tint) if image.ndim == 3 else 1.0)
    means = (channels * inside[..., None]).sum((0, 1)) / inside.sum()
    return np.clip(channels * (goals / np.maximum(means, 1e-6)), 0.0, 1.0).reshape(image.shape)
