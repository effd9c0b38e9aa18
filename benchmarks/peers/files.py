"""Plain image files behind torch's DataLoader with worker processes: what most training code does."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from peers.border import Opening, keyed_images, link_images
from peers.decoding import decode

TITLE = "files + DataLoader"
REQUIREMENTS = ()
SUPPORTS = frozenset({"processes", "ranks"})
prepare = link_images


class Files(Dataset):
    """Images of a folder, decoded by `decode_file`."""

    def __init__(self, folder: Path, decode_file: Callable[[Path], np.ndarray]) -> None:
        self._images = keyed_images(folder)
        self._decode_file = decode_file

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        key, path = self._images[index]
        return torch.from_numpy(self._decode_file(path)), key


class LoaderSource:
    """One pass of a torch DataLoader as a Source."""

    def __init__(self, loader: DataLoader) -> None:
        self._batches = iter(loader)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        for pixels, keys in self._batches:
            yield pixels, list(keys)

    def state(self) -> Any:
        raise NotImplementedError("a plain DataLoader has no state")

    def close(self) -> None:
        """A DataLoader stops its workers when its iterator goes."""
        self._batches = iter(())


def decode_file(path: Path, side_px: int) -> np.ndarray:
    return decode(path.read_bytes(), side_px)


def open_files(out: Path, decode_file: Callable[..., np.ndarray], asked: Opening) -> LoaderSource:
    """The loader of one epoch, in the order of torch's DistributedSampler; `decode_file` takes a path and `side_px`."""
    if asked.state is not None or asked.mix:
        raise NotImplementedError("a plain DataLoader has neither state nor mixing")
    dataset = Files(out, partial(decode_file, side_px=asked.side_px))
    sampler = DistributedSampler(
        dataset, num_replicas=asked.num_ranks, rank=asked.rank, shuffle=asked.shuffle, seed=asked.seed
    )
    return LoaderSource(DataLoader(dataset, batch_size=asked.batch, sampler=sampler, num_workers=asked.workers))


def open(out: Path, asked: Opening) -> LoaderSource:
    """One epoch; it has neither state nor mixing."""
    return open_files(out, decode_file, asked)
