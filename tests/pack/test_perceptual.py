"""Perceptual hash: equal everywhere, nearly equal for copies, far apart for other pictures."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from mermed.pack.pixels.perceptual import HASH_BITS, MIRROR_MASK, distance_of, perceptual_hash


def scene(seed, shape=(240, 320)):
    """A smooth random picture: a few blobs, as an organ among tissue."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth, int) + rng.integers(-6, 7, shape), 0, 255).astype(np.uint8)


def apart(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def as_jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_the_bits_never_change_from_version_to_version_or_machine_to_machine():
    rows, columns = np.mgrid[0:48, 0:61]
    grey = ((rows * rows * 7 + columns * columns * 3 + rows * columns * 5) // 61 % 256).astype(np.uint8)
    assert perceptual_hash(grey).hex() == GOLDEN


GOLDEN = "16ca091436dbe8245aaaf5050d5ef1558a55fca4012a7e6a41dafeb5006dbf99"


def test_grey_as_rgb_and_as_16_bits_gives_the_same_bits():
    grey = scene(1)
    assert perceptual_hash(np.stack([grey] * 3, axis=-1)) == perceptual_hash(grey)
    assert perceptual_hash(grey.astype(np.uint16) * 257) == perceptual_hash(grey)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "change",
    [
        lambda p: as_jpeg(p, 75),
        lambda p: np.asarray(Image.fromarray(p).resize((160, 120), Image.Resampling.LANCZOS)),
        lambda p: np.asarray(Image.fromarray(p).resize((256, 192), Image.Resampling.BILINEAR)),
        lambda p: np.rint(p * 0.9).astype(np.uint8),
        lambda p: np.rint((p.astype(float) - 128) * 0.9 + 128).astype(np.uint8),
    ],
    ids=["q75", "half", "0.8", "darker", "flatter"],
)
def test_a_copy_stored_again_resized_or_dimmed_is_near(change, seed):
    original = scene(seed)
    assert apart(perceptual_hash(original), perceptual_hash(change(original))) <= distance_of("cxr")


def test_other_pictures_are_far():
    hashes = [perceptual_hash(scene(seed)) for seed in range(40)]
    least = min(apart(a, b) for n, a in enumerate(hashes) for b in hashes[:n])
    assert least > 2 * max(distance_of("us"), distance_of("cxr"))


@pytest.mark.parametrize("seed", range(4))
def test_a_mirrored_picture_is_found_by_its_mask(seed):
    original = scene(seed, (200, 301))
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(original)))
    undone = bytes(a ^ b for a, b in zip(perceptual_hash(mirrored), MIRROR_MASK, strict=True))
    assert apart(perceptual_hash(original), undone) <= 2
    assert apart(perceptual_hash(original), perceptual_hash(mirrored)) > HASH_BITS // 3


def test_pictures_smaller_than_the_grid_and_long_ones_have_a_hash():
    assert len(perceptual_hash(scene(1, (5, 7)))) * 8 == HASH_BITS
    assert len(perceptual_hash(scene(1, (3, 2000)))) * 8 == HASH_BITS


@pytest.mark.parametrize("shape", [(0, 4), (4,), (4, 4, 4), (2, 4, 4, 3)])
def test_anything_but_an_image_is_refused(shape):
    with pytest.raises(ValueError, match="needs uint8"):
        perceptual_hash(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="needs uint8"):
        perceptual_hash(np.zeros((4, 4), np.float32))
