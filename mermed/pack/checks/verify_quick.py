"""Verify quickly: that all files are there, of the right size, with the right index. No image and no header is read."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mermed.contract import ShardRow, load_manifest
from mermed.errors import MermedError
from mermed.pack.checks.verify import Problem, Verification, check_strays, check_totals
from mermed.tar import REINDEX, check_index


def verify_quick(folder: Path) -> Verification:
    """Check the manifest by itself, sizes of shards, and each index against its sha256 and its row.

    Finds missing, cut, extra and exchanged files of other sizes, and stale indices; not a flipped byte: that takes
    `mermed.pack.checks.verify.verify`. Raises ContractError when there is no readable manifest.
    """
    manifest = load_manifest(folder)
    problems = [*check_totals(manifest), *check_strays(folder, manifest)]
    for row in manifest.shards:
        problems += _check_files(folder, row)
    return Verification(
        num_shards=len(manifest.shards),
        num_samples=sum(row.samples for row in manifest.shards),
        problems=tuple(problems),
    )


def _check_files(folder: Path, row: ShardRow) -> Iterator[Problem]:
    shard, index = folder / row.name, folder / row.index_name
    if not shard.is_file():
        yield Problem(shard=row.name, key="", what="the shard is missing")
    elif shard.stat().st_size != row.bytes:
        found = shard.stat().st_size
        yield Problem(
            shard=row.name, key="", what=f"the shard has another size (expected {row.bytes} bytes, found {found})"
        )
    if not index.is_file():
        yield Problem(shard=row.name, key="", what=f"the index is missing; {REINDEX}")
        return
    content = index.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.index_sha256:
        yield Problem(shard=row.name, key="", what=f"the index is stale; {REINDEX}")
        return
    try:
        check_index(content.decode("ascii", "replace"), row)
    except MermedError as error:
        yield Problem(shard=row.name, key="", what=error.reason())
