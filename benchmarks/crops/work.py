"""What every contestant gets: the same decoded images, the same ranges to draw from, the same constants."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from mermed.augment.policy import Policy, policy_for

CANVAS_PX, GLOBAL_PX, LOCAL_PX = 512, 224, 96
NUM_GLOBAL, NUM_LOCAL = 2, 10
SIDES_PX = (GLOBAL_PX,) * NUM_GLOBAL + (LOCAL_PX,) * NUM_LOCAL
PRESET = "released"


@dataclass(frozen=True, kw_only=True)
class Work:
    """A batch of images and what is to be done with it.

    `modality` indexes `modalities`. The policy is the preset's one row. Mean and standard deviation are the same for
    all modalities, since half of the contestants can hold no more than one set.
    """

    encoded: tuple[bytes, ...]
    pixels: UInt8[np.ndarray, "batch side side 3"]
    modality: Int64[np.ndarray, " batch"]
    modalities: tuple[str, ...]
    policy: Policy
    device: str
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __len__(self) -> int:
        return len(self.encoded)

    @property
    def canvas_px(self) -> int:
        """The side of the images."""
        return self.pixels.shape[1]

    def images(self) -> list[Image.Image]:
        """The decoded images for those who work on Pillow's."""
        return [Image.fromarray(pixels) for pixels in self.pixels]

    def scale(self, view: int) -> tuple[float, float]:
        """The span of areas that view number `view` is cropped with."""
        return self.policy.global_scale if view < NUM_GLOBAL else self.policy.local_scale

    def blur_p(self, view: int) -> float:
        """How likely view number `view` is blurred."""
        return self.policy.blur_p[min(view, NUM_GLOBAL)]


def read_work(folder: Path, batch: int, device: str) -> Work:
    """The first `batch` images of a folder of `<modality>-<number>.jpg`, as many of each modality as can be."""
    paths = sorted(folder.glob("*.jpg"), key=lambda path: path.stem.split("-")[::-1])[:batch]
    if len(paths) < batch:
        raise ValueError(f"{batch} images were asked for, {len(paths)} are there")
    encoded = tuple(path.read_bytes() for path in paths)
    names = [path.stem.partition("-")[0] for path in paths]
    modalities = tuple(sorted(set(names)))
    return Work(
        encoded=encoded,
        # Pillow, because every machine has it; who decodes does not matter here, it is the same for all
        pixels=np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in encoded]),
        modality=np.array([modalities.index(name) for name in names], np.int64),
        modalities=modalities,
        policy=policy_for(PRESET, modalities[0]),
        device=device,
    )
