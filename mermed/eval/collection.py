"""The collection that is judged on: its labelled datasets and what every sample of them says about itself."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mermed.contract import Manifest, SampleMeta, ShardRow, load_manifest
from mermed.errors import ConfigError
from mermed.stream.reader import SampleReader
from mermed.stream.scan import ManifestOrder
from mermed.stream.store import open_store

MULTI_CLASS = "multi-class"
"""The kind of a label space with one class per image."""
_READ_AHEAD = 4096


def classes_of(space: dict[str, Any]) -> tuple[str, ...]:
    """The classes of a label space with one class per image; empty for any other kind of labels."""
    return tuple(space["classes"]) if space.get("kind") == MULTI_CLASS else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The shards of `folder` whose dataset has classes, and the metadata of their samples in manifest order."""

    folder: Path
    manifest: Manifest
    rows: tuple[ShardRow, ...]
    metas: tuple[SampleMeta, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of `rows`, sorted."""
        return tuple(sorted({row.modality for row in self.rows}))


def open_collection(folder: Path, num_threads: int = 0) -> Collection:
    """Read the manifest and, once, the labels of every sample in a dataset with classes; nothing is decoded.

    Raises ContractError without a manifest, IntegrityError where bytes changed since packing, ConfigError when no
    dataset has labels.
    """
    manifest = load_manifest(folder)
    labelled = {name for name, space in manifest.labels.items() if classes_of(space)}
    rows = tuple(row for row in manifest.shards if f"{row.modality}/{row.dataset}" in labelled)
    if not rows:
        raise ConfigError(
            "nothing to evaluate on: no dataset of the collection has classes",
            where={"folder": folder},
            expected="a dataset whose labels.csv fills the column label",
            found=f"{len(manifest.shards)} shards without",
        )
    return Collection(
        folder=folder, manifest=manifest, rows=rows, metas=_read_metas(folder, manifest, rows, num_threads)
    )


def _read_metas(
    folder: Path, manifest: Manifest, rows: tuple[ShardRow, ...], num_threads: int
) -> tuple[SampleMeta, ...]:
    order = ManifestOrder(rows, manifest.modalities)
    metas: list[SampleMeta] = []
    with closing(open_store(folder)) as store, ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        reader = SampleReader(store)
        for start in range(0, len(order), _READ_AHEAD):
            references = order.batch(range(start, min(start + _READ_AHEAD, len(order))))
            metas.extend(pool.map(lambda reference: reader.read(reference).meta, references))
    return tuple(metas)
