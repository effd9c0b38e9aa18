"""Batches to the views a step trains on: drawn on the host, made by the run's engine, on a GPU one batch ahead."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64
from torch import Tensor

from mermed.augment.draw import draw_views, policy_table
from mermed.augment.engine import build_crops
from mermed.batch import CanvasBatch, CropBatch, ViewBatch
from mermed.config import RunConfig
from mermed.train.run import RunData


class ViewMaker:
    """Draws and makes the views of any batch of a run; a slot has the same views whatever batch it is in."""

    def __init__(self, config: RunConfig, data: RunData, device: torch.device, *, num_threads: int = 1) -> None:
        self._config = config
        self.policies = policy_table(config.augment.policy, data.manifest.modalities)
        self._crops = build_crops(
            config.augment, self.policies, data.normalisation, config.stream.canvas_px, device, num_threads=num_threads
        )

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
            slot=slot,
            modality=modality,
            size_px=size_px,
            num_global=self._config.augment.num_global,
            num_local=self._config.augment.num_local,
        )

    def __call__(self, batch: CanvasBatch) -> ViewBatch:
        """The views of a batch, on the engine's device."""
        draws = self.draw(
            slot=batch.slot,
            modality=batch.modality.numpy(),
            size_px=batch.size_px.numpy(),
            window=batch.window,
            content=batch.content,
        )
        crops = self._crops(batch, draws)
        return ViewBatch(crops=crops, draws=draws, slot=batch.slot, meta=batch.meta, position=batch.position)

    def ahead(self, batches: Iterable[CanvasBatch], device: torch.device) -> Iterator[ViewBatch]:
        """The views of each batch; on a GPU made on a stream of their own while the step before still computes."""
        return map(self, batches) if device.type == "cpu" else _ViewsAhead(self, iter(batches), device)


class _ViewsAhead:
    """Keeps the views of one batch more than was asked for under way on a side stream."""

    def __init__(self, make: ViewMaker, batches: Iterator[CanvasBatch], device: torch.device) -> None:
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


def _tensors(crops: CropBatch) -> tuple[Tensor, ...]:
    return crops.global_crops, crops.local_crops, crops.modality
