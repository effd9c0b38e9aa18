"""The contact sheet of a run's views: the first image of each modality from a given slot on."""

from contextlib import closing
from pathlib import Path

import torch

from mermed.augment.sheet import write_sheet
from mermed.batch import CanvasBatch, Position
from mermed.config import RunConfig
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import Share
from mermed.stream.order.plan import Plan, Reference
from mermed.stream.reader import SampleReader
from mermed.stream.store import open_store
from mermed.train.run import RunData, open_data
from mermed.train.view_maker import ViewMaker

_SEARCHED_SLOTS = 1 << 16


class _FirstOfEach:
    """An order of one sample per modality: the first that the plan draws from `slot` on."""

    def __init__(self, plan: Plan, slot: int) -> None:
        found: dict[int, Reference] = {}
        for start in range(slot, slot + _SEARCHED_SLOTS, 256):
            for reference in plan.batch(range(start, start + 256)):
                found.setdefault(reference.modality, reference)
            if len(found) == len(plan.drawn_modalities):
                break
        self.references = [found[number] for number in sorted(found)]

    def batch(self, slots: range) -> list[Reference]:
        """All of them; there is only one batch."""
        return self.references[slots.start : slots.stop]


def write_views(config: RunConfig, shards: str | Path, out: Path, slot: int = 0) -> None:
    """Write the views of one image per modality as a PNG, with the parameters each view was made with."""
    data = open_data(config, shards)
    order = _FirstOfEach(data.plan, slot)
    count = len(order.references)
    share = Share(range(count), Position(count))
    stream = config.stream
    with (
        closing(open_store(shards, patience_s=stream.patience_s, client=stream.store_client)) as store,
        CanvasStream(
            order, SampleReader(store).read, [share], batch=count, canvas_px=stream.canvas_px, num_threads=count
        ) as canvases,
    ):
        _write(config, data, next(canvases), out)


def _write(config: RunConfig, data: RunData, canvases: CanvasBatch, out: Path) -> None:
    views = ViewMaker(config, data, torch.device("cpu"))(canvases)
    write_sheet(
        out,
        canvases,
        views.draws,
        views.crops,
        modalities=data.manifest.modalities,
        normalisation=data.normalisation,
        title=f"policy {config.augment.policy}, {config.preset}, seed {config.seed}",
    )
