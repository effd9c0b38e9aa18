"""Near copies of real images: stored again and resized they are found, and no two distinct ones are taken for one."""

import io

import numpy as np
import pytest
from PIL import Image

from mermed.pack.checks.near import as_words, near_pairs
from mermed.pack.pixels.perceptual import MIRROR_MASK, distance_of, perceptual_hash

SETS = {"cxr": "cxr/pediatric_pneumonia_224", "derm": "derm/ham10000_224", "path": "path/lc25000_lung_224"}


def stored_again(image):
    buffer = io.BytesIO()
    image.resize([round(side * 0.8) for side in image.size], Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=75)
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("modality", sorted(SETS))
def test_a_small_worse_copy_of_each_image_is_found_and_nothing_else(modality, real_data):
    paths = sorted((real_data / "real" / SETS[modality]).rglob("*.jp*g"))[:120]
    images = [Image.open(path).convert("RGB") for path in paths]
    originals = [perceptual_hash(np.asarray(image)) for image in images]
    copies = [perceptual_hash(np.asarray(stored_again(image))) for image in images]
    pairs = near_pairs(as_words(b"".join([*originals, *copies])), distance_of(modality))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(images) >= 100
    assert found == {(n, n + len(images)) for n in range(len(images))}


def test_a_mirrored_real_image_differs_in_the_mask_only(real_data):
    path = sorted((real_data / "real" / SETS["derm"]).rglob("*.jp*g"))[0]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    undone = bytes(a ^ b for a, b in zip(perceptual_hash(pixels[:, ::-1]), MIRROR_MASK, strict=True))
    assert (int.from_bytes(undone, "big") ^ int.from_bytes(perceptual_hash(pixels), "big")).bit_count() <= 2
