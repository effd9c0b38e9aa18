"""MosaicML Streaming: MDS shards, its own shuffle and stratified batches, worker processes; elastic over ranks."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset

from peers.border import Opening, keyed_images
from peers.decoding import decode
from peers.epochs import EpochsSource

TITLE = "MosaicML Streaming"
REQUIREMENTS = ("mosaicml-streaming==0.13.0",)
SUPPORTS = frozenset({"processes", "ranks", "state", "mix", "endless"})
SHARD_BYTES = "8mb"


def prepare(images: Path, out: Path) -> None:
    """One stream of MDS shards per modality."""
    by_modality = itertools.groupby(keyed_images(images), lambda entry: entry[0].partition("-")[0])
    for modality, entries in by_modality:
        columns = {"key": "str", "jpg": "bytes"}
        with MDSWriter(out=str(out / modality), columns=columns, size_limit=SHARD_BYTES) as writer:
            for key, path in entries:
                writer.write({"key": key, "jpg": path.read_bytes()})


class Decoded(StreamingDataset):
    """Its dataset, with the decoding that every contestant does."""

    def __init__(self, side_px: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._side_px = side_px

    def __getitem__(self, at: int) -> tuple[np.ndarray, str]:
        sample = super().__getitem__(at)
        return decode(sample["jpg"], self._side_px), sample["key"]


def stacked(samples: list[tuple[np.ndarray, str]]) -> tuple[torch.Tensor, list[str]]:
    pixels = np.stack([pixels for pixels, _ in samples])
    return torch.from_numpy(pixels), [key for _, key in samples]


def tell_world(rank: int, num_ranks: int) -> None:
    """Say in the environment which rank this is, as a launcher would; all ranks must then start together.

    They meet at MASTER_PORT, which whoever starts them chooses.
    """
    world = {"RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": num_ranks}
    os.environ.update({name: str(value) for name, value in world.items()}, MASTER_ADDR="127.0.0.1")


def open(out: Path, asked: Opening) -> EpochsSource:
    """Endless epochs; mixed, every global batch holds its share of every stream (`stratified`)."""
    tell_world(asked.rank, asked.num_ranks)
    folders = sorted(path for path in out.iterdir() if path.is_dir())
    dataset = Decoded(
        asked.side_px,
        streams=[Stream(local=str(folder), proportion=1 / len(folders) if asked.mix else None) for folder in folders],
        batch_size=asked.batch,
        shuffle=asked.shuffle,
        shuffle_seed=asked.seed,
        batching_method="stratified" if asked.mix else "random",
    )
    loader = StreamingDataLoader(dataset, batch_size=asked.batch, num_workers=asked.workers, collate_fn=stacked)
    return EpochsSource(loader, asked.state)
