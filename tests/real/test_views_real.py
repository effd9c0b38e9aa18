"""Views of real images, one of each modality: every engine near the slow reference, whatever the modality's texture."""

import chain
import numpy as np
import pytest
import torch
from drawn import draw_for
from engines import ENGINES, build
from PIL import Image

from mermed.augment.draw import policy_table
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch, Position
from mermed.contract import MODALITIES

CANVAS_PX, SIDES_PX = 512, [224, 224, 96, 96, 96]


def middle_image(folder):
    """The middle one of a modality's images by name, RGB, reduced to fit the canvas."""
    paths = sorted(path for path in folder.rglob("images/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    with Image.open(paths[len(paths) // 2]) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC)
        return np.moveaxis(np.asarray(picture), -1, 0)


@pytest.fixture(scope="module")
def images(real_data):
    return [middle_image(real_data / "real" / modality) for modality in MODALITIES]


@pytest.fixture(scope="module")
def canvases(images):
    pixels = torch.zeros((len(images), 3, CANVAS_PX, CANVAS_PX), dtype=torch.uint8)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1], : image.shape[2]] = torch.from_numpy(image.copy())
    return CanvasBatch(
        pixels=pixels,
        size_px=torch.tensor([image.shape[1:] for image in images], dtype=torch.int32),
        modality=torch.arange(len(images)),
        slot=np.arange(len(images)),
        meta=(),
        position=Position(0),
    )


@pytest.mark.parametrize("preset", ["seed", "released", "medical"])
def test_every_engine_is_near_torchvision_on_real_images(images, canvases, preset):
    table = policy_table(preset, MODALITIES)
    draws = draw_for(table, canvases)
    plain = Normalisation(mean=np.zeros((7, 3), np.float32), std=np.ones((7, 3), np.float32))
    expected = [
        [chain.torchvision_view(image, draws[b, v], side_px) for v, side_px in enumerate(SIDES_PX)]
        for b, image in enumerate(images)
    ]
    for name in ENGINES:
        crops = build(name, table, plain, canvas_px=CANVAS_PX, global_px=224, local_px=96)(canvases, draws)
        views = [*crops.global_crops, *crops.local_crops]
        for b, modality in enumerate(MODALITIES):
            apart = [np.abs(views[v][b].numpy() * 255 - expected[b][v]) for v in range(len(SIDES_PX))]
            mean = np.mean([one.mean() for one in apart])
            assert mean < 1.5, f"{name}, {modality}: {mean:.2f} grey levels in the mean"
