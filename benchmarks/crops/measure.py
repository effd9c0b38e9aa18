"""How fast a contestant is and whether what it returns are views: the same questions for all, here and in a child."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from crops.border import Views
from crops.work import SIDES_PX, Work

CHECKED = 16
"""Images of a batch whose views are looked at."""


class Turn:
    """One measurement of a contestant: its whole batch, as many times as fill `least_s`, which the warm-up finds."""

    def __init__(
        self, make: Callable[[], object], images: int, *, least_s: float, settle: Callable[[], object] | None = None
    ) -> None:
        self._make = make
        self._images = images
        self._least_s = least_s
        self._settle = settle or (lambda: None)
        self._calls = 0

    def __call__(self) -> dict[str, float]:
        """Images per second, and the mean number of cores that this process kept busy meanwhile."""
        calls = max(1, self._calls)
        self._settle()
        wall, busy = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self._make()
        self._settle()
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        self._calls = self._calls or max(1, math.ceil(self._least_s / wall))
        return {"images_per_s": calls * self._images / wall, "cores": busy / wall}


def grey_levels(views: Views, work: Work) -> list[Float[np.ndarray, "batch 3 side side"]]:
    """Views of the first images without their normalisation, in [0, 255], on the host."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (work.mean, work.std))
    return [(_on_host(view[:CHECKED]) * std + mean) * 255.0 for view in views]


def described(views: Views, work: Work) -> dict[str, float]:
    """Mean and spread of the views in grey levels; raises ValueError unless they are twelve finite batches of views."""
    expected = [(len(work), 3, side_px, side_px) for side_px in SIDES_PX]
    found = [tuple(view.shape) for view in views]
    if found != expected:
        raise ValueError(f"these are not the views of the batch: {found}")
    levels = np.concatenate([view.ravel() for view in grey_levels(views, work)])
    if not np.isfinite(levels).all():
        raise ValueError("a view holds values that are not finite")
    return {"mean": float(levels.mean()), "spread": float(levels.std())}


def differences(views: Views, reference: Views, work: Work) -> dict[str, float]:
    """Mean and 99.9th percentile of how far views of the same draws are apart, in grey levels."""
    pairs = zip(grey_levels(views, work), grey_levels(reference, work), strict=True)
    apart = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
    return {"mean": float(apart.mean()), "p999": float(np.percentile(apart, 99.9))}


def _on_host(view: Any) -> np.ndarray:
    """An array or a tensor of any device, as numpy's floats."""
    return view.astype(np.float32) if isinstance(view, np.ndarray) else view.float().cpu().numpy()
