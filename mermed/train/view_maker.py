"""Batches to the views a step trains on: drawn on the host, made by the run's engine, on a GPU one batch ahead."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64
from torch import Tensor

from mermed.augment.dali_crops import DaliCrops
from mermed.augment.draw import PolicyTable, draw_views
from mermed.augment.engine import build_crops
from mermed.batch import CanvasBatch, CropBatch, EncodedBatch, ViewBatch
from mermed.config import RunConfig
from mermed.errors import ConfigError
from mermed.stream.decode import Needs
from mermed.stream.image import fitted
from mermed.train.run import RunData


class ViewMaker:
    """Draws and makes the views of any batch of a run; a slot has the same views whatever batch it is in."""

    def __init__(self, config: RunConfig, data: RunData, device: torch.device, *, num_threads: int = 1) -> None:
        self._config = config
        self.policies = data.policies
        self.needs = _needs(config, self.policies)
        self._crops = build_crops(
            config.augment,
            self.policies,
            data.normalisation,
            config.stream.canvas_px,
            device,
            num_threads=num_threads,
            batch=config.train.batch,
        )

        if self.takes_encoded and self.needs.content:
            raise ConfigError(
                "crops are to be taken by what they show, which the engine dali does not look at",
                next_step="--set augment.foreground=false, or --set augment.engine=torch --set stream.decoder=dali",
            )

    @property
    def takes_encoded(self) -> bool:
        """Whether the engine decodes the images itself, and so takes EncodedBatch instead of CanvasBatch."""
        return isinstance(self._crops, DaliCrops)

    def draw(
        self,
        *,
        slot: Int64[np.ndarray, " batch"],
        modality: Int64[np.ndarray, " batch"],
        size_px: Int32[np.ndarray, "batch 2"],
        window: Float32[np.ndarray, "batch 2"] | None = None,
        content: Bool[np.ndarray, "batch rows columns"] | None = None,
    ) -> Float32[np.ndarray, "batch views fields"]:
        """The rows of draws of some slots; the arguments are those of `draw_views`."""
        return draw_views(
            self.policies,
            seed=self._config.seed,
            extras=self._config.augment.extra,
            slot=slot,
            modality=modality,
            size_px=size_px,
            num_global=self._config.augment.num_global,
            num_local=self._config.augment.num_local,
            window=window,
            content=content,
        )

    def __call__(self, batch: CanvasBatch | EncodedBatch) -> ViewBatch:
        """The views of a batch, on the engine's device."""
        draws, crops = self._of_encoded(batch) if isinstance(batch, EncodedBatch) else self._of_canvases(batch)
        return ViewBatch(crops=crops, draws=draws, slot=batch.slot, meta=batch.meta, position=batch.position)

    def _of_canvases(self, batch: CanvasBatch) -> tuple[Float32[np.ndarray, "batch views fields"], CropBatch]:
        draws = self.draw(
            slot=batch.slot,
            modality=batch.modality.numpy(),
            size_px=batch.size_px.numpy(),
            window=batch.window,
            content=batch.content,
        )
        return draws, self._crops(batch, draws)

    def _of_encoded(self, batch: EncodedBatch) -> tuple[Float32[np.ndarray, "batch views fields"], CropBatch]:
        if not isinstance(self._crops, DaliCrops):
            raise ConfigError("only the engine dali decodes images", next_step="--set augment.engine=dali")
        size_px = canvas_sizes(batch, self._config.stream.canvas_px)
        draws = self.draw(slot=batch.slot, modality=batch.modality, size_px=size_px)
        return draws, self._crops(batch, draws)

    def ahead(self, batches: Iterable[CanvasBatch | EncodedBatch], device: torch.device) -> Iterator[ViewBatch]:
        """The views of each batch; on a GPU made on a stream of their own while the step before still computes."""
        return map(self, batches) if device.type == "cpu" else _ViewsAhead(self, iter(batches), device)


def canvas_sizes(encoded: EncodedBatch, canvas_px: int) -> Int32[np.ndarray, "batch 2"]:
    """The (height, width) that each image has on a canvas, known from its JSON before it is decoded."""
    return np.array([fitted(meta.height, meta.width, canvas_px) for meta in encoded.meta], np.int32)


class _ViewsAhead:
    """Keeps the views of one batch more than was asked for under way on a side stream."""

    def __init__(self, make: ViewMaker, batches: Iterator[CanvasBatch | EncodedBatch], device: torch.device) -> None:
        self._make = make
        self._batches = batches
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._under_way: tuple[ViewBatch, torch.cuda.Event] | None = None
        self._started = False

    def __iter__(self) -> "_ViewsAhead":
        return self

    def __next__(self) -> ViewBatch:
        if not self._started:
            self._started = True
            self._under_way = self._start_next()
        if self._under_way is None:
            raise StopIteration
        views, done = self._under_way
        compute = torch.cuda.current_stream(self._device)
        compute.wait_event(done)
        for tensor in _tensors(views.crops):
            # The side stream's allocator must not give this memory away while the step still reads it.
            tensor.record_stream(compute)
        self._under_way = self._start_next()
        return views

    def _start_next(self) -> tuple[ViewBatch, torch.cuda.Event] | None:
        with torch.cuda.stream(self._stream):
            batch = next(self._batches, None)
            if batch is None:
                return None
            views = self._make(batch)
            done = torch.cuda.Event()
            done.record(self._stream)
        return views, done


def _needs(config: RunConfig, policies: PolicyTable) -> Needs:
    """What the policies look at in canvases beyond their 8 bits."""
    aware = policies.column("foreground") * config.augment.foreground
    jittered = policies.column("window_level") + policies.column("window_width")
    content, deep = (frozenset(np.flatnonzero(column).tolist()) for column in (aware, jittered))
    return Needs(content=content, deep=deep)


def _tensors(crops: CropBatch) -> tuple[Tensor, ...]:
    return crops.global_crops, crops.local_crops, crops.modality
