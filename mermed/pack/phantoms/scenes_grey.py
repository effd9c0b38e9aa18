"""Scenes of the grey modalities: chest X-ray, CT, ultrasound and OCT, drawn so that a label changes form, not mean."""

import numpy as np

from mermed.pack.phantoms.strokes import Array, Person, clouds, ellipse, expose, grid, mix, radius, ragged, soft_step

Rng = np.random.Generator


def draw_cxr(rng: Rng, person: Person, label: str) -> Array:
    """A frontal chest X-ray in [0, 1]: "consolidation" is a cloud in one lung, "effusion" a meniscus at its base."""
    y, x = grid(152, 136, person)
    torso = soft_step(0.78 + 0.10 * y - np.abs(x), 0.03)
    image = 0.04 + torso * (0.62 + 0.05 * clouds(rng, y.shape, (5, 5)))
    lungs = np.zeros_like(y)
    for side in (-1, 1):
        width = 0.27 + 0.10 * np.clip((y + 0.5) / 1.2, 0, 1)
        lung = soft_step(1.0 - np.hypot((y + 0.02) / 0.66, (x - side * 0.37) / width) ** 2.4, 0.10)
        dome = soft_step(0.52 + 0.04 * side - 0.9 * (x - side * 0.36) ** 2 - y, 0.02)
        lungs = np.maximum(lungs, lung * dome)
    image = mix(image, 0.20 + 0.04 * clouds(rng, y.shape, (12, 12)), 0.92 * lungs)
    image += 0.05 * lungs * np.abs(clouds(rng, y.shape, (26, 18)))
    for number in range(9):
        level = -0.62 + 0.145 * number
        back = np.exp(-(((y - level - 0.35 * x**2 + 0.10) / 0.022) ** 2))
        front = np.exp(-(((y - level - 0.55 * (1 - np.abs(x)) ** 2 + 0.02) / 0.018) ** 2))
        image += torso * soft_step(np.abs(x) - 0.12, 0.03) * (0.10 * back + 0.05 * front)
    spine = np.exp(-((x / 0.085) ** 2)) * (0.9 + 0.1 * np.sign(np.sin(34 * y)))
    image = mix(image, 0.80, 0.55 * spine)
    image = mix(image, 0.74, 0.85 * ellipse(y, x, (0.22, 0.10), (0.30, 0.26), angle=0.5, edge=0.03))
    for side in (-1, 1):
        bar = np.exp(-(((y + 0.62 + 0.28 * (np.abs(x) - 0.4)) / 0.025) ** 2)) * soft_step(side * x - 0.08, 0.02)
        image += 0.16 * torso * bar
    side = rng.choice((-1, 1))
    if label == "consolidation":
        spot = ellipse(y, x, (rng.uniform(-0.2, 0.25), side * rng.uniform(0.32, 0.42)), (0.26, 0.19), edge=0.08)
        image = mix(image, 0.66, np.clip(lungs * spot * (0.75 + 0.30 * clouds(rng, y.shape, (22, 22))), 0, 0.95))
    elif label == "effusion":
        surface = rng.uniform(0.10, 0.26) - 0.55 * np.clip(np.abs(x) - 0.42, -0.3, 0.4)
        image = mix(image, 0.70, 0.92 * lungs * soft_step(y - surface, 0.02) * soft_step(side * x, 0.03))
    image += 0.018 * person.grain * rng.standard_normal(y.shape)
    return expose(np.clip(image, 0, 1.2), person, 0.44, inside=np.ones_like(y))


