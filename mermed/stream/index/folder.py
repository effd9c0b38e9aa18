"""A folder of shard tables, kept from run to run and shared by the ranks of a node: opening a shard parses nothing."""

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import xxhash

from mermed.contract import ShardRow
from mermed.stream.index.table import ShardTable, entry_type
from mermed.stream.meters.watch import Watch

FOLDER_BYTES = 8 * 2**30
_SEAL_BYTES = 8
_STALE_S = 3600.0
_WIDTH_BYTES = 8
_RECORD_BYTES = entry_type(1).itemsize - 1
_SUFFIX = ".v2.table"


class TableFolder:
    """Tables as files named by the sha256 of the index they were read from, so none can be out of date.

    A file holds the width of a key in eight bytes, the records as they lie in memory, and the XXH3-64 of all that in
    eight more: a file that is cut or changed is as good as absent. It is no `.npy`: numpy reads the head of those with
    Python's parser, which in CPython 3.11 fails now and then when threads use it at once. Files are read whole, which
    the seal needs anyway, and not mapped: a mapping would hold a descriptor for every table. Once the folder holds
    `capacity_bytes` nothing is added. It is a convenience: whatever fails here is counted at `watch` and costs parsing,
    never a run.
    """

    def __init__(self, folder: Path, *, watch: Watch, capacity_bytes: int = FOLDER_BYTES) -> None:
        self._folder = folder
        self._watch = watch
        self._capacity = capacity_bytes
        self._held = 0
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._held = self._sweep()

    def _sweep(self) -> int:
        """Delete drafts of processes that were killed; returns the bytes of all tables."""
        held = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                facts = entry.stat()
                if entry.name.endswith(".draft") and facts.st_mtime < time.time() - _STALE_S:
                    with suppress(OSError):
                        os.unlink(entry.path)
                held += facts.st_size
        return held

    def load(self, row: ShardRow) -> ShardTable | None:
        """The table of `row`, or None when no whole one is here."""
        try:
            content = (self._folder / f"{row.index_sha256}{_SUFFIX}").read_bytes()
        except OSError:
            return None
        table = _opened(content, row)
        if table is None:
            self._watch.count("tables_damaged")
        return table

    def save(self, row: ShardRow, table: ShardTable) -> None:
        """Add a table, whole or not at all."""
        if self._held + table.nbytes > self._capacity:
            self._watch.count("tables_unsaved")
            return
        name = f"{row.index_sha256}{_SUFFIX}"
        draft = self._folder / f"{name}.{os.getpid()}.draft"
        width = table.entries.dtype["key"].itemsize
        content = width.to_bytes(_WIDTH_BYTES, "little") + table.entries.tobytes()
        try:
            draft.write_bytes(content + xxhash.xxh3_64_digest(content))
            os.replace(draft, self._folder / name)
            self._held += len(content)
        except OSError:
            self._watch.count("tables_unsaved")
            with suppress(OSError):
                draft.unlink()


def _opened(content: bytes, row: ShardRow) -> ShardTable | None:
    """The table in a file's bytes, or None when they are not those that were saved."""
    body, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    if xxhash.xxh3_64_digest(body) != seal:
        return None
    width, records = int.from_bytes(body[:_WIDTH_BYTES], "little"), body[_WIDTH_BYTES:]
    if not width or len(records) != row.samples * (_RECORD_BYTES + width):
        return None  # sealed, and yet no table of this shard: somebody else wrote here
    return ShardTable(np.frombuffer(records, entry_type(width)))
