"""Reindex: write each shard's index again from the shard itself, once its bytes are known to be the packed ones."""

import hashlib
from pathlib import Path

from mermed.contract import ShardRow, load_manifest
from mermed.errors import IntegrityError
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.collection.writer import write_atomically
from mermed.tar import format_index, scan


def reindex(folder: Path) -> int:
    """Rebuild every .idx file of a collection; returns how many had to change.

    Raises IntegrityError for a shard whose sha256 is not that of its row: an index of wrong bytes would hide that.
    """
    return sum(_reindex_shard(folder, row) for row in load_manifest(folder).shards)


def _reindex_shard(folder: Path, row: ShardRow) -> bool:
    path = folder / row.name
    if not path.is_file():
        raise IntegrityError("a shard is missing", where={"shard": row.name}, next_step="copy it again")
    with ShardFile(path) as file:
        digest = file.sha256()
        if digest != row.sha256:
            raise IntegrityError(
                "a shard differs from its manifest row, so no index was written for it",
                where={"shard": row.name},
                expected=f"sha256 {row.sha256[:12]}",
                found=f"sha256 {digest[:12]}",
                next_step="copy the shard again, or pack its source again",
            )
        index = format_index(scan(file.read_at, file.size, row.name)).encode("ascii")
    if hashlib.sha256(index).hexdigest() != row.index_sha256:
        raise IntegrityError(
            "the index of this version is not the one the shard was packed with",
            where={"shard": row.name},
            next_step="use the mermed version that packed the collection",
        )
    target = path.with_suffix(".idx")
    if target.is_file() and target.read_bytes() == index:
        return False
    write_atomically(target, index)
    return True