def draw_ct(rng: Rng, person: Person, label: str) -> Array:
    """An axial CT slice of the upper abdomen in HU: "cyst" is one smooth dark disc in the liver, "metastases" many."""
    y, x = grid(136, 136, person)
    hounsfield = np.full_like(y, -1000.0)
    table = np.exp(-(((y - 0.80 - 0.12 * x**2) / 0.02) ** 2)) * soft_step(0.7 - np.abs(x), 0.02)
    hounsfield = mix(hounsfield, 60.0, 0.6 * table)
    hounsfield = mix(hounsfield, -100.0, ellipse(y, x, (0.0, 0.0), (0.66, 0.88)))
    hounsfield = mix(hounsfield, 55.0, ellipse(y, x, (0.0, 0.0), (0.57, 0.79)))
    for angle in np.linspace(0.2, 2 * np.pi + 0.2, 15)[:-1]:
        place = (0.535 * np.sin(angle), 0.75 * np.cos(angle))
        hounsfield = mix(hounsfield, 420.0, ellipse(y, x, place, (0.028, 0.075), angle=-angle, edge=0.01))
    hounsfield = mix(hounsfield, -95.0, ellipse(y, x, (-0.03, 0.0), (0.47, 0.68)))
    liver_centre, liver_radii = (-0.06, -0.30), (0.34, 0.36)
    liver = ellipse(y, x, liver_centre, liver_radii, angle=0.35, edge=0.015)
    hounsfield = mix(hounsfield, 105.0 + 5.0 * clouds(rng, y.shape, (20, 20)), liver)
    hounsfield = mix(hounsfield, 115.0, ellipse(y, x, (0.08, 0.50), (0.19, 0.11), angle=0.4))
    hounsfield = mix(hounsfield, 45.0, ellipse(y, x, (-0.22, 0.28), (0.16, 0.24), angle=-0.3))
    hounsfield = mix(hounsfield, -700.0, 0.95 * ellipse(y, x, (-0.30, 0.26), (0.05, 0.12)))
    for side in (-1, 1):
        hounsfield = mix(hounsfield, 150.0, ellipse(y, x, (0.24, side * 0.34), (0.12, 0.09), angle=side * 0.4))
        hounsfield = mix(hounsfield, 60.0, ellipse(y, x, (0.44, side * 0.20), (0.11, 0.17)))
    hounsfield = mix(hounsfield, 350.0, ellipse(y, x, (0.32, 0.0), (0.13, 0.14)))
    hounsfield = mix(hounsfield, 190.0, ellipse(y, x, (0.32, 0.0), (0.09, 0.10)))
    hounsfield = mix(hounsfield, 15.0, ellipse(y, x, (0.48, 0.0), (0.05, 0.05)))
    hounsfield = mix(hounsfield, 170.0, ellipse(y, x, (0.15, 0.04), (0.06, 0.06)))
    spots = {"cyst": 1, "metastases": 7}.get(label, 0)
    for _ in range(spots):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.6)
        place = (liver_centre[0] + 0.9 * far * 0.34 * np.sin(angle), liver_centre[1] + far * 0.36 * np.cos(angle))
        size = rng.uniform(0.10, 0.14) if label == "cyst" else rng.uniform(0.035, 0.055)
        hounsfield = mix(
            hounsfield, 0.0 if label == "cyst" else 20.0, liver * ellipse(y, x, place, (size, size), edge=0.008)
        )
    hounsfield += (person.level - 1.0) * 60.0 * (hounsfield > -200) + 14.0 * person.grain * rng.standard_normal(y.shape)
    return hounsfield


