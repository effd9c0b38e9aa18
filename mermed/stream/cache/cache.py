"""The cache of a node: what a remote store sent, fetched once for all processes and read from disk ever after."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

from mermed.contract import ShardRow
from mermed.errors import ContractError, EnvironmentError_, IntegrityError
from mermed.stream.cache.eviction import Entry
from mermed.stream.cache.folder import CacheFolder, FolderError, Foreseen, Part
from mermed.stream.cache.piece import Piece
from mermed.stream.meters.watch import Watch
from mermed.stream.store import Store

PAUSE_S = 30.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.001, 0.02
_AT_ONCE = 0.0
Inspect = Callable[[Piece, Callable[[int, int], bytes]], None]
"""Checks the bytes of a piece that arrived, through a read_at(offset in the shard, size); raises a MermedError."""


class Cache:
    """Reads pieces of shards from `folder`, fetching those that are not there from `store`; safe in threads.

    The folder may be shared by any number of processes and runs: whoever needs a piece first fetches it, the others
    wait for it, and when he dies one of them goes on from his last byte. What arrives is checked by `inspect` and
    fetched once more when it fails. A folder that cannot be written, or is full of what is needed sooner, is bypassed:
    reads then go to the store, no wrong byte is given, and Watch says so. What is given up for room is what `foreseen`
    says is needed last. Watch counts cache_hits, cache_misses (reads), cache_fetched_bytes, cache_refetched,
    cache_evicted and cache_bypassed. Close it to wake its threads.
    """

    def __init__(
        self, folder: Path, capacity_bytes: int, store: Store, watch: Watch, *, inspect: Inspect | None = None
    ) -> None:
        self.foreseen: Foreseen = _unforeseen
        self.capacity_bytes = capacity_bytes
        self._folder = CacheFolder(folder, capacity_bytes)
        self._store = store
        self._watch = watch
        self._inspect = inspect or _accept
        self._as_stored: set[str] = set()
        self._closing = threading.Event()
        self._outage = _Outage(watch)

    def read_at(self, piece: Piece, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the shard from `offset`, all inside `piece`; raises what the store raises."""
        descriptor = self._folder.open(f"{piece.name}.piece")
        if descriptor is not None:
            self._watch.count("cache_hits")
        else:
            self._watch.count("cache_misses")
            descriptor = self._obtain(piece, needed_at=_AT_ONCE)
        if descriptor is None:
            self._watch.count("cache_bypassed")
            with self._watch.timing("network"):
                return self._store.read_at(piece.row.name, offset, size)
        try:
            return os.pread(descriptor, size, offset - piece.start)
        finally:
            os.close(descriptor)

    def fetch(self, piece: Piece, needed_at: float) -> bool:
        """See to it that `piece` is there by `needed_at`, seconds since 1970; returns whether it is or will be.

        Makes room only from what is needed later, and leaves a piece alone that another is fetching.
        """
        descriptor = self._folder.open(f"{piece.name}.piece")
        if descriptor is None:
            descriptor = self._obtain(piece, needed_at=needed_at, wait=False)
        if descriptor is None:
            return False
        os.close(descriptor)
        self._folder.stamp(f"{piece.name}.piece", needed_at)
        return True

    def stamp(self, piece: Piece, needed_at: float) -> None:
        """Tell all jobs of the node when this one needs `piece` next, in seconds since 1970."""
        self._folder.stamp(f"{piece.name}.piece", needed_at)

    def entries(self) -> list[Entry]:
        """The files of the folder; none when it cannot be read."""
        try:
            return self._folder.entries()
        except FolderError:
            return []

    def again(self, piece: Piece) -> bool:
        """Drop a piece in which bad bytes were read, so that it is fetched anew; False when the store has it so."""
        if piece.name in self._as_stored:
            return False
        self._folder.delete(f"{piece.name}.piece")
        self._watch.count("cache_refetched")
        return True

    def index(self, row: ShardRow) -> bytes:
        """The index of `row`, from the folder or the store; unchecked where the store's is not the one of the row."""
        name = f"{row.index_sha256}.index"
        found = self._find(name)
        while isinstance(found, int):
            content = _whole(found)
            if hashlib.sha256(content).hexdigest() == row.index_sha256:
                return content
            self._folder.delete(name)  # it changed on disk
            found = self._find(name)
        with found or nullcontext():
            with self._watch.timing("network"):
                content = self._store.read(row.index_name)
            self._watch.count("cache_fetched_bytes", len(content))
            if found and hashlib.sha256(content).hexdigest() == row.index_sha256:
                self._keep(found, name, content)
            elif found:
                found.discard()
        return content

    def close(self) -> None:
        """Wake the threads that wait or fetch: their reads raise EnvironmentError_. Safe to call twice."""
        self._closing.set()
        self._outage.over()

    def _keep(self, part: Part, name: str, content: bytes) -> None:
        """Write a small file whose bytes are known to be right."""
        try:
            if self._has_room(name, len(content), _AT_ONCE):
                part.restart()
                part.write(content)
                os.close(self._folder.finish(part, name, time.time()))
        except FolderError as error:
            self._outage.begin(error)
        finally:
            part.discard()

    def _find(self, name: str, *, wait: bool = True) -> int | Part | None:
        """The open file `name`, or the right to fetch it; None without a folder to keep it in, or a wish to wait."""
        with ExitStack() as waits:
            pause_s = _FIRST_POLL_S
            while (descriptor := self._folder.open(name)) is None:
                part = self._claim(name)
                if part is not None:
                    return part
                if self._outage.active or not wait:
                    return None
                if pause_s == _FIRST_POLL_S:
                    waits.enter_context(self._watch.timing("cache"))
                    waits.enter_context(self._watch.waiting("another reader of this node fetches the same bytes"))
                if self._closing.wait(pause_s):
                    raise _closed()
                pause_s = min(2 * pause_s, _LONGEST_POLL_S)
            return descriptor

    def _claim(self, name: str) -> Part | None:
        if self._outage.active:
            return None
        try:
            part = self._folder.claim(name)
        except FolderError as error:
            self._outage.begin(error)
            return None
        if part is not None and self._folder.has(name):  # its last owner finished between two looks
            part.discard()
            return None
        return part

    def _obtain(self, piece: Piece, *, needed_at: float, wait: bool = True) -> int | None:
        """The open file of a piece that was not there a moment ago, fetched if need be; None when it cannot be kept."""
        name = f"{piece.name}.piece"
        found = self._find(name, wait=wait)
        if not isinstance(found, Part):
            return found
        with found:
            try:
                if self._has_room(name, piece.size, needed_at):
                    self._fill(found, piece)
                    descriptor = self._folder.finish(found, name, needed_at or time.time())
                    self._outage.over()
                    return descriptor
            except FolderError as error:
                self._outage.begin(error)
            found.discard()
        return None

    def _has_room(self, name: str, size: int, needed_at: float) -> bool:
        fits, evicted = self._folder.reserve(name, size, needed_at=needed_at, foreseen=self.foreseen)
        self._watch.count("cache_evicted", evicted)
        return fits

    def _fill(self, part: Part, piece: Piece) -> None:
        """Fetch what is missing of `piece` and inspect it; bad bytes are fetched once more, then taken as the store's.

        Those it holds for good: whoever reads a sample of them learns which one is bad, as without a cache.
        """
        tries = 2 + (part.size > 0)  # bytes left over by a dead process prove nothing against the store
        while True:
            self._download(part, piece)
            tries -= 1
            if self._is_good(part, piece):
                return
            if not tries:
                break
            self._watch.count("cache_refetched")
            part.restart()
        self._as_stored.add(piece.name)

    def _is_good(self, part: Part, piece: Piece) -> bool:
        try:
            self._inspect(piece, lambda offset, size: part.read_at(offset - piece.start, size))
        except (IntegrityError, ContractError):
            return False
        return True

    def _download(self, part: Part, piece: Piece) -> None:
        """Fetch from the last good byte on; a disk that is full is made room on once."""
        if part.size > piece.size:
            part.restart()
        before = part.size
        try:
            with self._watch.timing("network"):
                self._copy(part, piece)
        except FolderError as error:
            if not error.full:
                raise
            self._watch.count("cache_evicted", self._folder.shrink(2 * piece.size, foreseen=self.foreseen))
            with self._watch.timing("network"):
                self._copy(part, piece)
        finally:
            self._watch.count("cache_fetched_bytes", part.size - before)

    def _copy(self, part: Part, piece: Piece) -> None:
        def sink(chunk: bytes) -> None:
            if self._closing.is_set():
                raise _closed()
            part.write(chunk)

        self._store.copy_to(piece.row.name, piece.start + part.size, piece.stop, sink)


