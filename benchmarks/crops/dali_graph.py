"""DALI on the CPU as its users write it: one graph with DALI's own random numbers, in one thread.

It runs when it is called and not ahead, so that no time of another contestant is its own.
"""

import math
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from crops.border import Maker, Views
from crops.work import SIDES_PX, Work

TITLE = "DALI CPU graph"
REQUIREMENTS = ("nvidia-dali-cuda130==2.4.0",)
SUPPORTS = frozenset({"cpu"})
LEAVES_OUT = "hue is linear in YIQ, contrast about a fixed grey; one order of the jitters"


def _jittered(view: Any, work: Work) -> Any:
    """Colour of a view whose coin fell."""
    policy = work.policy

    def factor(reach: float) -> Any:
        return fn.random.uniform(range=(1.0 - reach, 1.0 + reach))

    return fn.color_twist(
        view,
        brightness=factor(policy.brightness),
        contrast=factor(policy.contrast),
        saturation=factor(policy.saturation),
        hue=fn.random.uniform(range=(-360.0 * policy.hue, 360.0 * policy.hue)),
    )


def _view(image: Any, work: Work, view: int) -> Any:
    policy = work.policy
    angle = fn.random.uniform(range=(-policy.rotation_deg, policy.rotation_deg))
    turned = fn.rotate(image, angle=angle, keep_size=True, fill_value=0, interp_type=types.INTERP_NN)
    seen = fn.random_resized_crop(
        turned,
        size=(SIDES_PX[view], SIDES_PX[view]),
        random_area=work.scale(view),
        random_aspect_ratio=policy.ratio,
        interp_type=types.INTERP_CUBIC,
        antialias=True,
    )
    if fn.random.coin_flip(probability=policy.jitter_p, dtype=types.BOOL):
        coloured = _jittered(seen, work)
    else:
        coloured = seen
    if fn.random.coin_flip(probability=work.blur_p(view), dtype=types.BOOL):
        finished = fn.gaussian_blur(
            coloured,
            sigma=fn.random.uniform(range=policy.blur_sigma_px),
            window_size=2 * math.ceil(4 * policy.blur_sigma_px[1]) + 1,
        )
    else:
        finished = coloured
    return fn.crop_mirror_normalize(
        finished,
        mirror=fn.random.coin_flip(probability=policy.flip_h_p),
        mean=[255.0 * value for value in work.mean],
        std=[255.0 * value for value in work.std],
        dtype=types.FLOAT,
        output_layout="CHW",
    )


@pipeline_def(enable_conditionals=True)
def graph(work: Work) -> Any:
    """All views of a batch of images that come from outside."""
    images = fn.external_source(source=lambda: work.pixels, layout="HWC", batch=True)
    views = []
    for view in range(len(SIDES_PX)):
        views.append(_view(images, work, view))
    return tuple(views)


def build(work: Work) -> Maker:
    pipeline: Any = graph(
        work, batch_size=len(work), num_threads=1, device_id=None, exec_async=False, exec_pipelined=False, seed=0
    )
    pipeline.build()

    def make() -> Views:
        return [np.asarray(views.as_tensor()) for views in pipeline.run()]

    return make
