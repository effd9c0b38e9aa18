"""Ours: the canvas stream of mermed over tar shards, modalities in equal shares, exact at every prefix."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mermed.config import MixConfig, StreamConfig
from mermed.stream.canvases import CanvasStream
from mermed.stream.decode import Enough
from mermed.stream.loader import Share, rank_shares
from mermed.stream.order.plan import Plan
from mermed.stream.store import open_manifest
from mermed.stream.supply import Supply
from mermed.world import World
from peers.collection import write_collection

TITLE = "ours"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
ENDLESS = 1 << 40
prepare = write_collection


class OurSource:
    """Our engine as training puts it together, as a Source; its whole state is the slots consumed.

    `batch` images for this rank of `world`, from slot `first_slot` on, read from `location` (a folder or a URL).
    """

    def __init__(
        self,
        location: str | Path,
        stream: StreamConfig,
        *,
        batch: int,
        seed: int,
        world: World,
        first_slot: int = 0,
        enough: Enough | None = None,
    ) -> None:
        plan = Plan(open_manifest(location, stream.patience_s), MixConfig(), stream, seed)

        def shares() -> Iterator[Share]:
            whole = batch * world.num_ranks
            return rank_shares(first_slot, whole, world.share(whole), ENDLESS)

        self._slots = first_slot
        self._closing = ExitStack()
        supply = self._closing.enter_context(Supply(plan, location, shares, stream))
        self._canvases = self._closing.enter_context(
            CanvasStream(
                plan,
                supply.read,
                shares(),
                batch=batch,
                canvas_px=stream.canvas_px,
                num_threads=stream.num_threads,
                io_threads=supply.io_threads,
                enough=enough,
                replace=supply.replace,
                decoded=supply.tally.spent,
                watch=supply.watch,
            )
        )
        self._closing.callback(supply.close)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for canvases in self._canvases:
            self._slots = canvases.position.slots
            yield canvases.pixels, [meta.key for meta in canvases.meta], canvases.size_px

    def state(self) -> int:
        return self._slots

    def close(self) -> None:
        self._closing.close()


def open(
    out: Path,
    *,
    batch: int,
    workers: int,
    seed: int,
    side_px: int,
    rank: int = 0,
    num_ranks: int = 1,
    state: Any = None,
    shuffle: bool = True,
    mix: bool = False,
) -> OurSource:
    """Slots from `state` on; the order is always mixed and shuffled, `mix` or not."""
    if not shuffle:
        raise NotImplementedError("the training order is always shuffled")
    stream = StreamConfig(canvas_px=side_px, num_threads=workers)
    world = World(rank=rank, num_ranks=num_ranks)
    return OurSource(out, stream, batch=batch, seed=seed, world=world, first_slot=state or 0)
