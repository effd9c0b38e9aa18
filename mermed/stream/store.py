"""Where shards lie: the interface that a local folder fills here, and that remote stores plug into."""

import errno
import os
import resource
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from mermed.address import check_file_name, parse_address
from mermed.contract import MANIFEST_NAME, Manifest, ShardRow, load_manifest
from mermed.errors import EnvironmentError_, IntegrityError, MermedError
from mermed.stream.meters.watch import Watch

CHUNK_BYTES = 2**20
HELD_FILES = 256
"""Files that a local store keeps open at most; never more than a quarter of what the process may."""
Sink = Callable[[bytes], object]
"""What takes the bytes of a long read, chunk after chunk in order, such as the `write` of an open file."""


@runtime_checkable
class Store(Protocol):
    """Ranged and whole reads of the files of one collection, by their names below its manifest; safe in threads."""

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the file from `offset`; fewer only where the file ends."""
        ...

    def copy_to(self, name: str, start: int, stop: int, sink: Sink) -> None:
        """Give the bytes [start, stop) of the file to `sink`, each once and in order, in chunks of 1 MiB at most.

        A read that breaks goes on from the last byte the sink took. What the sink raises comes through unchanged.
        Raises IntegrityError when the file ends before `stop`.
        """
        ...

    def read(self, name: str) -> bytes:
        """The whole file."""
        ...

    def size(self, name: str) -> int:
        """Length of the file in bytes."""
        ...

    def close(self) -> None:
        """Let go of what is open; reads that wait raise EnvironmentError_. Safe to call twice."""
        ...


class LocalStore:
    """A collection in a local folder. Up to HELD_FILES of the files read last stay open, however many shards there are.

    A file that is deleted or replaced meanwhile is read on as it was.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._root = str(folder)
        self._held = lru_cache(min(HELD_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))(self._open)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; raises IntegrityError when the file is gone."""
        try:
            file = self._held(name)  # held here too: of two threads that open it at once, the store keeps one's
            return os.pread(file.descriptor, size, offset)
        except (OSError, MermedError):
            self._held.cache_clear()  # out of descriptors, or a network disk that has forgotten this one: once more
        return self._open(name).read_at(offset, size)

    def copy_to(self, name: str, start: int, stop: int, sink: Sink) -> None:
        """Give the bytes [start, stop) to `sink`; raises IntegrityError when the file is gone or ends before `stop`."""
        file = self._open(name)
        while start < stop:
            chunk = file.read_at(start, min(CHUNK_BYTES, stop - start))
            if not chunk:
                raise too_short(name, stop, start)
            sink(chunk)
            start += len(chunk)

    def read(self, name: str) -> bytes:
        """The whole file; raises IntegrityError when it is gone."""
        file = self._open(name)
        return file.read_at(0, file.size())

    def size(self, name: str) -> int:
        """Length in bytes; raises IntegrityError when the file is gone."""
        return self._open(name).size()

    def close(self) -> None:
        """Close the files that are open; a read that comes later opens its own again."""
        self._held.cache_clear()

    def _open(self, name: str) -> "_File":
        return _File(os.path.join(self._root, check_file_name(name)), name)


class _File:
    """An open file, closed when nobody holds it any more: a thread may read it while the store lets it go."""

    __slots__ = ("_name", "descriptor")

    def __init__(self, path: str, name: str) -> None:
        self.descriptor = -1
        self._name = name
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable("a file of the collection cannot be opened", name, error) from None

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self.descriptor, size, offset)
        except OSError as error:
            raise _unreadable("a file of the collection cannot be read", self._name, error) from None

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size


_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _unreadable(what: str, name: str, error: OSError) -> MermedError:
    """IntegrityError, unless the machine is short of something: that says nothing about the file."""
    if error.errno in _OF_THE_MACHINE:
        return EnvironmentError_(
            what, where={"file": name}, found=error.strerror, next_step="raise the limit (ulimit -n), or use less"
        )
    next_step = "mermed-shard verify tells what else is missing"
    return IntegrityError(what, where={"file": name}, found=error.strerror, next_step=next_step)


def check_size(store: Store, row: ShardRow) -> None:
    """Raise IntegrityError unless the shard has the size that its manifest row states."""
    size = store.size(row.name)
    if size != row.bytes:
        raise IntegrityError(
            "a shard has another size than its manifest row",
            where={"shard": row.name},
            expected=f"{row.bytes} bytes",
            found=f"{size} bytes",
            next_step="copy the shard again; mermed-shard verify lists every damaged one",
        )


def too_short(name: str, expected: int, found: int) -> IntegrityError:
    """The error for a file that ends before the bytes that its index or manifest row promises."""
    return IntegrityError(
        "a file of the collection is shorter than it should be",
        where={"file": name},
        expected=f"{expected} bytes at least",
        found=f"{found} bytes",
        next_step="copy the file again; mermed-shard verify lists every damaged one",
    )


def open_store(
    location: str | Path, *, watch: Watch | None = None, patience_s: float = 0.0, client: str = "auto"
) -> Store:
    """The store at `location`, a local folder or a URL of READ_SCHEMES.

    `watch` is told what is waited for and what went wrong; a store that does not answer is tried for `patience_s`.
    `client` is auto, fsspec or obstore. Raises ConfigError for other places, EnvironmentError_ for a missing extra.
    """
    address = parse_address(location)
    if address.is_local:
        return LocalStore(address.path)
    from mermed.stream.remote.opening import open_transport
    from mermed.stream.remote.store import RemoteStore

    return RemoteStore(address, partial(open_transport, address, client), watch or Watch(), patience_s)


def open_manifest(location: str | Path, patience_s: float = 0.0) -> Manifest:
    """The manifest of the collection at `location`; raises ContractError when there is none that this version reads."""
    address = parse_address(location)
    if address.is_local:
        return load_manifest(address.path)
    with closing(open_store(location, patience_s=patience_s)) as store:
        return read_manifest(store)


def read_manifest(store: Store) -> Manifest:
    """The manifest of the collection in `store`; raises ContractError when it holds none that this version reads."""
    return Manifest.decode(store.read(MANIFEST_NAME))