def draw_us(rng: Rng, person: Person, label: str) -> Array:
    """A sector scan in [0, 1]: "benign" is a smooth oval with echoes behind it, "malignant" spiky with a shadow."""
    y, x = grid(128, 160, person)
    apex = -1.25
    depth, angle = np.hypot(y - apex, x), np.arctan2(x, y - apex)
    sector = soft_step(0.62 - np.abs(angle), 0.008) * soft_step(depth - 0.50, 0.008) * soft_step(1.98 - depth, 0.008)
    layers = 0.45 + 0.16 * np.sin(16 * depth + 2.2 * clouds(rng, y.shape, (4, 6))) * np.exp(-2.0 * (depth - 0.5))
    layers += 0.35 * np.exp(-(((depth - 0.56) / 0.04) ** 2)) + 0.10 * clouds(rng, y.shape, (9, 6))
    if label != "normal":
        place = (rng.uniform(-0.12, 0.12), rng.uniform(-0.25, 0.25))
        if label == "benign":
            inside = soft_step(1.0 - radius(y, x, place, (0.15, 0.25)), 0.08)
            behind, echo = 0.30, 0.14
        else:
            inside = soft_step(ragged(rng, y, x, place, 0.20, 0.32), 0.10)
            behind, echo = -0.36, 0.10
            layers += 0.25 * np.exp(-((ragged(rng, y, x, place, 0.23, 0.3) / 0.12) ** 2))
        below = soft_step(y - place[0] - 0.12, 0.03) * soft_step(
            0.10 - np.abs(angle - np.arctan2(place[1], place[0] - apex)), 0.02
        )
        layers = layers * (1.0 + behind * below * 1.5)
        layers = mix(layers, echo, 0.92 * inside)
    speckle = np.hypot(clouds(rng, y.shape, (92, 60)), clouds(rng, y.shape, (92, 60))) / 1.25
    image = np.clip(layers, 0.02, None) * speckle ** (0.8 * person.grain) * np.exp(-0.35 * (depth - 0.5))
    image = np.log1p(8.0 * image) / np.log(9.0)
    return expose(image * sector, person, 0.34, inside=sector) * sector


def draw_oct(rng: Rng, person: Person, label: str) -> Array:
    """A retinal B-scan in [0, 1]: "fluid" is dark pockets between the layers, "drusen" bumps of the lowest one."""
    y, x = grid(112, 160, person)
    bowl = 0.10 * x**2 + 0.06 * person.shift_x * x
    pit = 0.16 * np.exp(-((x / 0.20) ** 2))
    bottom = 0.20 + bowl
    if label == "drusen":
        for centre in rng.uniform(-0.85, 0.85, 6):
            bottom = bottom - rng.uniform(0.05, 0.09) * np.exp(-(((x - centre) / rng.uniform(0.05, 0.08)) ** 2))
    swell = np.zeros_like(y)
    pockets = []
    if label == "fluid":
        for _ in range(5):
            pockets.append(
                ((rng.uniform(-0.16, 0.02), rng.uniform(-0.5, 0.5)), (rng.uniform(0.05, 0.09), rng.uniform(0.07, 0.14)))
            )
        swell = 0.05 * np.exp(-((x / 0.5) ** 2))
    top = -0.24 + bowl + pit - swell
    share = (y - top) / (bottom - top)
    image = 0.05 + np.zeros_like(y)
    bands = (
        (0.0, 0.16, 0.78),
        (0.16, 0.34, 0.52),
        (0.34, 0.46, 0.38),
        (0.46, 0.56, 0.56),
        (0.56, 0.84, 0.24),
        (0.84, 0.90, 0.62),
    )
    for low, high, grey in bands:
        image = mix(image, grey, soft_step(share - low, 0.02) * soft_step(high - share, 0.02))
    image = mix(image, 0.95, soft_step(share - 0.93, 0.015) * soft_step(1.06 - share, 0.015))
    choroid = (0.45 + 0.16 * clouds(rng, y.shape, (18, 22))) * np.exp(-3.2 * np.clip(y - bottom, 0, None))
    image = mix(image, choroid, soft_step(share - 1.07, 0.02))
    for place, radii in pockets:
        image = mix(image, 0.06, 0.95 * soft_step(0.82 - share, 0.03) * ellipse(y, x, place, radii, edge=0.012))
    speckle = np.hypot(rng.standard_normal(y.shape), rng.standard_normal(y.shape)) / 1.25
    image = image * (1.0 + 0.42 * person.grain * (speckle - 1.0)) + 0.015 * np.abs(rng.standard_normal(y.shape))
    return expose(np.clip(image, 0, 1.4), person, 0.26, inside=np.ones_like(y))
