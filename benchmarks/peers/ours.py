"""Ours: the canvas stream of mermed over tar shards, modalities in equal shares, exact at every prefix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mermed.config import MixConfig, StreamConfig
from mermed.contract import MANIFEST_NAME, EncodedSample, Manifest, SampleMeta, load_manifest
from mermed.pack.collection.writer import ShardWriter
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import rank_shares
from mermed.stream.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore
from mermed.world import World
from peers.border import keyed_images

TITLE = "ours"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
SHARD_BYTES = 1 << 26
ENDLESS = 1 << 40


def prepare(images: Path, out: Path) -> None:
    """Tar shards with indexes and a manifest, by the writer of the packer."""
    out.mkdir(parents=True, exist_ok=True)
    writers: dict[str, ShardWriter] = {}
    for key, path in keyed_images(images):
        modality = key.partition("-")[0]
        if modality not in writers:
            writers[modality] = ShardWriter(
                folder=out, modality=modality, dataset="bench", split="train", shard_bytes=SHARD_BYTES
            )
        width, height = Image.open(path).size
        meta = SampleMeta(
            key=key,
            modality=modality,
            dataset="bench",
            split="train",
            group=key,
            width=width,
            height=height,
            source_bits=8,
        )
        writers[modality].add(EncodedSample(meta, path.read_bytes(), "jpg"))
    rows = []
    for writer in writers.values():
        writer.close()
        rows += writer.rows
    (out / MANIFEST_NAME).write_bytes(Manifest(shards=tuple(rows)).encode())


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
