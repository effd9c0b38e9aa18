"""What no contestant can beat: moving the bytes once, and, on the CPU, decoding the images."""

from collections.abc import Callable

import numpy as np
import torch

from crops.work import SIDES_PX, Work

BYTES_PER_VALUE = 4


def bytes_of(work: Work) -> int:
    """What making the views of one image must read (a canvas, 8 bits) and write (the views, in floats)."""
    written = sum(3 * side_px**2 for side_px in SIDES_PX) * BYTES_PER_VALUE
    return work.pixels[0].nbytes + written


def bytes_floor(work: Work) -> Callable[[], object]:
    """A copy that moves as many bytes as the views of the whole batch need: reads half of them, writes as many."""
    half = len(work) * bytes_of(work) // 2
    source = torch.ones(half, dtype=torch.uint8, device=work.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def decode_floor(work: Work) -> Callable[[], object]:
    """libjpeg-turbo alone over the batch; raises ImportError where its binding is missing."""
    from peers.decoding import decode_into

    canvas = np.empty_like(work.pixels[0])

    def decode() -> None:
        for image in work.encoded:
            decode_into(image, canvas)

    return decode
