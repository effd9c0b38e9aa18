"""Where shards lie: the interface that a local folder fills here, and that remote stores plug into."""

import errno
import os
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
_PATHS_HELD = 65_536
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
    """A collection in a local folder. Files are opened for each read, so the number of shards costs no descriptors."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._root = str(folder)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; raises IntegrityError when the file is gone."""
        descriptor = self._open(name)
        try:
            return _read(descriptor, name, offset, size)
        finally:
            os.close(descriptor)

    def copy_to(self, name: str, start: int, stop: int, sink: Sink) -> None:
        """Give the bytes [start, stop) to `sink`; raises IntegrityError when the file is gone or ends before `stop`."""
        descriptor = self._open(name)
        try:
            while start < stop:
                chunk = _read(descriptor, name, start, min(CHUNK_BYTES, stop - start))
                if not chunk:
                    raise too_short(name, stop, start)
                sink(chunk)
                start += len(chunk)
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        """The whole file; raises IntegrityError when it is gone."""
        return self.read_at(name, 0, self.size(name))

    def size(self, name: str) -> int:
        """Length in bytes; raises IntegrityError when the file is gone."""
        descriptor = self._open(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _open(self, name: str) -> int:
        try:
            return os.open(_checked_path(self._root, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable("a file of the collection cannot be opened", name, error) from None


@lru_cache(_PATHS_HELD)
def _checked_path(folder: str, name: str) -> str:
    """The path of a file of a collection: joined and checked once, for it is asked for with every sample."""
    return os.path.join(folder, check_file_name(name))


def _read(descriptor: int, name: str, offset: int, size: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        raise _unreadable("a file of the collection cannot be read", name, error) from None


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
