"""Loaders started on an index without data behind it: what it costs to know the first batch of very many rows.

Each takes the loader's own route from its index to the samples of its first batch and stops before it would read one.
Libraries are imported where they are used: in the child process that has them.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH, PER_SHARD, SIDE_PX, SEED = 56, 1000, 32, 0
SAMPLE_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Planned:
    """`prepare(rows, folder)` writes the index, not measured; `start` goes from what it returns to the first batch."""

    prepare: Callable[[int, Path], Any]
    start: Callable[[Any], Any]
    of: str
    """What the start is a start of, for the table."""


def _manifest(rows: int, folder: Path) -> Path:
    from peers.images import MODALITIES

    from mermed.contract import MANIFEST_NAME, Manifest, ShardRow

    each = rows // PER_SHARD // len(MODALITIES) + 1
    shards = tuple(
        ShardRow(
            name=f"{modality}/train/{modality}-train-{number:06d}.tar",
            modality=modality,
            dataset="bench",
            split="train",
            samples=PER_SHARD,
            bytes=PER_SHARD * SAMPLE_BYTES,
            sha256="0" * 64,
            index_sha256="0" * 64,
        )
        for modality in MODALITIES
        for number in range(each)
    )
    folder.mkdir(parents=True)
    (folder / MANIFEST_NAME).write_bytes(Manifest(shards=shards).encode())
    return folder


def _ours(folder: Path) -> Any:
    from mermed.config import MixConfig, StreamConfig
    from mermed.stream.order.plan import Plan
    from mermed.stream.store import LocalStore, read_manifest

    plan = Plan(read_manifest(LocalStore(folder)), MixConfig(), StreamConfig(), SEED)
    return plan, plan.batch(range(BATCH))


def _mds_index(rows: int, folder: Path) -> Path:
    described = {
        "column_encodings": ["bytes", "str"],
        "column_names": ["jpg", "key"],
        "column_sizes": [None, None],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "samples": PER_SHARD,
        "size_limit": 1 << 26,
        "version": 2,
        "zip_data": None,
    }
    files = ({"basename": f"shard.{number:06d}.mds", "bytes": 1 << 20, "hashes": {}} for number in itertools.count())
    shards = [{**described, "raw_data": next(files)} for _ in range(rows // PER_SHARD)]
    folder.mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps({"shards": shards, "version": 2}), "utf-8")
    return folder


def _mosaicml(folder: Path) -> Any:
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder), batch_size=BATCH, shuffle=True, shuffle_seed=SEED)
    # what its iterator does before it reads
    dataset._unique_worker_world = dataset._unique_rank_world.detect_workers()
    dataset._parallel_worker_world = dataset._parallel_rank_world.detect_workers()
    epoch, sample = dataset._resume_incr_epoch()
    return dataset, dataset._get_work(epoch, sample)[:BATCH]


def _chunk_index(rows: int, folder: Path) -> Path:
    """The index of a real set of chunks with its list of chunks made long."""
    from peers import litdata

    image = folder.parent / "one.jpg"
    folder.mkdir(parents=True)
    image.write_bytes(b"0" * SAMPLE_BYTES)
    litdata.write_chunks([("cfp-000000", image)], folder / "chunks")
    index = folder / "chunks" / "index.json"
    described = json.loads(index.read_text("utf-8"))
    chunk = {**described["chunks"][0], "chunk_size": PER_SHARD, "chunk_bytes": PER_SHARD * SAMPLE_BYTES}
    described["chunks"] = [{**chunk, "filename": f"chunk-0-{number}.bin"} for number in range(rows // PER_SHARD)]
    index.write_text(json.dumps(described), "utf-8")
    return folder / "chunks"


def _litdata(folder: Path) -> Any:
    from litdata import StreamingDataset

    dataset = StreamingDataset(str(folder), shuffle=True, seed=SEED)
    dataset.set_batch_size(BATCH)
    return dataset, iter(dataset)


def _rows(rows: int, _: Path) -> range:
    return range(rows)


def _grain(rows: range) -> Any:
    from peers import grain

    order = grain.order(rows, seed=SEED, shuffle=True, mix=False)  # type: ignore[arg-type]
    return order, [order[number] for number in range(BATCH)]


def _torchdata(rows: range) -> Any:
    from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

    numbers = iter(StatefulDistributedSampler(rows, num_replicas=1, rank=0, shuffle=True, seed=SEED))  # type: ignore[arg-type]
    return numbers, list(itertools.islice(numbers, BATCH))


def _files(rows: range) -> Any:
    from torch.utils.data import DistributedSampler

    paths = [f"cfp-{number:09d}.jpg" for number in rows]
    numbers = iter(DistributedSampler(paths, num_replicas=1, rank=0, shuffle=True, seed=SEED))  # type: ignore[arg-type]
    return paths, numbers, list(itertools.islice(numbers, BATCH))


def _spdl(rows: range) -> Any:
    from spdl.source import DistributedRandomSampler
    from spdl.source.utils import repeat_source

    paths = [f"cfp-{number:09d}.jpg" for number in rows]
    numbers = repeat_source(DistributedRandomSampler(len(paths), rank=0, world_size=1))
    return paths, numbers, list(itertools.islice(numbers, BATCH))


PLANNED: dict[str, Planned] = {
    "ours": Planned(_manifest, _ours, "manifest and first batch planned"),
    "mosaicml": Planned(_mds_index, _mosaicml, "index and order of the epoch"),
    "litdata": Planned(_chunk_index, _litdata, "index and chunks of the worker"),
    "grain": Planned(_rows, _grain, "order alone: it has no index of its own"),
    "torchdata_nodes": Planned(_rows, _torchdata, "order alone: it has no index of its own"),
    "files": Planned(_rows, _files, "list of paths and order; no file is looked up"),
    "files_pil": Planned(_rows, _files, "list of paths and order; no file is looked up"),
    "spdl": Planned(_rows, _spdl, "list of paths and order; no file is looked up"),
}
NOT_STARTED = {
    "webdataset": "not run: it has no index, and reads whole shards to find samples",
    "energon": "not run: its index is a database of every sample, made by reading the data",
    "dali": "not run: its reader opens the files while it is built",
}
"""Loaders that cannot be started without data, and why."""
