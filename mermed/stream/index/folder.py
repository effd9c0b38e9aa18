"""A folder of shard tables, kept from run to run and shared by the ranks of a node: opening a shard parses nothing."""

import io
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
_SUFFIX = ".v1.npy"


class TableFolder:
    """Tables as plain `.npy` files named by the sha256 of the index they were read from, so none can be out of date.

    Eight bytes behind the array hold the XXH3-64 of all before them: a file that is cut or changed is as good as
    absent. Files are read whole, which the seal needs anyway, and not mapped: a mapping would hold a descriptor for
    every table. Once the folder holds `capacity_bytes` nothing is added. It is a convenience: whatever fails here
    is counted at `watch` and costs parsing, never a run.
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
        body = io.BytesIO()
        np.save(body, table.entries, allow_pickle=False)
        content = body.getvalue()
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
    try:
        entries = np.load(io.BytesIO(body), allow_pickle=False)
        fits = entries.dtype == entry_type(entries.dtype["key"].itemsize) and len(entries) == row.samples
    except (ValueError, KeyError):  # sealed, and yet no table: somebody else wrote here
        return None
    return ShardTable(entries) if fits else None
