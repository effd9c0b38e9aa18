"""Adopt whole: shards that keep our contract already become a collection as they are, linked or copied to the byte."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mermed.contract import MANIFEST_NAME, Manifest
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.pack.checks.foreign import expand, local_copy, shown
from mermed.pack.checks.repair import repair_manifest
from mermed.pack.collection.claim import claim
from mermed.pack.collection.depot import LocalDepot
from mermed.pack.collection.shard_file import ShardFile
from mermed.tar import read_sample, scan

Source = tuple[str, str, str]
"""(modality, split, dataset), in the order shards are numbered."""


def adopt_whole(
    patterns: Sequence[str], out: Path, *, watch: Callable[[int, int], None] = lambda done, total: None
) -> Manifest:
    """Make the new collection `out` of the shards that `patterns` name, when all keep the contract; manifest last.

    Raises ConfigError for places that make no sense, and ContractError that counts what breaks the contract, names the
    first such shard, and says what to do instead.
    """
    places = expand(patterns)
    if (out / MANIFEST_NAME).exists():
        raise ConfigError("the output folder holds a finished collection", where={"folder": out})
    sources = check_foreign(places)
    numbers: Counter[tuple[str, str]] = Counter()
    with claim(LocalDepot(out)):
        for path in [*out.rglob("*.tar"), *out.rglob("*.idx")]:
            path.unlink()  # of an adoption that died here; the claim keeps all other files out
        for (modality, split, _), place in sorted(zip(sources, places, strict=True)):
            name = f"{modality}/{split}/{modality}-{split}-{numbers[modality, split]:06d}.tar"
            numbers[modality, split] += 1
            with local_copy(place) as path:
                _place(path, out / name)
    return repair_manifest(out, watch=watch)


def check_foreign(places: Sequence[str]) -> list[Source]:
    """The source of every shard, read as strictly as our own; raises ContractError when any breaks the contract."""
    reasons: Counter[str] = Counter()
    sources, first = [], None
    for place in places:
        try:
            with local_copy(place) as path:
                sources.append(_source_of(path))
        except (ContractError, IntegrityError) as error:
            reasons[error.what] += 1
            first = first or shown(place)
    if reasons:
        raise ContractError(
            "these shards cannot be adopted as they are",
            where={"first": first},
            expected="keys without dots or capitals, one image and our sealed JSON per sample, plain USTAR",
            found=f"{sum(reasons.values())} of {len(places)} break it: "
            + "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3)),
            next_step="--rewrite makes new shards of them: our keys and JSON, image data untouched",
        )
    return sources


def _source_of(path: Path) -> Source:
    with ShardFile(path) as file:
        metas = [read_sample(file.read_at, span, "a shard").meta for span in scan(file.read_at, file.size, "a shard")]
    sources = {(meta.modality, meta.split, meta.dataset) for meta in metas}
    if len(sources) != 1:
        raise ContractError("a shard does not hold one source", expected=1, found=len(sources))
    return sources.pop()


def _place(path: Path, target: Path) -> None:
    """Link a shard under its name, or copy it where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
