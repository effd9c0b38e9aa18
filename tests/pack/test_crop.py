"""Crops: the disc of a fundus camera, the frame of a dermatoscope, the scan on an ultrasound screen, or nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mermed.pack.options import PackOptions
from mermed.pack.pixels.blobs import find_blobs, grow, shrink
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.pixels.crop import find_crop
from mermed.pack.readers.raw import RawImage
from mermed.pack.treatment import Treatment


def disc(shape, centre, radius, level=120, background=0):
    """An RGB fundus: a lit disc with some texture on a dark background."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    texture = np.random.default_rng(0).integers(-20, 20, shape)
    red = np.where(inside, level + texture, background)
    return np.stack([red, red * 0.5, red * 0.2], axis=-1).clip(0, 255).astype(np.uint8)


def overlap(box, top, left, height, width):
    """Intersection over union of two boxes."""
    rows = min(box[0] + box[2], top + height) - max(box[0], top)
    columns = min(box[1] + box[3], left + width) - max(box[1], left)
    common = max(rows, 0) * max(columns, 0)
    return common / (box[2] * box[3] + height * width - common)


@pytest.mark.parametrize(
    ("shape", "radius"), [((256, 256), 80), ((600, 900), 290), ((1000, 1500), 300), ((256, 256), 50)]
)
def test_a_fundus_disc_is_found_with_a_margin_and_never_cut(shape, radius):
    centre = shape[0] // 2, shape[1] // 2
    box, rule = find_crop(disc(shape, centre, radius), "cfp")
    assert rule == "border"
    top, left = centre[0] - radius, centre[1] - radius
    assert overlap(box, top, left, 2 * radius, 2 * radius) > 0.86
    assert box[0] <= max(top, 0)
    assert box[1] <= left
    assert box[0] + box[2] >= min(top + 2 * radius, shape[0])
    assert box[1] + box[3] >= left + 2 * radius


def test_noise_and_letters_outside_of_the_disc_change_nothing():
    clean = disc((600, 900), (300, 450), 200)
    noisy = np.maximum(clean, np.random.default_rng(1).integers(0, 9, clean.shape, dtype=np.uint8))
    noisy[20:34, 20:140:3] = 255
    noisy[560:562, 700:880] = 200
    assert find_crop(noisy, "cfp") == find_crop(clean, "cfp")


def test_a_picture_that_fills_its_frame_is_kept_whole():
    skin = np.random.default_rng(0).integers(90, 200, (300, 400, 3), dtype=np.uint8)
    for modality in ("cfp", "derm", "us"):
        assert find_crop(skin, modality) is None


def test_the_black_frame_of_a_dermatoscope_goes_and_a_black_lesion_stays():
    skin = np.zeros((400, 600, 3), np.uint8)
    skin[40:360, 80:520] = np.random.default_rng(0).integers(120, 200, (320, 440, 3))
    skin[150:250, 250:350] = 0
    box, rule = find_crop(skin, "derm")
    assert rule == "border"
    assert overlap(box, 40, 80, 320, 440) > 0.9


def test_dark_corners_of_a_round_field_are_no_reason_to_crop():
    rows, columns = np.mgrid[-1:1:300j, -1:1:300j]
    vignette = (rows**2 + columns**2 < 1.2)[..., None] * np.full((300, 300, 3), 150)
    assert find_crop(vignette.astype(np.uint8), "derm") is None


@pytest.mark.parametrize("modality", ["cfp", "derm"])
def test_a_half_lit_picture_of_less_than_its_share_is_not_cropped(modality):
    crescent = disc((400, 400), (200, 200), 120)
    crescent[disc((400, 400), (200, 250), 115)[..., 0] > 0] = 0
    assert find_crop(crescent, modality) is None


