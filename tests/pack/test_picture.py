"""Large pictures take a short way to their canonical image; it leads to the same image as the long one."""

import numpy as np
import pytest
from PIL import Image

from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.readers.raw import RawImage, RejectedInput
from mermed.pack.treatment import Treatment


def colour(seed, height=150, width=90):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def both(pixels):
    """The same image as a picture and as an array."""
    facts = {"source_bits": 8, "notes": ("upright",)}
    return RawImage.of_picture(Image.fromarray(pixels), **facts), RawImage(pixels=pixels, scale="display", **facts)


def canonical(raw, modality="path", **choices):
    return make_canonical(raw, modality, PackOptions(side_px=64), Treatment(**choices))


def nearly_grey():
    pixels = np.repeat(colour(1)[..., :1], 3, axis=2)
    pixels[70, 40, 0] ^= 1
    return pixels


@pytest.mark.parametrize(
    ("pixels", "modality", "choices"),
    [
        (colour(0), "path", {}),
        (colour(0, 60, 300), "path", {}),
        (colour(0), "cfp", {}),
        (colour(0), "cfp", {"crop": "none"}),
        (colour(0), "us", {"is_inverted": True}),
        (np.repeat(colour(2)[..., :1], 3, axis=2), "cxr", {}),
        (nearly_grey(), "cxr", {}),
        (colour(0, 64, 64), "path", {}),
    ],
)
def test_the_short_way_and_the_long_way_end_at_the_same_image(pixels, modality, choices):
    short, long = (canonical(raw, modality, **choices) for raw in both(pixels))
    np.testing.assert_array_equal(short.pixels, long.pixels)
    assert (short.steps, short.crop, short.window) == (long.steps, long.crop, long.window)
    assert np.array_equal(np.asarray(short.image), np.asarray(long.image))


@pytest.mark.parametrize(
    "pixels", [np.full((150, 90, 3), 7, np.uint8), np.where(colour(3) > 127, 255, 0).astype(np.uint8)]
)
def test_what_the_long_way_refuses_the_short_way_refuses(pixels):
    reasons = []
    for raw in both(pixels):
        with pytest.raises(RejectedInput) as caught:
            canonical(raw)
        reasons.append(caught.value.reason_slug)
    assert reasons[0] == reasons[1]


def test_the_array_of_a_picture_is_made_once_and_only_when_asked_for():
    raw = RawImage.of_picture(Image.fromarray(colour(4)), source_bits=8)
    assert raw.pixels is raw.pixels
    np.testing.assert_array_equal(raw.pixels, colour(4))
    with pytest.raises(AttributeError):
        _ = raw.nothing
