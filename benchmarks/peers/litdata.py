"""LitData: its chunks, its shuffle, its streaming loader with worker processes; elastic for one dataset."""

import itertools
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from litdata import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset
from litdata.streaming.cache import Cache

from peers.border import Opening, keyed_images
from peers.decoding import decode
from peers.epochs import EpochsSource

TITLE = "LitData"
REQUIREMENTS = ("litdata==0.2.76",)
SUPPORTS = frozenset({"processes", "ranks", "state", "mix", "endless"})
CHUNK_BYTES, CHUNK_SAMPLES = 8_000_000, 64


def prepare(images: Path, out: Path) -> None:
    """Chunks of all modalities in `all`, and a folder of chunks per modality for mixing."""
    entries = keyed_images(images)
    write_chunks(entries, out / "all")
    for modality, group in itertools.groupby(entries, lambda entry: entry[0].partition("-")[0]):
        write_chunks(list(group), out / "each" / modality)


def write_chunks(entries: list[tuple[str, Path]], folder: Path) -> None:
    """Chunks of about 8 MB, and of at most 64 samples so that a small set has enough of them to share out."""
    folder.mkdir(parents=True)
    size = sum(path.stat().st_size for _, path in entries) / len(entries)
    cache = Cache(str(folder), chunk_size=max(1, min(CHUNK_SAMPLES, int(CHUNK_BYTES / size))))
    for number, (key, path) in enumerate(entries):
        cache[number] = {"key": key, "jpg": path.read_bytes()}
    cache.done()
    cache.merge()


def stacked(samples: list[dict[str, Any]], *, side_px: int) -> tuple[torch.Tensor, list[str]]:
    pixels = np.empty((len(samples), side_px, side_px, 3), np.uint8)
    for row, sample in enumerate(samples):
        pixels[row] = decode(sample["jpg"], side_px)
    return torch.from_numpy(pixels), [sample["key"] for sample in samples]


def tell_world(rank: int, num_ranks: int) -> None:
    """Say in the environment which rank this is, as a launcher would."""
    os.environ.update(WORLD_SIZE=str(num_ranks), GLOBAL_RANK=str(rank))


def open(out: Path, asked: Opening) -> EpochsSource:
    """Endless epochs; mixed, every sample's dataset is drawn by chance until one of them ends the epoch."""
    tell_world(asked.rank, asked.num_ranks)
    # its default of drop_last differs between one rank and several, and a state is refused when it does
    one = partial(StreamingDataset, shuffle=asked.shuffle, seed=asked.seed, drop_last=False)
    if asked.mix:
        each = [one(str(folder)) for folder in sorted((out / "each").iterdir())]
        weights = [1 / len(each)] * len(each)
        dataset: Any = CombinedStreamingDataset(each, seed=asked.seed, weights=weights, iterate_over_all=False)
    else:
        dataset = one(str(out / "all"))
    collate = partial(stacked, side_px=asked.side_px)
    return EpochsSource(
        StreamingDataLoader(dataset, batch_size=asked.batch, num_workers=asked.workers, collate_fn=collate), asked.state
    )
