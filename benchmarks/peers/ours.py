"""Ours: the canvas stream of mermed over tar shards, modalities in equal shares, exact at every prefix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mermed.config import MixConfig, StreamConfig
from mermed.contract import load_manifest
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import rank_shares
from mermed.stream.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore
from mermed.world import World
from peers.collection import write_collection

TITLE = "ours"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
ENDLESS = 1 << 40
prepare = write_collection


def canvas_stream(
    out: Path, *, batch: int, workers: int, seed: int, side_px: int, world: World, first_slot: int
) -> CanvasStream:
    """The one place that knows how our engine is put together."""
    plan = Plan(load_manifest(out), MixConfig(), StreamConfig(canvas_px=side_px), seed)
    offsets = world.share(batch * world.num_ranks)
    shares = rank_shares(first_slot, batch * world.num_ranks, offsets, ENDLESS)
    return CanvasStream(
        plan, SampleReader(LocalStore(out)).read, shares, batch=batch, canvas_px=side_px, num_threads=workers
    )


class OurSource:
    """A CanvasStream as a Source; its whole state is the slots consumed."""

    def __init__(self, stream: CanvasStream, slots: int) -> None:
        self._stream = stream
        self._slots = slots

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        for canvases in self._stream:
            self._slots = canvases.position.slots
            yield canvases.pixels, [meta.key for meta in canvases.meta]

    def state(self) -> int:
        return self._slots

    def close(self) -> None:
        self._stream.close()


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
    world, first = World(rank=rank, num_ranks=num_ranks), state or 0
    stream = canvas_stream(out, batch=batch, workers=workers, seed=seed, side_px=side_px, world=world, first_slot=first)
    return OurSource(stream, first)
