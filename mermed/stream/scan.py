"""Every sample once, in manifest order: what evaluation and statistics read."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from mermed.batch import CanvasBatch, Position
from mermed.contract import ShardRow
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import Share
from mermed.stream.order.plan import Reference
from mermed.stream.reader import SampleReader
from mermed.stream.store import open_store


class ManifestOrder:
    """Slot n is the n-th sample of `rows`; `modalities` numbers the modality names."""

    def __init__(self, rows: Sequence[ShardRow], modalities: Sequence[str]) -> None:
        self._rows = tuple(rows)
        self._numbers = {name: number for number, name in enumerate(modalities)}
        self._ends = np.cumsum([row.samples for row in rows])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def batch(self, slots: range) -> list[Reference]:
        """The samples of `slots`, in manifest order."""
        references = []
        for slot in slots:
            number = int(np.searchsorted(self._ends, slot, side="right"))
            row = self._rows[number]
            first = int(self._ends[number]) - row.samples
            index = slot - first
            references.append(Reference(slot, self._numbers[row.modality], row, index, range(row.samples)))
        return references


def canvases_in_order(
    folder: Path,
    rows: Sequence[ShardRow],
    modalities: Sequence[str],
    *,
    canvas_px: int,
    batch: int = 64,
    num_threads: int = 0,
) -> Iterator[CanvasBatch]:
    """Decode the samples of `rows` in manifest order; the last batch may be smaller.

    Raises IntegrityError at the first sample whose bytes are not what was packed: nothing is left out.
    """
    order = ManifestOrder(rows, modalities)
    stops = ((start, min(start + batch, len(order))) for start in range(0, len(order), batch))
    shares = (Share(range(start, stop), Position(stop)) for start, stop in stops)
    threads = num_threads or os.cpu_count() or 1
    with (
        closing(open_store(folder)) as store,
        CanvasStream(
            order, SampleReader(store).read, shares, batch=batch, canvas_px=canvas_px, num_threads=threads
        ) as canvases,
    ):
        yield from canvases
