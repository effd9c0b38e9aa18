"""webdataset as its documentation runs it: shards split over worker processes, a shuffle buffer, batches in workers."""

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds

from peers.border import Opening, keyed_images
from peers.decoding import decode

TITLE = "webdataset + DataLoader"
REQUIREMENTS = ("webdataset==1.0.2",)
SUPPORTS = frozenset({"processes", "ranks", "mix", "endless"})
SHARD_BYTES, SHARD_SAMPLES = 8_000_000, 32
BUFFER_SAMPLES = 1000


def prepare(images: Path, out: Path) -> None:
    """Shards of one modality each, a folder per modality, so that they can be mixed."""
    by_modality = itertools.groupby(keyed_images(images), lambda entry: entry[0].partition("-")[0])
    for modality, entries in by_modality:
        (out / modality).mkdir(parents=True)
        pattern = str(out / modality / "%06d.tar")
        with wds.ShardWriter(pattern, maxsize=SHARD_BYTES, maxcount=SHARD_SAMPLES, verbose=0) as writer:
            for key, path in entries:
                writer.write({"__key__": key, "jpg": path.read_bytes()})


class WebSource:
    """A WebLoader as a Source."""

    def __init__(self, loader: "wds.WebLoader") -> None:
        self._batches = iter(loader)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        for pixels, keys in self._batches:
            yield pixels, list(keys)

    def state(self) -> Any:
        raise NotImplementedError("webdataset has no state")

    def close(self) -> None:
        """The DataLoader below stops its workers when its iterator goes."""
        self._batches = iter(())


def of_rank(shards: Iterable[Any], *, rank: int, num_ranks: int) -> Iterator[Any]:
    """What `wds.split_by_node` does, for a rank that is told rather than found in the environment."""
    return itertools.islice(shards, rank, None, num_ranks)


def decoded(sample: dict[str, Any], *, side_px: int) -> tuple[np.ndarray, str]:
    return decode(sample["jpg"], side_px), sample["__key__"]


def samples(urls: list[str], *, seed: int, rank: int, num_ranks: int, shuffle: bool) -> "wds.WebDataset":
    """Encoded samples without an end, in webdataset's reproducible shuffle."""
    dataset = wds.WebDataset(
        urls,
        repeat=True,
        shardshuffle=len(urls) if shuffle else False,
        detshuffle=True,
        seed=seed,
        nodesplitter=partial(of_rank, rank=rank, num_ranks=num_ranks),
        empty_check=False,
    )
    return dataset.compose(wds.detshuffle(BUFFER_SAMPLES, seed=seed)) if shuffle else dataset


def open(out: Path, asked: Opening) -> WebSource:
    """Endless batches; mixed, every sample's modality is drawn by chance (`RandomMix`)."""
    if asked.state is not None:
        raise NotImplementedError("webdataset has no state")
    ordering = partial(samples, seed=asked.seed, rank=asked.rank, num_ranks=asked.num_ranks, shuffle=asked.shuffle)
    if asked.mix:
        folders = sorted(path for path in out.iterdir() if path.is_dir())
        each = [ordering([str(path) for path in sorted(folder.glob("*.tar"))]) for folder in folders]
        source = wds.DataPipeline(wds.RandomMix(each))
    else:
        source = wds.DataPipeline(ordering([str(path) for path in sorted(out.glob("*/*.tar"))]))
    dataset = source.compose(wds.map(partial(decoded, side_px=asked.side_px)), wds.batched(asked.batch))
    return WebSource(wds.WebLoader(dataset, batch_size=None, num_workers=asked.workers))
