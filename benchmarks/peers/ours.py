"""Ours: the canvas stream of mermed over tar shards, modalities in equal shares, exact at every prefix."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mermed.config import MixConfig, StreamConfig
from mermed.stream.decode import Enough
from mermed.stream.loader import Share, rank_shares
from mermed.stream.order.plan import Plan
from mermed.stream.store import open_manifest
from mermed.stream.supply import Supply
from mermed.world import World
from peers.border import Opening
from peers.collection import write_collection

TITLE = "ours"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
ENDLESS = 1 << 40
prepare = write_collection


class OurSource:
    """Our engine as training puts it together, as a Source; its whole state is the slots consumed.

    `location` is a folder or a URL; the canvas and the threads are those of `stream`, all else is as `asked`.
    """

    def __init__(
        self,
        location: str | Path,
        stream: StreamConfig,
        asked: Opening,
        *,
        enough: Enough | None = None,
    ) -> None:
        plan = Plan(open_manifest(location, stream.patience_s), MixConfig(), stream, asked.seed)
        world = World(rank=asked.rank, num_ranks=asked.num_ranks)
        self._slots = first_slot = asked.state or 0

        def shares() -> Iterator[Share]:
            whole = asked.batch * world.num_ranks
            return rank_shares(first_slot, whole, world.share(whole), ENDLESS)

        self._closing = ExitStack()
        supply = self._closing.enter_context(Supply(plan, location, shares, stream))
        self._canvases = self._closing.enter_context(
            supply.canvases(batch=asked.batch, num_threads=stream.num_threads, enough=enough)
        )

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for canvases in self._canvases:
            self._slots = canvases.position.slots
            yield canvases.pixels, [meta.key for meta in canvases.meta], canvases.size_px

    def state(self) -> int:
        return self._slots

    def close(self) -> None:
        self._closing.close()


def open(out: Path, asked: Opening) -> OurSource:
    """Slots from `state` on; the order is always mixed and shuffled, `mix` or not."""
    if not asked.shuffle:
        raise NotImplementedError("the training order is always shuffled")
    stream = StreamConfig(canvas_px=asked.side_px, num_threads=asked.workers)
    return OurSource(out, stream, asked)