class _Outage:
    """A time in which nothing is written to the folder because that failed; after a pause it is tried again."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._until = 0.0
        self._shown = ExitStack()
        self._is_shown = False

    @property
    def active(self) -> bool:
        """Whether the folder is to be left alone now."""
        return time.monotonic() < self._until

    def begin(self, error: FolderError) -> None:
        """Leave the folder alone for a while, and say so once for as long as it lasts."""
        with self._lock:
            self._until = time.monotonic() + PAUSE_S
            self._watch.count("cache_outages")
            if not self._is_shown:
                self._is_shown = True
                reason = f"the cache folder cannot be written ({error}): reads go to the store, over and over"
                self._shown.enter_context(self._watch.waiting(reason))

    def over(self) -> None:
        """The folder took something."""
        if self._is_shown:
            with self._lock:
                self._shown.close()
                self._is_shown = False


def _closed() -> EnvironmentError_:
    return EnvironmentError_("the stream was closed while it fetched", next_step="nothing: it was asked to stop")


def _whole(descriptor: int) -> bytes:
    """All bytes of the open file, which is closed."""
    with open(descriptor, "rb") as file:
        return file.read()


def _unforeseen(entries: Sequence[Entry]) -> list[float | None]:
    return [None] * len(entries)


def _accept(piece: Piece, read_at: Callable[[int, int], bytes]) -> None:
    """Inspect nothing."""
