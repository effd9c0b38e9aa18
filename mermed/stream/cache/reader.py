"""A remote collection read through the cache of its node: what the loader is handed instead of a plain reader."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal

from mermed import tar
from mermed.config import StreamConfig
from mermed.contract import EncodedSample, ShardRow
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.stream.cache.cache import Cache
from mermed.stream.cache.foresight import AHEAD_BYTES, FETCH_THREADS, Foresight
from mermed.stream.cache.piece import Piece, Pieces
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.loader import Order, Share
from mermed.stream.meters.watch import Watch
from mermed.stream.order.footprint import footprints
from mermed.stream.order.plan import Plan, Reference
from mermed.stream.store import CHUNK_BYTES, Sink, Store

TABLES = "tables"


class CachedReader:
    """Reads single samples through a cache in `folder`, while a foresight fetches what `order` and `shares` need next.

    `shares` must be those of the loader, drawn a second time; `rows` are the shards of the collection. A sample whose
    bytes changed on the local disk is fetched once more; what is bad at the store raises as it does without a cache.
    Results never depend on the cache. `indexes` tells where samples lie. Close it, after the loader, to stop its
    threads; that closes the store.
    """

    def __init__(
        self,
        store: Store,
        watch: Watch,
        order: Order,
        shares: Iterable[Share],
        rows: Sequence[ShardRow],
        *,
        folder: Path,
        capacity_bytes: int,
        unit: Literal["block", "shard"] = "block",
        threads: int = FETCH_THREADS,
        ahead_bytes: int = AHEAD_BYTES,
    ) -> None:
        self._store = store
        self._watch = watch
        self._cache = Cache(folder, capacity_bytes, store, watch, inspect=self._inspect)
        cached = CachedIndexes(store, self._cache, rows)
        self.indexes = IndexShelf(cached, watch=watch, folder=Path(folder) / TABLES)
        self._pieces = Pieces(self.indexes, unit)
        self._foresight = Foresight(
            order, shares, self._pieces, self._cache, rows=rows, threads=threads, ahead_bytes=ahead_bytes
        )

    def read(self, reference: Reference) -> EncodedSample:
        """The sample of `reference`; raises IntegrityError or ContractError naming shard and key."""
        row = reference.row
        span = self.indexes.span(row, reference.index)
        piece = self._pieces.of(reference)
        self._foresight.reading(piece, reference.slot)
        read_at = partial(self._cache.read_at, piece)
        with self._watch.timing("disk"):
            try:
                return tar.read_sample(read_at, span, row.name)
            except (IntegrityError, ContractError):
                if not self._cache.again(piece):
                    raise
            return tar.read_sample(read_at, span, row.name)

    def close(self) -> None:
        """Stop fetching, close the store, whose waiting reads end so, and wait for the threads; safe to call twice."""
        self._cache.close()
        self._store.close()
        self._foresight.close()

    def __enter__(self) -> "CachedReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _inspect(self, piece: Piece, read_at: Callable[[int, int], bytes]) -> None:
        """Check what arrived: a shard by its sha256, a block by the headers and seals of all its samples."""
        if not piece.whole:
            for index in piece.block:
                tar.read_sample(read_at, self.indexes.span(piece.row, index), piece.row.name)
            return
        digest = hashlib.sha256()
        for offset in range(0, piece.size, CHUNK_BYTES):
            digest.update(read_at(offset, min(CHUNK_BYTES, piece.size - offset)))
        if digest.hexdigest() != piece.row.sha256:
            raise IntegrityError(
                "a shard differs from its manifest row",
                where={"shard": piece.row.name},
                expected=f"sha256 {piece.row.sha256[:12]}",
                found=f"sha256 {digest.hexdigest()[:12]}",
            )


class CachedIndexes:
    """A store whose indexes come from a cache, once for a node; all else comes from the store itself."""

    def __init__(self, store: Store, cache: Cache, rows: Iterable[ShardRow]) -> None:
        self._store = store
        self._cache = cache
        self._rows = {row.index_name: row for row in rows}

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the file from `offset`, from the store."""
        return self._store.read_at(name, offset, size)

    def copy_to(self, name: str, start: int, stop: int, sink: Sink) -> None:
        """Give the bytes [start, stop) of the file to `sink`, from the store."""
        self._store.copy_to(name, start, stop, sink)

    def read(self, name: str) -> bytes:
        """The whole file: an index from the cache, another from the store."""
        row = self._rows.get(name)
        return self._cache.index(row) if row else self._store.read(name)

    def size(self, name: str) -> int:
        """Length of the file in bytes, from the store."""
        return self._store.size(name)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def check_capacity(plan: Plan, stream: StreamConfig) -> None:
    """Raise ConfigError when the cache of `stream` cannot hold what `plan` draws from at once: two windows.

    A smaller one would drop pieces before their window is over and fetch them again for each of their samples.
    """
    given = round(stream.cache_gib * 2**30)
    need = sum(mark.need_bytes for mark in footprints(plan, stream.cache_unit).values())
    if given < need:
        raise ConfigError(
            "the cache is smaller than what the order draws from at once",
            expected=f"stream.cache_gib of {ceil(need / 2**30 * 1000) / 1000:.3f} or more",
            found=f"{stream.cache_gib:g}",
            next_step="a larger cache, or a smaller window: --set stream.window_blocks=N (0 mixes everything)",
        )
