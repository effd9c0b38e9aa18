"""JPEGs to canvases on the device that trains: threads of libjpeg-turbo, which is what we do, or a decoder on the GPU.

All cores and the GPU are there for everyone. `canvas` holds images of the canvas's own 512 px as they are packed,
`large` originals of 2048 px that must be reduced to it. On a machine without a GPU the rows of the CPU are measured.
"""

import io
import os
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from crops.measure import Turn
from peers import images
from PIL import Image
from torch import Tensor

CANVAS_PX, LARGE_PX = 512, 2048
SETS = {"canvas": CANVAS_PX, "large": LARGE_PX}
SAME_LEVELS = {"canvas": 1.0, "large": 3.0}
"""How far from Pillow's canvases the mean may be, in grey levels: decoders agree, kernels that reduce do not."""
OURS = "ours: threads"
SEED = 7

Decode = Callable[[Sequence[bytes]], Tensor]
"""Encoded images to canvases on the device that trains, [batch, side, side, 3] or [batch, 3, side, side]."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Images in a batch of each set, and seconds of one measurement."""

    canvas: int
    large: int
    least_s: float


SIZES = {
    ("cpu", True): Sizes(canvas=28, large=7, least_s=0.2),
    ("cpu", False): Sizes(canvas=112, large=28, least_s=2.0),
    ("cuda", True): Sizes(canvas=128, large=56, least_s=0.3),
    ("cuda", False): Sizes(canvas=128, large=128, least_s=2.0),
}


def our_threads(device: str, batch: int, *, reduced: bool) -> Decode:
    """The loader's own decode into its own buffers; `reduced` lets libjpeg-turbo decode at a lower scale."""
    from mermed.stream.buffer import CanvasBuffer

    is_cuda = device == "cuda"
    # two, as in the loader's ring: one is filled while the other is on its way to the GPU
    ring = [CanvasBuffer.allocate(batch, CANVAS_PX, pin=is_cuda) for _ in range(2)]
    copied = [torch.cuda.Event() for _ in ring] if is_cuda else []
    pool = ThreadPoolExecutor(cores())
    turn = 0

    def decode(encoded: Sequence[bytes]) -> Tensor:
        nonlocal turn
        turn = 1 - turn
        buffer = ring[turn]
        if is_cuda:
            copied[turn].synchronize()
        enough_px = CANVAS_PX if reduced else None
        list(pool.map(lambda row: buffer.fill(row, encoded[row], enough_px=enough_px), range(len(encoded))))
        if not is_cuda:
            return buffer.pixels
        canvases = buffer.pixels.to(device, non_blocking=True)
        copied[turn].record()
        return canvases

    return decode


def torchvision_threads(device: str, batch: int) -> Decode:
    """torchvision's decoder on the CPU, one call per image in threads, then the copy."""
    pool = ThreadPoolExecutor(cores())

    def decode(encoded: Sequence[bytes]) -> Tensor:
        return torch.stack(list(pool.map(lambda image: _fitted(_decoded(image, "cpu")[0]), encoded))).to(device)

    return decode


def torchvision_gpu(device: str, batch: int) -> Decode:
    """torchvision's decoder on the GPU, the whole batch in one call, reduced there."""
    return lambda encoded: torch.stack([_fitted(image) for image in _decoded(encoded, device)])


def _decoded(encoded: bytes | Sequence[bytes], device: str) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    whole = [encoded] if isinstance(encoded, bytes) else encoded
    buffers = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in whole]
    return decode_jpeg(buffers, ImageReadMode.RGB, device=device)


def _fitted(image: Tensor) -> Tensor:
    """An image reduced to the canvas with antialiasing."""
    from torchvision.transforms.v2 import functional

    if image.shape[-1] == CANVAS_PX:
        return image
    return functional.resize(image, [CANVAS_PX, CANVAS_PX], antialias=True)


def dali(device: str, batch: int, *, decoder: str, reduced: bool) -> Decode:
    """DALI fed from outside, decoding on the CPU or (`mixed`) on the GPU; `reduced` resizes there to the canvas."""
    from nvidia.dali import fn, pipeline_def, types

    waiting: list[list[np.ndarray]] = []
    on_gpu = decoder == "mixed"

    @pipeline_def
    def graph() -> Any:
        encoded = fn.external_source(source=lambda: waiting[0], dtype=types.UINT8, ndim=1)
        decoded = fn.decoders.image(encoded, device=decoder, output_type=types.RGB, jpeg_fancy_upsampling=True)
        if not reduced:
            return decoded
        return fn.resize(decoded, size=(CANVAS_PX, CANVAS_PX), interp_type=types.INTERP_LINEAR, antialias=True)

    pipeline: Any = graph(
        batch_size=batch,
        num_threads=cores(),
        device_id=0 if on_gpu else None,
        exec_async=on_gpu,
        exec_pipelined=on_gpu,
    )

    def decode(encoded: Sequence[bytes]) -> Tensor:
        if not waiting:
            waiting.append([np.frombuffer(image, np.uint8) for image in encoded])
            pipeline.build()
        (canvases,) = pipeline.run()
        # DALI uses its output buffers again, so what leaves it is a copy
        if on_gpu:
            return torch.from_dlpack(canvases.as_tensor()).clone()
        return torch.from_numpy(np.array(canvases.as_tensor())).to(device)

    return decode


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def forms_of(kind: str) -> dict[str, Callable[[str, int], Decode]]:
    """Who decodes, by title, as functions of device and batch; those named GPU run on one only."""
    is_large = SETS[kind] > CANVAS_PX
    forms: dict[str, Callable[[str, int], Decode]] = {
        OURS: partial(our_threads, reduced=is_large),
        "torchvision in threads": torchvision_threads,
        "DALI CPU": partial(dali, decoder="cpu", reduced=is_large),
        "GPU: torchvision": torchvision_gpu,
        "GPU: DALI mixed": partial(dali, decoder="mixed", reduced=is_large),
    }
    if is_large:
        forms["ours: threads, decoded whole"] = partial(our_threads, reduced=False)
    return forms


