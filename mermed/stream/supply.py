"""The supply of one rank: its samples from a folder or a store, through the cache, with stand-ins for bad ones.

Everything that stands between a plan and a loader is put together here, once, for training and for the dataset alike.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mermed.config import StreamConfig
from mermed.dali import dali
from mermed.stream.cache.reader import TABLES, CachedReader, check_capacity
from mermed.stream.canvases import CanvasStream
from mermed.stream.dali_decode import DaliDecoder
from mermed.stream.decode import Decoder, Enough, Needs
from mermed.stream.loader import Loader, Share
from mermed.stream.meters.ledger import Tally
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan, Reference
from mermed.stream.reader import SampleReader
from mermed.stream.replace.budget import Limits
from mermed.stream.replace.journal import Journal
from mermed.stream.replace.spares import Spares
from mermed.stream.replace.tombstones import Tombstones, read_tombstones
from mermed.stream.store import LocalStore, open_store

REMOTE_IO_THREADS = 32
"""Reads under way at once at a remote store, where each waits for the network more than it works."""
CACHED_IO_THREADS = 4
"""Reads under way at once behind a cache: it fetches ahead in threads of its own, and more would only be woken."""


class Supply:
    """Opens the samples of `plan` in the collection at `location`, once, as `canvases` or `encoded`; each ends with it.

    `shares` gives, anew at each call, what this rank will read: the cache looks ahead in it. Failures are journalled
    in the folder `run` if there is one, and counted by `tally` and `watch`. `tombstones` are those of the file that
    `config` names unless given. Raises ConfigError for a location, cache or tombstone file that cannot serve.
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
        tombstones: Tombstones | None = None,
    ) -> None:
        tombstones = read_tombstones(config.tombstones) if tombstones is None else tombstones
        self.watch = Watch()
        self._plan = plan
        self._shares = shares
        self._config = config
        self.tally = Tally([source.name for source in plan.all_sources])
        self._store = open_store(location, watch=self.watch, patience_s=config.patience_s, client=config.store_client)
        self.is_remote = not isinstance(self._store, LocalStore)
        self._reader = self._open_reader()
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
        self._io_threads = config.io_threads or self._threads_that_wait()

    def _open_reader(self) -> SampleReader | CachedReader:
        config, folder = self._config, Path(self._config.cache_dir)
        if not (self.is_remote and config.cache_dir):
            return SampleReader(self._store, self.watch, folder / TABLES if config.cache_dir else None)
        check_capacity(self._plan, config)
        return CachedReader(
            self._store,
            self.watch,
            self._plan,
            self._shares(),
            [row for source in self._plan.all_sources for row in source.rows],
            folder=folder,
            capacity_bytes=round(config.cache_gib * 2**30),
            unit=config.cache_unit,
        )

    def _threads_that_wait(self) -> int:
        if not self.is_remote:
            return 0
        return CACHED_IO_THREADS if isinstance(self._reader, CachedReader) else REMOTE_IO_THREADS

    def _key_of(self, reference: Reference) -> str:
        return self._reader.indexes.key(reference.row, reference.index)

    @contextmanager
    def canvases(
        self,
        *,
        batch: int,
        num_threads: int,
        pin: bool = False,
        enough: Enough | None = None,
        needs: Needs | None = None,
        device: int | None = None,
    ) -> Iterator[CanvasStream]:
        """The canvases of all shares, of `batch` images at most; the rest is CanvasStream's.

        `device` is the GPU that DALI decodes on where it is the decoder; None is the CPU.
        """
        stream = CanvasStream(
            self._plan,
            self._spares.read,
            self._shares(),
            batch=batch,
            canvas_px=self._config.canvas_px,
            num_threads=num_threads,
            io_threads=self._io_threads,
            ahead=self._config.batches_ahead,
            pin=pin,
            enough=enough,
            needs=needs,
            replace=self._spares.replace,
            decoded=self.tally.spent,
            watch=self.watch,
            decoder=self._decoder(device),
        )
        with self._ending(stream):
            yield stream

    def _decoder(self, device: int | None) -> Callable[..., Decoder]:
        if self._config.decoder == "threads":
            return Decoder
        # where DALI is missing it is said before any thread starts
        dali()
        return partial(DaliDecoder, device=device)

    @contextmanager
    def encoded(self, *, num_threads: int) -> Iterator[Loader]:
        """The images of all shares as they lie in the shards."""
        loader = Loader(
            self._plan,
            self._spares.read,
            self._shares(),
            num_threads=self._io_threads or num_threads,
            ahead=self._config.batches_ahead,
            watch=self.watch,
        )
        with self._ending(loader):
            yield loader

    @contextmanager
    def _ending(self, stream: CanvasStream | Loader) -> Iterator[None]:
        """Close `stream` behind the store: reads that wait for it must be given up before their threads are joined."""
        with stream:
            try:
                yield
            finally:
                self.close()

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
