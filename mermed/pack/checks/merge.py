"""Merge: several finished collections into one, without decoding: shards are linked or copied and get new numbers."""

import csv
import math
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mermed.contract import MANIFEST_NAME, Manifest, ShardRow, load_manifest
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.pack.checks.membership import Membership
from mermed.pack.collection.claim import claim
from mermed.pack.collection.depot import LocalDepot
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.collection.writer import TEMPORARY_PREFIX, flush_folder, write_atomically

TOTALS = ("inputs", "packed", "duplicates", "excluded", "quarantined")
_LISTS = {
    "splits.csv": ("key", "split", "group", "modality", "dataset", "label", "pixels", "perceptual"),
    "quarantine.csv": ("file", "reason", "detail", "images"),
    "excluded.csv": ("file", "reason", "detail", "images"),
    "duplicates.csv": ("file", "reason", "detail", "images"),
}


@dataclass(frozen=True, slots=True)
class _Move:
    """One shard: the folder and the row it comes from, and the row it gets."""

    folder: Path
    source: ShardRow
    row: ShardRow


def merge(
    out: Path, folders: Sequence[Path], *, watch: Callable[[int, int], None] = lambda done, total: None
) -> Manifest:
    """Join the collections in `folders` into the new folder `out`; the manifest is written last.

    Shards keep their bytes; their sha256, seals, keys and groups are checked on the way (`watch` is called with shards
    done and all). Raises ConfigError for folders that make no sense, ContractError when a key occurs twice, a group
    stands in two splits or label spaces contradict each other, IntegrityError for a shard that is not as it was packed.
    """
    _check_folders(out, folders)
    manifests = [load_manifest(folder) for folder in folders]
    moves = _renumber(folders, manifests)
    merged = Manifest(
        shards=tuple(sorted((move.row for move in moves), key=lambda row: row.name)),
        labels=_merge_labels(manifests),
        recipes=_merge_recipes(manifests),
        stats=_merge_stats(manifests),
        totals={name: sum(manifest.totals.get(name, 0) for manifest in manifests) for name in TOTALS},
        tool=manifests[0].tool,
    )
    with claim(LocalDepot(out)):
        members = Membership()
        for done, move in enumerate(moves, start=1):
            members.take(move.folder / move.source.name, move.source)
            watch(done, len(moves))
        members.check()
        _remove_others(out, merged)
        for move in moves:
            _place(move, out)
        for name, columns in _LISTS.items():
            _merge_list(out, folders, name, columns)
        write_atomically(out / MANIFEST_NAME, merged.encode())
    return merged


def _check_folders(out: Path, folders: Sequence[Path]) -> None:
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) != len(resolved) or out.resolve() in resolved:
        raise ConfigError("a collection is named twice", expected="different folders, none of them the output")
    if (out / MANIFEST_NAME).exists():
        raise ConfigError(
            "the output folder holds a finished collection",
            where={"folder": out},
            expected="no such folder, or an empty one",
            next_step="choose another OUT, and name this one among the inputs if you want it in",
        )


def _renumber(folders: Sequence[Path], manifests: Sequence[Manifest]) -> list[_Move]:
    """Every shard with its new name: numbered per modality and split over datasets in sorted order."""
    found = [(folder, row) for folder, manifest in zip(folders, manifests, strict=True) for row in manifest.shards]
    found.sort(key=lambda entry: (entry[1].modality, entry[1].split, entry[1].dataset))
    numbers: Counter[tuple[str, str]] = Counter()
    moves = []
    for folder, row in found:
        place = row.modality, row.split
        name = f"{row.modality}/{row.split}/{row.modality}-{row.split}-{numbers[place]:06d}.tar"
        numbers[place] += 1
        moves.append(_Move(folder, row, replace(row, name=name)))
    return moves