def check_same(title: str, canvases: Tensor, encoded: Sequence[bytes], most: float) -> float:
    """The mean distance from Pillow's canvases in grey levels; raises SystemExit when it is more than `most`."""
    found = canvases.cpu()
    found = found.permute(0, 2, 3, 1) if found.shape[1] == 3 else found
    apart = float(np.abs(found.numpy().astype(np.int16) - expected_of(tuple(encoded))).mean())
    if apart > most:
        raise SystemExit(f"{title} makes other canvases: {apart:.2f} grey levels in the mean")
    return apart


def expected_of(encoded: Sequence[bytes]) -> np.ndarray:
    """Canvases by Pillow, decoded whole and reduced with antialiasing."""
    whole = (Image.open(io.BytesIO(image)).convert("RGB") for image in encoded)
    size = (CANVAS_PX, CANVAS_PX)
    return np.stack([np.asarray(image.resize(size, Image.Resampling.BILINEAR)) for image in whole])


@dataclass(kw_only=True)
class Entrants:
    """By title: who is measured, who is missing and why, how far each is from Pillow, and the cores it kept busy."""

    device: str
    least_s: float
    turns: dict[str, Callable[[], float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    apart: dict[str, float | str] = field(default_factory=dict)
    busy: dict[str, list[float]] = field(default_factory=dict)

    def enter(self, kind: str, encoded: Sequence[bytes]) -> None:
        """Everyone who can decode this set of images."""
        for name, form in forms_of(kind).items():
            title = f"{kind}: {name}"
            if name.startswith("GPU") and self.device == "cpu":
                self.missing[title] = "there is no GPU here"
                continue
            try:
                decode = form(self.device, len(encoded))
                canvases = decode(encoded)
            except (ImportError, RuntimeError) as error:
                self.missing[title] = (str(error).splitlines() or [type(error).__name__])[0]
                continue
            self.apart[title] = check_same(title, canvases, encoded, SAME_LEVELS[kind])
            self._add(title, partial(decode, encoded), len(encoded))

    def _add(self, title: str, decode: Callable[[], object], batch: int) -> None:
        settle = torch.cuda.synchronize if self.device == "cuda" else None
        turn = Turn(decode, batch, least_s=self.least_s, settle=settle)
        busy = self.busy[title] = []

        def rate() -> float:
            answer = turn()
            busy.append(answer["cores"])
            return answer["images_per_s"]

        self.turns[title] = rate


def read_set(folder: Path, side_px: int, batch: int) -> list[bytes]:
    """A batch of JPEGs of `side_px`: a picture per modality, as often as it takes."""
    per_modality = -(-batch // len(images.MODALITIES))
    images.write_images(folder, per_modality=per_modality, side_px=side_px, copies=per_modality)
    return [path.read_bytes() for path in sorted(folder.iterdir(), key=lambda path: path.stem[::-1])[:batch]]


def ratios_of(rates: Mapping[str, float]) -> dict[str, harness.Ratio]:
    """The faster decoder on the GPU over our threads, for each set where both were measured."""
    ratios = {}
    for kind in SETS:
        on_gpu = [rate for title, rate in rates.items() if title.startswith(f"{kind}: GPU")]
        mine = rates.get(f"{kind}: {OURS}")
        if on_gpu and mine:
            ratios[f"{kind}_gpu_over_threads"] = harness.Ratio(value=max(on_gpu) / mine)
    return ratios


def bench(options: harness.Options) -> harness.Report:
    """JPEGs to canvases: threads on the CPU or a decoder on the GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    sizes = SIZES[device, options.quick]
    entrants = Entrants(device=device, least_s=sizes.least_s)
    mean_kb = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, side_px in SETS.items():
            encoded = read_set(Path(name) / kind, side_px, getattr(sizes, kind))
            mean_kb[kind] = round(sum(map(len, encoded)) / len(encoded) / 1000, 1)
            entrants.enter(kind, encoded)
    figures = harness.compare(entrants.turns, options.rounds, order=random.Random(SEED))
    return harness.Report(
        bench="bench_decode",
        unit="images/s",
        figures=figures,
        ratios=ratios_of({title: figure.median for title, figure in figures.items()}),
        settings={
            "device": device,
            "threads": cores(),
            "canvas_px": CANVAS_PX,
            "large_px": LARGE_PX,
            "batch": {kind: getattr(sizes, kind) for kind in SETS},
            "mean_image_kb": mean_kb,
            "least_s": sizes.least_s,
        },
        missing=entrants.missing,
        columns={
            "cores busy": {title: float(np.median(values)) for title, values in entrants.busy.items()},
            "from Pillow, levels": entrants.apart,
        },
    )


if __name__ == "__main__":
    harness.main(bench)
