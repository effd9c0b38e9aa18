"""Repair: what can be made good from the shards themselves: indices, a lost manifest, and strays moved aside."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mermed import __version__
from mermed.contract import MANIFEST_NAME, EncodedSample, Manifest, SampleMeta, ShardRow, load_manifest
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.pack.checks.membership import Membership
from mermed.pack.checks.reindex import reindex
from mermed.pack.checks.verify import check_strays
from mermed.pack.collection.claim import CLAIM_NAME
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.collection.writer import flush_folder, write_atomically
from mermed.pack.pixels.display import to_display
from mermed.pack.pixels.encode import decode_image
from mermed.pack.pixels.moments import MomentTable, image_moments
from mermed.tar import format_index, read_sample, scan

_BINS = {"quarantined": "quarantine.csv", "excluded": "excluded.csv", "duplicates": "duplicates.csv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done: indices written again, and strays that lie elsewhere now."""

    indices: int
    strays: tuple[str, ...]


def repair(folder: Path, *, strays_to: Path | None = None) -> Repair:
    """Write lost or stale indices again and, with `strays_to`, move shards without a row into that folder.

    Nothing is ever deleted, and no shard is changed. Raises IntegrityError for a missing or changed shard: that takes a
    copy or the source. Raises ConfigError when `strays_to` lies in the collection or holds a file of that name.
    """
    manifest = load_manifest(folder)
    moved = _move_strays(folder, manifest, strays_to) if strays_to else ()
    return Repair(indices=reindex(folder), strays=moved)


def _move_strays(folder: Path, manifest: Manifest, aside: Path) -> tuple[str, ...]:
    if aside.resolve().is_relative_to(folder.resolve()):
        raise ConfigError("strays cannot be put aside inside the collection", where={"folder": aside})
    names = tuple(problem.shard for problem in check_strays(folder, manifest))
    for name in names:
        for path in (folder / name, (folder / name).with_suffix(".idx")):
            target = aside / path.relative_to(folder)
            if target.exists():
                raise ConfigError("a file of that name was put aside before", where={"file": target})
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    return names


def repair_manifest(folder: Path, *, watch: Callable[[int, int], None] = lambda done, total: None) -> Manifest:
    """Make a lost manifest.json again from the shards below `folder`, reading all of them; indices are written too.

    Shards, label spaces, constants and totals come from the samples and the CSV lists; the digests of options and the
    version that packed them are lost. A shard that is gone cannot be missed: compare the count with what you know.
    Raises ConfigError where there is a manifest or an unfinished pack, ContractError or IntegrityError, naming the
    shard, where a shard is damaged, misplaced, or shares a key or a group with another split.
    """
    names = _shards_below(folder)
    builder, members = _Builder(), Membership()
    for done, name in enumerate(names, start=1):
        row = builder.take(folder, name)
        members.take(folder / name, row)
        watch(done, len(names))
    members.check()
    manifest = builder.close(folder)
    write_atomically(folder / MANIFEST_NAME, manifest.encode())
    flush_folder(folder)
    return manifest


def _shards_below(folder: Path) -> list[str]:
    if (folder / MANIFEST_NAME).exists():
        raise ConfigError(
            "the manifest is there",
            where={"folder": folder},
            next_step="a damaged one must be moved away by hand before it is made again",
        )
    if (folder / CLAIM_NAME).exists():
        raise ConfigError(
            "an unfinished pack lies here, so its shards may not be all",
            where={"folder": folder},
            next_step="run the same pack again",
        )
    paths = sorted(path for path in folder.glob("*/*/*.tar") if not path.name.startswith("."))
    if not paths:
        raise ContractError("no shards lie here", where={"folder": folder}, expected="<modality>/<split>/*.tar")
    return [path.relative_to(folder).as_posix() for path in paths]


class _Builder:
    """Gathers from shard after shard what their manifest said."""

    def __init__(self) -> None:
        self._rows: list[ShardRow] = []
        self._classes: defaultdict[str, set[str]] = defaultdict(set)
        self._findings: defaultdict[str, set[str]] = defaultdict(set)
        self._moments: defaultdict[str, MomentTable] = defaultdict(MomentTable)

    def take(self, folder: Path, name: str) -> ShardRow:
        """Read one shard, write its index again, and add its row."""
        path = folder / name
        with ShardFile(path) as file:
            spans = scan(file.read_at, file.size, name)
            sources = set()
            for span in spans:
                sample = read_sample(file.read_at, span, name)
                sources.add((sample.meta.modality, sample.meta.dataset, sample.meta.split))
                self._note(sample, name)
            digest, size = file.sha256(), file.size
        if len(sources) != 1:
            raise ContractError(
                "a shard does not hold one source", where={"shard": name}, expected=1, found=f"{len(sources)} sources"
            )
        modality, dataset, split = sources.pop()
        if name.split("/")[:2] != [modality, split]:
            raise ContractError(
                "a shard lies in the wrong folder", where={"shard": name}, expected=f"{modality}/{split}/"
            )
        index = format_index(spans).encode("ascii")
        if not path.with_suffix(".idx").is_file() or path.with_suffix(".idx").read_bytes() != index:
            write_atomically(path.with_suffix(".idx"), index)
        row = ShardRow(
            name=name,
            modality=modality,
            dataset=dataset,
            split=split,
            samples=len(spans),
            bytes=size,
            sha256=digest,
            index_sha256=hashlib.sha256(index).hexdigest(),
        )
        self._rows.append(row)
        return row

    def _note(self, sample: EncodedSample, name: str) -> None:
        meta = sample.meta
        space = f"{meta.modality}/{meta.dataset}"
        if meta.labels.get("class"):
            self._classes[space].add(meta.labels["class"])
        self._findings[space].update(meta.labels.get("findings", {}))
        if meta.split == "train":
            self._moments[meta.modality].add(_moments(sample, meta, name))

    def close(self, folder: Path) -> Manifest:
        """The manifest of all shards taken."""
        labels: dict[str, dict[str, Any]] = {
            name: {"kind": "multi-class", "classes": sorted(classes)} for name, classes in self._classes.items()
        }
        for name, findings in self._findings.items():
            if findings:
                labels[name] = {"kind": "multi-label", "findings": sorted(findings)}
        packed = sum(row.samples for row in self._rows)
        bins = {bin: _count(folder / file) for bin, file in _BINS.items()}
        return Manifest(
            shards=tuple(self._rows),
            labels=dict(sorted(labels.items())),
            stats={modality: table.summary() for modality, table in sorted(self._moments.items())},
            totals={"inputs": packed + sum(bins.values()), "packed": packed, **bins},
            tool={"mermed": __version__, "manifest": "made again from the shards"},
        )


def _moments(sample: EncodedSample, meta: SampleMeta, shard: str) -> Any:
    try:
        return image_moments(to_display(decode_image(sample.image, sample.extension), meta))
    except IntegrityError as error:
        error.add_place(shard=shard, key=meta.key)
        raise


def _count(path: Path) -> int:
    """Inputs that one of the CSV lists accounts for; 0 where it is lost too."""
    if not path.is_file():
        return 0
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return sum(int(row.get("images") or 1) for row in csv.DictReader(file))