def _merge_labels(manifests: Sequence[Manifest]) -> dict[str, dict[str, Any]]:
    """The union of the label spaces of each dataset; raises ContractError when their kinds differ."""
    merged: dict[str, dict[str, Any]] = {}
    for name, space in (entry for manifest in manifests for entry in sorted(manifest.labels.items())):
        known = merged.setdefault(name, dict(space))
        if known.get("kind") != space.get("kind"):
            raise ContractError(
                "the collections label one dataset in two ways",
                where={"dataset": name},
                expected=known.get("kind"),
                found=space.get("kind"),
                next_step="pack one of them again under another dataset name",
            )
        for entry, values in space.items():
            if isinstance(values, list):
                known[entry] = sorted({*known.get(entry, []), *values})
    return dict(sorted(merged.items()))


def _merge_recipes(manifests: Sequence[Manifest]) -> dict[str, str]:
    """All digests by name; a name whose digests differ gets the beginning of each behind it."""
    digests: defaultdict[str, set[str]] = defaultdict(set)
    for manifest in manifests:
        for name, digest in manifest.recipes.items():
            digests[name].add(digest)
    return {
        name if len(of_name) == 1 else f"{name}@{digest[:8]}": digest
        for name, of_name in sorted(digests.items())
        for digest in sorted(of_name)
    }


def _merge_stats(manifests: Sequence[Manifest]) -> dict[str, dict[str, Any]]:
    """Mean and deviation of the union, each image counting once.

    Exact in real numbers: a part's sums follow from its mean, deviation and count. In floats the last digits may differ
    from those of one pack of everything.
    """
    parts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for manifest in manifests:
        for modality, part in manifest.stats.items():
            if part["images"]:
                parts[modality].append(part)
    return {modality: _pool(of_modality) for modality, of_modality in sorted(parts.items())}


def _pool(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) == 1:
        return parts[0]
    images = sum(part["images"] for part in parts)
    mean, std = [], []
    for channel in range(3):
        values = [(part["images"], part["mean"][channel], part["std"][channel]) for part in parts]
        first = math.fsum(count * m for count, m, _ in values) / images
        second = math.fsum(count * (s * s + m * m) for count, m, s in values) / images
        mean.append(first)
        std.append(math.sqrt(max(second - first * first, 0.0)))
    return {"mean": mean, "std": std, "images": images}


def _remove_others(out: Path, merged: Manifest) -> None:
    """Delete shards that an earlier merge, which died here, would have had; the claim keeps all other files out."""
    wanted = {name for row in merged.shards for name in (row.name, row.index_name)}
    for path in [*out.rglob("*.tar"), *out.rglob("*.idx")]:
        if path.relative_to(out).as_posix() not in wanted:
            path.unlink()


def _place(move: _Move, out: Path) -> None:
    """Link a shard and its index under the new name, or copy them where links are not possible."""
    for source, name in ((move.source.name, move.row.name), (move.source.index_name, move.row.index_name)):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(TEMPORARY_PREFIX + target.name)
        temporary.unlink(missing_ok=True)
        try:
            os.link(move.folder / source, temporary)
        except OSError:
            shutil.copyfile(move.folder / source, temporary)
            _check_copy(temporary, move)
        temporary.replace(target)
    flush_folder((out / move.row.name).parent)


def _check_copy(path: Path, move: _Move) -> None:
    """Raise IntegrityError when a copy is not what its row says."""
    with ShardFile(path) as file:
        if file.sha256() not in (move.row.sha256, move.row.index_sha256):
            raise IntegrityError(
                "a shard changed while it was copied",
                where={"shard": move.source.name, "collection": move.folder},
                next_step="check the disk, then run the same command again",
            )


def _merge_list(out: Path, folders: Sequence[Path], name: str, columns: tuple[str, ...]) -> None:
    """Join one of the CSV lists; a column that a collection lacks stays empty."""
    temporary = out / (TEMPORARY_PREFIX + name)
    with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for folder in folders:
            writer.writerows(_read_list(folder / name))
    temporary.replace(out / name)


def _read_list(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield from csv.DictReader(file)
