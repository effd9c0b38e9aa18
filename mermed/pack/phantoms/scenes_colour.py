"""Scenes of the colour modalities: pathology, fundus and dermoscopy, drawn so that a label changes form, not mean."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mermed.pack.phantoms.strokes import (
    Array,
    Person,
    clouds,
    ellipse,
    expose,
    grid,
    mix,
    radius,
    ragged,
    soft_step,
    stamp,
)

Rng = np.random.Generator


def draw_path(rng: Rng, person: Person, label: str) -> Array:
    """H&E in [0, 1]: "benign" rings even nuclei around glands, "tumour" crowds large uneven ones, "lymphoid" small."""
    side = 128
    y, x = grid(side, side, person)
    fibres = clouds(rng, y.shape, (40, 9)) + 0.7 * clouds(rng, y.shape, (14, 14))
    image = np.stack([0.90 + 0.03 * fibres, 0.66 + 0.07 * fibres, 0.80 + 0.035 * fibres], axis=-1)
    nuclei: list[tuple[float, float, float, float]] = []
    if label == "benign":
        for row in (-0.55, 0.45):
            for column in (-0.6, 0.15, 0.85):
                centre = (row + rng.uniform(-0.15, 0.15), column + rng.uniform(-0.15, 0.15))
                size = rng.uniform(0.24, 0.30)
                image = mix(image, (0.86, 0.60, 0.78), ellipse(y, x, centre, (size + 0.11, size + 0.11)))
                image = mix(image, (0.97, 0.95, 0.97), ellipse(y, x, centre, (size - 0.10, size - 0.10)))
                for angle in np.arange(0, 2 * np.pi, 0.075 / size * 1.6):
                    far = size + rng.normal(0, 0.012)
                    nuclei.append((centre[0] + far * np.sin(angle), centre[1] + far * np.cos(angle), 0.052, 0.036))
        nuclei += [(*rng.uniform(-1, 1, 2), 0.050, 0.022) for _ in range(26)]
    else:
        count = 120 if label == "tumour" else 150
        for _ in range(count):
            size = rng.uniform(0.045, 0.095) if label == "tumour" else rng.uniform(0.040, 0.048)
            nuclei.append(
                (*rng.uniform(-1.05, 1.05, 2), size, size * (rng.uniform(0.55, 1.0) if label == "tumour" else 0.98))
            )
    for row, column, long, short in nuclei:
        image = _stamp_nucleus(rng, image, y, x, (row, column), (long, short))
    image += 0.018 * person.grain * rng.standard_normal(y.shape)[..., None]
    return expose(np.clip(image, 0, 1), person, (0.74, 0.56, 0.72), inside=np.ones_like(y))


def _stamp_nucleus(
    rng: Rng, image: Array, y: Array, x: Array, centre: tuple[float, float], radii: tuple[float, float]
) -> Array:
    """Draw one nucleus into the small window around it: dark rim, mottled chromatin."""
    near = max(radii) * 1.7
    rows = np.flatnonzero(np.abs(y[:, 0] - centre[0]) < near)
    columns = np.flatnonzero(np.abs(x[0] - centre[1]) < near)
    if not rows.size or not columns.size:
        return image
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    far = radius(y[window], x[window], centre, radii, angle=rng.uniform(0, np.pi))
    mask = soft_step(1.0 - far, 0.16)
    tone = 0.10 * rng.standard_normal(far.shape) + rng.uniform(-0.08, 0.08) - 0.10 * far
    colour = np.stack([0.40 + tone, 0.24 + 0.8 * tone, 0.56 + 0.7 * tone], axis=-1)
    image[window] = mix(image[window], colour, 0.9 * mask)
    return image


def draw_cfp(rng: Rng, person: Person, label: str) -> Array:
    """A fundus photograph in [0, 1]: "glaucoma" is a wide cup in the disc, "retinopathy" red and yellow dots."""
    side = 136
    y, x = grid(side, side, person)
    field = ellipse(y, x, (0.0, 0.0), (0.93, 0.93), edge=0.012)
    glow = 0.75 + 0.25 * np.exp(-(y**2 + x**2)) + 0.05 * clouds(rng, y.shape, (7, 7))
    image = np.stack([0.80 * glow, 0.40 * glow, 0.16 * glow], axis=-1)
    eye = rng.choice((-1.0, 1.0))
    disc = (rng.uniform(-0.06, 0.06), eye * 0.45)
    image = mix(image, (0.42, 0.17, 0.07), 0.55 * np.exp(-(radius(y, x, (0.04, -eye * 0.12), (0.17, 0.17)) ** 2)))
    if label == "retinopathy":
        image = _scatter(rng, image, y, x, count=26, size=(0.014, 0.030), colour=(0.38, 0.06, 0.05))
        image = _scatter(rng, image, y, x, count=16, size=(0.014, 0.034), colour=(0.98, 0.86, 0.45))
    vessels = _vessels(rng, side, disc, eye, person)
    image = mix(image, image * np.array([0.62, 0.36, 0.34]), vessels)
    image = mix(image, (0.96, 0.70, 0.38), ellipse(y, x, disc, (0.165, 0.145), edge=0.012))
    cup = 0.80 if label == "glaucoma" else 0.38
    image = mix(image, (1.0, 0.93, 0.72), ellipse(y, x, disc, (0.165 * cup, 0.145 * cup), edge=0.012))
    image = mix(image, image * np.array([0.75, 0.50, 0.50]), 0.8 * vessels * ellipse(y, x, disc, (0.165, 0.145)))
    image += 0.014 * person.grain * rng.standard_normal(y.shape)[..., None]
    return expose(np.clip(image, 0, 1), person, (0.66, 0.33, 0.14), inside=field) * field[..., None]


def _scatter(
    rng: Rng,
    image: Array,
    y: Array,
    x: Array,
    *,
    count: int,
    size: tuple[float, float],
    colour: tuple[float, float, float],
) -> Array:
    """Small soft dots all over the field."""
    for _ in range(count):
        angle, far = rng.uniform(0, 2 * np.pi), 0.8 * np.sqrt(rng.uniform())
        dot = rng.uniform(*size)
        stamp(image, y, x, (far * np.sin(angle), far * np.cos(angle)), dot, colour)
    return image


def _vessels(rng: Rng, side: int, disc: tuple[float, float], eye: float, person: Person) -> Array:
    """A mask of vessels: four arcades that leave the disc, wander and fork, thinner at each fork."""
    scale = 3
    sheet = Image.new("L", (side * scale, side * scale))
    pen = ImageDraw.Draw(sheet)
    half = side * scale / 2.0
    branches = [(disc, heading, 0.030, 0) for heading in (-2.0, -1.25, 1.25, 2.0, -0.4, 0.4)]
    while branches:
        (row, column), heading, width, depth = branches.pop()
        bend = rng.uniform(-0.05, 0.05)
        for _ in range(rng.integers(9, 15)):
            down, right = row + 0.055 * np.sin(heading), column - eye * 0.055 * np.cos(heading)
            ends = [
                ((c * person.size + person.shift_x + 1) * half, (r * person.size + person.shift_y + 1) * half)
                for r, c in ((row, column), (down, right))
            ]
            pen.line(ends, fill=255, width=max(2, round(width * half)))
            row, column = down, right
            heading += bend + rng.normal(0, 0.09) - 0.05 * np.sin(heading)
        if depth < 3:
            branches += [((row, column), heading + turn, width * 0.68, depth + 1) for turn in (-0.45, 0.40)]
    small = sheet.filter(ImageFilter.GaussianBlur(scale * 0.6)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255.0


def draw_derm(rng: Rng, person: Person, label: str) -> Array:
    """Dermoscopy in [0, 1]: "nevus" is even and round, "melanoma" ragged and of many tones, "keratosis" dotted."""
    side = 128
    y, x = grid(side, side, person)
    skin = 0.03 * clouds(rng, y.shape, (5, 5)) + 0.02 * clouds(rng, y.shape, (40, 40))
    image = np.stack([0.86 + skin, 0.66 + skin, 0.58 + skin], axis=-1)
    centre = (rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12))
    if label == "nevus":
        mask = soft_step(ragged(rng, y, x, centre, 0.50, 0.03), 0.10)
        net = (
            0.05 * np.sin(46 * x + 2 * clouds(rng, y.shape, (6, 6))) * np.sin(46 * y + 2 * clouds(rng, y.shape, (6, 6)))
        )
        colour = np.stack([0.50 + net, 0.32 + net, 0.24 + net], axis=-1)
    elif label == "melanoma":
        mask = soft_step(ragged(rng, y, x, centre, 0.50, 0.16), 0.04)
        tone = 0.16 * clouds(rng, y.shape, (6, 6))
        colour = np.stack([0.44 + tone, 0.30 + tone, 0.27 + 0.7 * tone], axis=-1)
        veil = soft_step(clouds(rng, y.shape, (5, 5)) - 0.8, 0.15)
        colour = mix(colour, (0.36, 0.38, 0.48), 0.7 * veil)
    else:
        mask = soft_step(ragged(rng, y, x, centre, 0.50, 0.06), 0.02)
        rough = 0.05 * clouds(rng, y.shape, (24, 24))
        colour = np.stack([0.55 + rough, 0.40 + rough, 0.29 + rough], axis=-1)
        for _ in range(30):
            angle, far = rng.uniform(0, 2 * np.pi), 0.42 * np.sqrt(rng.uniform())
            place = (centre[0] + far * np.sin(angle), centre[1] + far * np.cos(angle))
            bright = rng.uniform() < 0.5
            dot = (0.92, 0.84, 0.66) if bright else (0.24, 0.15, 0.10)
            stamp(colour, y, x, place, 0.024, dot)
    image = mix(image, colour, 0.95 * mask)
    for _ in range(rng.integers(2, 7)):
        start, slope, bend = rng.uniform(-1, 1), rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.3)
        hair = np.exp(-(((y - start - slope * x - bend * x**2) / 0.011) ** 2))
        image = mix(image, (0.16, 0.11, 0.09), 0.75 * hair)
    image += 0.012 * person.grain * rng.standard_normal(y.shape)[..., None]
    image *= (1.0 - 0.18 * (y**2 + x**2))[..., None]
    return expose(np.clip(image, 0, 1), person, (0.64, 0.47, 0.40), inside=np.ones_like(y))