def screen(faint_depth=False):
    """An ultrasound screen of 600 x 800: a sector, a grey bar, rows of letters and a bright icon."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:600, 0:800]
    radius, angle = np.hypot(rows - 40, columns - 400), np.arctan2(columns - 400, rows - 40)
    inside = (radius > 40) & (radius < 480) & (np.abs(angle) < 0.7)
    echo = rng.gamma(2.0, 30.0, (600, 800))
    if faint_depth:
        echo = np.where(radius < 240, echo, rng.integers(5, 14, (600, 800)))
    pixels = np.where(inside, echo.clip(0, 255), 0).astype(np.uint8)
    pixels[100:400, 760:768] = np.linspace(255, 0, 300)[:, None]
    for row in (20, 40, 60, 560):
        pixels[row : row + 8, 10:80][:, ::3] = 255
    pixels[540:560, 10:30] = 200
    return pixels, inside


@pytest.mark.parametrize("faint_depth", [False, True])
def test_the_sector_is_found_among_letters_and_bars_with_its_faint_depth(faint_depth):
    pixels, inside = screen(faint_depth)
    box, rule = find_crop(pixels, "us")
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert rule == "sector"
    assert overlap(box, rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1) > 0.85
    assert box[1] > 80
    assert box[1] + box[3] < 760


def test_a_region_that_the_file_declares_comes_first():
    pixels, _ = screen()
    assert find_crop(pixels, "us", (30, 100, 500, 600)) == ((30, 100, 500, 600), "region")
    assert find_crop(pixels, "oct", (30, 100, 500, 600)) == ((30, 100, 500, 600), "region")
    assert find_crop(pixels, "us", (-10, 100, 9999, 600)) == ((0, 100, 600, 600), "region")


@pytest.mark.parametrize("region", [(0, 0, 2, 800), (700, 0, 100, 100), (0, 0, 0, 0), (10, 10, -5, 40)])
def test_a_declared_region_that_makes_no_sense_is_not_believed(region):
    pixels, _ = screen()
    assert find_crop(pixels, "us", region) == find_crop(pixels, "us")


@pytest.mark.parametrize("modality", ["cxr", "ct", "oct", "path", "mr"])
def test_other_modalities_are_never_cropped(modality):
    assert find_crop(disc((300, 300), (150, 150), 60), modality) is None


def test_crop_spacing_and_steps_are_told_in_pixels_of_the_source():
    pixels = disc((900, 1200), (450, 600), 300)
    raw = RawImage(pixels=pixels, scale="display", source_bits=8, spacing_mm=(0.01, 0.02))
    made = make_canonical(raw, "cfp", PackOptions(side_px=128))
    _, _, height, width = made.crop
    assert overlap(made.crop, 150, 300, 600, 600) > 0.86
    assert made.steps == ("crop:border", "resize")
    assert min(made.image.size) == 128
    assert made.spacing_mm == pytest.approx(
        (0.01 * height / made.image.height, 0.02 * width / made.image.width), abs=1e-6
    )
    whole = make_canonical(raw, "cfp", PackOptions(side_px=128), Treatment(crop="none"))
    assert (whole.crop, whole.steps) == (None, ("resize",))


def test_a_crop_is_told_in_pixels_of_a_file_that_was_decoded_reduced():
    small = RawImage(
        pixels=disc((450, 600), (225, 300), 150), scale="display", source_bits=8, source_shape=(1800, 2400)
    )
    made = make_canonical(small, "cfp", PackOptions())
    assert overlap(made.crop, 300, 600, 1200, 1200) > 0.86
    assert made.pixels.shape[0] * 4 == made.crop[2]


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=70), elements=st.sampled_from([0, 3, 8, 40, 255])),
    st.sampled_from(["cfp", "derm", "us"]),
)
def test_every_crop_lies_inside_its_image_and_is_worth_it(pixels, modality):
    found = find_crop(pixels, modality)
    if found is not None:
        (top, left, height, width), _ = found
        assert 0 <= top < top + height <= pixels.shape[0]
        assert 0 <= left < left + width <= pixels.shape[1]
        assert 0.1 * pixels.size <= height * width < pixels.size


def flood(mask):
    """Areas and bounds of the parts of a mask, by walking from cell to cell."""
    left, parts = {tuple(cell) for cell in np.argwhere(mask)}, []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            row, column = edge.pop()
            part.add((row, column))
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
        rows, columns = zip(*part, strict=True)
        parts.append((len(part), min(rows), min(columns), max(rows) + 1, max(columns) + 1))
    return sorted(parts)


@settings(max_examples=200, deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=14)))
def test_blobs_are_the_connected_parts(mask):
    found = find_blobs(mask)
    assert sorted((b.area, b.top, b.left, b.bottom, b.right) for b in found) == flood(mask)
    assert [blob.area for blob in found] == sorted((blob.area for blob in found), reverse=True)


@settings(max_examples=100, deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=10)))
def test_growing_and_shrinking_look_at_eight_neighbours(mask):
    padded = np.pad(mask, 1)
    views = [padded[1 + down : 1 + down + mask.shape[0], 1 + right : 1 + right + mask.shape[1]]
             for down in (-1, 0, 1) for right in (-1, 0, 1)]  # fmt: skip
    assert np.array_equal(grow(mask), np.any(views, axis=0))
    assert np.array_equal(shrink(mask), ~grow(~mask))
