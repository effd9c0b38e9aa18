"""Some images of a run with the views it makes of them, by one or several engines; the sheet a run begins with."""

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from mermed.augment.extra import extras_of
from mermed.augment.policy import Normalisation
from mermed.augment.sheet import ViewedImage, contact_sheet
from mermed.batch import CanvasBatch, CropBatch, EncodedBatch, Position
from mermed.config import RunConfig
from mermed.draft import replace_file
from mermed.errors import MermedError
from mermed.stream.content import shown_levels
from mermed.stream.loader import Share
from mermed.stream.supply import Supply, decode_threads
from mermed.train.report_views import VIEWS_NAME
from mermed.train.run import RunData
from mermed.train.view_maker import ViewMaker
from mermed.train.view_slots import first_slots


def viewed_images(
    config: RunConfig, data: RunData, slots: Sequence[int], engines: Sequence[str] = ()
) -> list[ViewedImage]:
    """The images of `slots` and their views by each of `engines` (the run's own, if none is named), on the CPU.

    They come through the run's supply, so what a run would leave out for a tombstone or for damage stands in for here
    too; images are decoded whole. Raises ConfigError for an engine that cannot serve, and what reading raises.
    """
    threads = decode_threads(config.stream)
    makers = {
        engine: ViewMaker(
            # to compile for a handful of images would cost more than all else here
            replace(config, augment=replace(config.augment, engine=engine, compile="off")),
            data,
            torch.device("cpu"),
            num_threads=threads,
        )
        for engine in engines or (config.augment.engine,)
    }
    shares = [Share(range(slot, slot + 1), Position(slot + 1)) for slot in slots]
    # The cache of a run looks ahead in the run's own order; a few images of another order would upset it.
    stream = replace(config.stream, cache_dir="")
    needs, threads = next(iter(makers.values())).needs, min(threads, len(shares))

    def supply() -> Supply:
        return Supply(data.plan, data.shards, lambda: shares, stream, tombstones=data.tombstones)

    with supply() as first, first.canvases(batch=1, num_threads=threads, needs=needs) as canvases, ExitStack() as stack:
        encoded: Iterable[EncodedBatch | None] = repeat(None)
        if any(maker.takes_encoded for maker in makers.values()):
            encoded = stack.enter_context(stack.enter_context(supply()).encoded(num_threads=threads))
        return [_viewed(config, data, makers, *batches) for batches in zip(canvases, encoded, strict=False)]


def _viewed(
    config: RunConfig, data: RunData, makers: dict[str, ViewMaker], batch: CanvasBatch, encoded: EncodedBatch | None
) -> ViewedImage:
    made = {engine: maker(encoded if maker.takes_encoded and encoded else batch) for engine, maker in makers.items()}
    draws = next(iter(made.values())).draws[0]
    number = int(batch.modality[0])
    return ViewedImage(
        modality=data.manifest.modalities[number],
        slot=int(batch.slot[0]),
        key=batch.meta[0].key,
        canvas=canvas_levels(batch),
        draws=draws,
        num_global=config.augment.num_global,
        extras=extras_of(config.augment.extra),
        views={engine: _levels(views.crops, data.normalisation, number) for engine, views in made.items()},
    )


def canvas_levels(batch: CanvasBatch, image: int = 0) -> UInt8[np.ndarray, "3 height width"]:
    """The valid area of a canvas as a screen shows it: one of 16 bits through its own window."""
    height, width = batch.size_px[image].tolist()
    pixels = batch.pixels[image, :, :height, :width].cpu().numpy()
    if batch.window is None or np.isnan(batch.window[image, 0]):
        return pixels.copy()
    low, high = batch.window[image].tolist()
    grey = shown_levels(pixels[0], pixels[1], (low, high))
    return np.repeat(grey.round().astype(np.uint8)[None], 3, axis=0)


def _levels(crops: CropBatch, normalisation: Normalisation, modality: int) -> list[np.ndarray]:
    """The views of the first image in grey levels [0, 255], the normalisation undone."""
    mean, std = (values[modality, :, None, None] for values in (normalisation.mean, normalisation.std))
    tensors = [*crops.global_crops[:, 0], *crops.local_crops[:, 0]]
    return [255.0 * (tensor.float().cpu().numpy() * std + mean) for tensor in tensors]


def sheet_title(config: RunConfig, engines: Sequence[str] = ()) -> str:
    """What a sheet shows: policy, preset, seed and engines, of which the first is the reference."""
    first, *others = engines or (config.augment.engine,)
    made_by = f"{', '.join(others)} against {first}" if others else first
    return f"policy {config.augment.policy}, {config.preset}, seed {config.seed}, engine {made_by}"


def try_run_views(config: RunConfig, data: RunData, run: Path, tell: Callable[[str], object]) -> None:
    """Write RUN/views.png, the first image of each modality as the run will view it.

    Whatever fails is told in one line and never ends the run.
    """
    try:
        images = viewed_images(config, data, first_slots(data))
        picture = io.BytesIO()
        contact_sheet(images, sheet_title(config)).save(picture, "PNG")
        replace_file(run / VIEWS_NAME, picture.getvalue())
    except Exception as error:  # damaged samples, an engine's own errors, a full disk: all are worth a line
        reason = error.reason() if isinstance(error, MermedError) else str(error)
        tell(f"{VIEWS_NAME} cannot be written ({type(error).__name__}: {reason}); the run goes on")
