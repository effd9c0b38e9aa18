"""What a rank trains on: batches on its device from where the run stands, and what is known of how they came."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from rich.console import Console

from mermed.augment.detail import enough_px
from mermed.batch import CanvasBatch, EncodedBatch, ViewBatch
from mermed.config import RunConfig
from mermed.stream.canvases import CanvasStream
from mermed.stream.encoded import EncodedStream
from mermed.stream.handover import CudaCopier, Handover
from mermed.stream.loader import Share, rank_shares
from mermed.stream.meters.ledger import Tally
from mermed.stream.meters.teller import StallTeller
from mermed.stream.meters.timeline import StallMeter
from mermed.stream.meters.watch import Watch
from mermed.stream.supply import Supply, decode_threads
from mermed.train.run import RunData
from mermed.train.view_maker import ViewMaker, canvas_sizes
from mermed.world import World


class Intake:
    """Iterate it for batches; `waiting` goes around each wait for one, `tally` is told what was trained on."""

    def __init__(
        self, batches: Iterator[ViewBatch], images: CanvasStream | EncodedStream, supply: Supply, teller: StallTeller
    ) -> None:
        self._batches = batches
        self._images = images
        self._teller = teller
        self.watch: Watch = supply.watch
        self.tally: Tally = supply.tally
        self.stalls: StallMeter = images.stalls

    def __iter__(self) -> "Intake":
        return self

    def __next__(self) -> ViewBatch:
        with self._teller.waiting():
            return next(self._batches)

    def queues(self) -> dict[str, float]:
        """Waits and occupancy of the queues since the stream began."""
        return self._images.stats()


@contextmanager
def open_intake(
    config: RunConfig,
    data: RunData,
    world: World,
    device: torch.device,
    console: Console,
    *,
    first_slot: int,
    num_batches: int,
    ledger: Mapping[str, Mapping[str, int | float]],
    run: Path,
) -> Iterator[Intake]:
    """The intake of this rank for `num_batches` global batches from `first_slot` on; its threads end with the block.

    `ledger` is that of the checkpoint the run goes on from. Failures are journalled in the folder `run`.
    """
    offsets = world.share(config.train.batch)
    num_threads = decode_threads(config.stream, world.ranks_per_node)
    views = ViewMaker(config, data, device, num_threads=num_threads)

    def shares() -> Generator[Share]:
        return rank_shares(first_slot, config.train.batch, offsets, num_batches)

    def tell(text: str) -> None:
        console.print(f"rank {world.rank}: {text}" if world.num_ranks > 1 else text, markup=False, soft_wrap=True)

    with ExitStack() as stack:
        supply = stack.enter_context(
            Supply(
                data.plan,
                data.shards,
                shares,
                config.stream,
                run=run,
                rank=world.rank,
                tombstones=data.tombstones,
            )
        )
        if ledger:
            supply.tally.load_state_dict(ledger)
        images: CanvasStream | EncodedStream
        batches: Iterator[CanvasBatch | EncodedBatch]
        if views.takes_encoded:
            batches = images = EncodedStream(stack.enter_context(supply.encoded(num_threads=num_threads)))
        else:
            batches = images = stack.enter_context(
                supply.canvases(
                    batch=len(offsets),
                    num_threads=num_threads,
                    pin=device.type == "cuda",
                    enough=_enough(config, views) if config.stream.scaled_decode else None,
                    needs=views.needs,
                    device=device.index if device.type == "cuda" else None,
                )
            )
            if device.type == "cuda":
                batches = Handover(images, CudaCopier(device), supply.watch, images.stalls)
        teller = stack.enter_context(StallTeller(tell, supply.watch, images.queues))
        yield Intake(views.ahead(batches, device), images, supply, teller)


def _enough(config: RunConfig, views: ViewMaker) -> Callable[[EncodedBatch], Int64[np.ndarray, " batch"]]:
    """How large each image need be on its canvas for the views that its slot draws."""
    augment, canvas_px = config.augment, config.stream.canvas_px
    aware = list(views.needs.content)

    def enough(encoded: EncodedBatch) -> Int64[np.ndarray, " batch"]:
        size_px = canvas_sizes(encoded, canvas_px)
        longest = size_px.max(axis=1).astype(np.int64)
        # Half of it must still hold a global view, or no reduction by the decoder comes into question. Which crops are
        # taken by what they show is known only once they are decoded: those images are kept whole.
        is_drawn = ~np.isin(encoded.modality, aware)
        large = np.flatnonzero(is_drawn & (longest >= 2 * augment.global_px))
        if not len(large):
            return longest
        draws = views.draw(slot=encoded.slot[large], modality=encoded.modality[large], size_px=size_px[large])
        longest[large] = enough_px(
            draws, num_global=augment.num_global, global_px=augment.global_px, local_px=augment.local_px
        )
        return longest

    return enough
