"""The supply of one rank: its samples from a folder or a store, through the cache, with stand-ins for bad ones.

Everything that stands between a plan and a loader is put together here, once, for training and for the dataset alike.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mermed.config import StreamConfig
from mermed.contract import EncodedSample
from mermed.stream.cache.reader import TABLES, CachedReader, check_capacity
from mermed.stream.loader import Share
from mermed.stream.meters.ledger import Tally
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan, Reference
from mermed.stream.reader import SampleReader
from mermed.stream.replace.budget import Limits
from mermed.stream.replace.journal import Journal
from mermed.stream.replace.spares import Spares
from mermed.stream.replace.tombstones import read_tombstones
from mermed.stream.store import LocalStore, Store, open_store

REMOTE_IO_THREADS = 32
"""Reads under way at once at a remote store, where each waits for the network more than it works."""


class Supply:
    """Reads the samples of `plan` from the collection at `location`: `read` is for a loader, `replace` for a decoder.

    `shares` gives, anew at each call, what this rank will read: the cache looks ahead in it. Failures are journalled
    in the folder `run` if there is one, and counted by `tally` and `watch`. Close it after the loader. Raises
    ConfigError for a location, cache or tombstone file that cannot serve.
    """

    def __init__(
        self,
        plan: Plan,
        location: str | Path,
        shares: Callable[[], Iterable[Share]],
        config: StreamConfig,
        *,
        run: Path | None = None,
        rank: int = 0,
    ) -> None:
        self.watch = Watch()
        self.tally = Tally([source.name for sources in plan.sources for source in sources])
        tombstones = read_tombstones(config.tombstones)
        self._store = open_store(location, watch=self.watch, patience_s=config.patience_s, client=config.store_client)
        self.is_remote = not isinstance(self._store, LocalStore)
        self._reader = self._open_reader(plan, self._store, shares, config)
        self._spares = Spares(
            plan,
            self._reader.read,
            self._key_of,
            limits=Limits.of(config),
            tombstones=tombstones,
            journal=Journal(run, rank, self.watch) if run else None,
            tally=self.tally,
            watch=self.watch,
        )
        self.io_threads = config.io_threads or (REMOTE_IO_THREADS if self.is_remote else 0)
        self.read: Callable[[Reference], EncodedSample] = self._spares.read
        self.replace = self._spares.replace

    def _open_reader(
        self, plan: Plan, store: Store, shares: Callable[[], Iterable[Share]], config: StreamConfig
    ) -> SampleReader | CachedReader:
        if not (self.is_remote and config.cache_dir):
            return SampleReader(store, self.watch, Path(config.cache_dir) / TABLES if config.cache_dir else None)
        check_capacity(plan, config)
        return CachedReader(
            store,
            self.watch,
            plan,
            shares(),
            [row for sources in plan.sources for source in sources for row in source.rows],
            folder=Path(config.cache_dir),
            capacity_bytes=round(config.cache_gib * 2**30),
            unit=config.cache_unit,
        )

    def _key_of(self, reference: Reference) -> str:
        return self._reader.indexes.key(reference.row, reference.index)

    def close(self) -> None:
        """Stop what fetches ahead and let go of the store; reads that wait are given up. Safe to call twice."""
        if isinstance(self._reader, CachedReader):
            self._reader.close()
        self._store.close()

    def __enter__(self) -> "Supply":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def decode_threads(config: StreamConfig, ranks_per_node: int = 1) -> int:
    """Threads that decode in each rank: as configured, else the cores of the node shared among its ranks."""
    return config.num_threads or max(1, (os.cpu_count() or 1) // ranks_per_node)
