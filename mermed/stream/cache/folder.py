"""The folder of a cache on disk: its names, locks, room and eviction. What it says of a file is true after any kill.

    FOLDER/mermed-cache                      the mark that it is ours, and the bytes in use, at most
    FOLDER/<sha256>-<samples>-<bytes>.piece  complete: it got this name by a rename
    FOLDER/<same>.part                       a download, locked with flock for as long as its process lives
    FOLDER/<sha256>.index                    the index of a shard

Nothing else in it is ever deleted. Nothing is synced to disk: what a power cut tears is found when it is read, as every
sample is checked against its seal then, and fetched again.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from math import isfinite
from pathlib import Path

from mermed.errors import ConfigError
from mermed.stream.cache.eviction import Entry, next_need, victims

MARK = "mermed-cache"
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_NAMES = re.compile(r"[0-9a-f]{64}(?:-\d+-\d+-(?P<start>\d+)-(?P<stop>\d+))?\.(?P<kind>piece|part|index)")
_SPARE_SHARE = 64
Foreseen = Callable[[Sequence[Entry]], Sequence[float | None]]
"""When each file is needed next, in seconds since 1970, as far as a plan knows; None where it does not."""


class FolderError(Exception):
    """The cache folder cannot be read or written as it should: the cache is worth nothing for the moment."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or type(error).__name__)
        self.full = error.errno in _FULL
        self.busy = isinstance(error, BlockingIOError)


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FolderError(error) from None


class Part:
    """A download of which this process holds the lock. Its bytes so far are good: a killed process left them whole."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def write(self, chunk: bytes) -> None:
        """Append `chunk`; raises FolderError when the disk does not take it."""
        with _on_disk():
            view = memoryview(chunk)
            while view:
                written = os.pwrite(self._descriptor, view, self.size)
                self.size += written
                view = view[written:]

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` of what has arrived."""
        with _on_disk():
            return os.pread(self._descriptor, size, offset)

    def restart(self) -> None:
        """Forget all bytes."""
        with _on_disk():
            os.ftruncate(self._descriptor, 0)
        self.size = 0

    def finish(self, final: Path, stamp: float) -> int:
        """Give the file its final name and return its open descriptor, which outlives any eviction.

        When the folder was deleted meanwhile the descriptor is all that is left, and good.
        """
        with suppress(OSError):
            os.utime(self._descriptor, (time.time(), stamp))
        if _is_at(self._descriptor, self._path):
            with suppress(FileNotFoundError), _on_disk():
                os.rename(self._path, final)
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def discard(self) -> None:
        """Delete the file."""
        if self._descriptor >= 0 and _is_at(self._descriptor, self._path):
            with suppress(OSError):
                os.unlink(self._path)
        self.close()

    def close(self) -> None:
        """Free the lock; what has arrived stays for whoever takes over. Safe to call twice and after `finish`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CacheFolder:
    """Files of one cache, shared by all processes of a node that use the folder; safe in threads.

    It never holds more than `capacity_bytes`: room is reserved before a byte is written, in a count under a lock that
    is never below the truth and is made true by a scan when it says that the folder is full. Jobs that name different
    capacities each hold to their own. Raises ConfigError when the folder holds files that are no cache's, or there is
    none and none can be made; one that cannot be written is read.
    """

    def __init__(self, path: Path, capacity_bytes: int) -> None:
        self.path = Path(path)
        self._prefix = f"{self.path}{os.sep}"  # joining strings is what a warm read would notice most
        self.capacity_bytes = capacity_bytes
        self._refuse_foreign()
        try:
            self._create()
        except FolderError as error:
            if not self.path.is_dir():
                raise _unusable(self.path, str(error)) from None

    def _refuse_foreign(self) -> None:
        try:
            found = os.listdir(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unusable(self.path, error.strerror) from None
        if found and MARK not in found:
            raise ConfigError(
                "the cache folder holds files that are not a cache's",
                where={"folder": self.path},
                expected=f"an empty folder, or one with the file {MARK}",
                found=f"{len(found)} others",
                next_step="name a folder of its own: --set stream.cache_dir=FOLDER",
            )

    def _create(self) -> None:
        with _on_disk():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path / MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))

    def open(self, name: str) -> int | None:
        """A descriptor of the complete file `name`, None when it is not there or cannot be read."""
        try:
            return os.open(self._prefix + name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def has(self, name: str) -> bool:
        """Whether the complete file `name` is there."""
        return os.path.exists(self._prefix + name)

    def stamp(self, name: str, moment: float) -> None:
        """Say that `name` is needed at `moment`, infinite for never, unless another job's is sooner and not over."""
        path, now = self.path / name, time.time()
        with suppress(OSError):
            if not now < path.stat().st_mtime < moment:
                os.utime(path, (now, moment if isfinite(moment) else now))

    def delete(self, name: str) -> None:
        """Delete the complete file `name`; those who read it keep it until they close it."""
        with suppress(OSError):
            os.unlink(self.path / name)

    def claim(self, name: str) -> Part | None:
        """The right to download `name`, None while another has it. A new or deleted folder is made again.

        Raises FolderError when nothing can be written there.
        """
        path = (self.path / name).with_suffix(".part")
        try:
            with _on_disk():
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FolderError:
            self._create()
            with _on_disk():
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            if _lock(descriptor) and _is_at(descriptor, path):
                return Part(path, os.dup(descriptor))
        finally:
            os.close(descriptor)
        return None

    def finish(self, part: Part, name: str, stamp: float) -> int:
        """Give a complete part the name `name`, needed at `stamp`, and return its open descriptor.

        Not while another process counts what is here: a file that changes its name may be missed by a scan.
        """
        with ExitStack() as counting:
            with suppress(FolderError):  # no folder any more: no name to give
                counting.enter_context(self._usage())
            return part.finish(self.path / name, stamp)

    def reserve(self, name: str, size: int, *, needed_at: float, foreseen: Foreseen) -> tuple[bool, int]:
        """Whether there is room for the `size` bytes of the part `name`, and how many files went to make it.

        Only files needed later than `needed_at` make room. Raises FolderError when the count cannot be written.
        """
        evicted = 0
        with self._usage() as usage:
            used = _read_count(usage)
            if used is None or used + size > self.capacity_bytes:
                used, evicted = self._make_room(name, size, needed_at, foreseen)
            fits = used + size <= self.capacity_bytes
            _write_count(usage, used + size if fits else used)
        return fits, evicted

    def shrink(self, size: int, *, foreseen: Foreseen) -> int:
        """Delete `size` bytes at least, if there are as many, for a disk that others fill; returns how many files."""
        with self._usage() as usage:
            entries = self.entries()
            evicted = self._evict(entries, size, 0, 0.0, foreseen)
            _write_count(usage, sum(entry.size for entry in entries) - sum(entry.size for entry in evicted))
        return len(evicted)

    def entries(self) -> list[Entry]:
        """All files of the cache; a part counts with the size it will have."""
        entries = []
        with _on_disk(), os.scandir(self.path) as files:
            for file in files:
                match = _NAMES.fullmatch(file.name)
                if match is None:
                    continue
                with suppress(FileNotFoundError):
                    facts = file.stat(follow_symlinks=False)
                    size = int(match["stop"]) - int(match["start"]) if match["stop"] else facts.st_size
                    entries.append(Entry(file.name, match["kind"], size, facts.st_mtime))  # type: ignore[arg-type]
        return entries

    def _make_room(self, name: str, size: int, needed_at: float, foreseen: Foreseen) -> tuple[int, int]:
        """Delete what is needed last until `size` more bytes fit and a little more; returns bytes used, files gone."""
        own = Path(name).with_suffix(".part").name
        entries = [entry for entry in self.entries() if entry.name != own]
        used = sum(entry.size for entry in entries)
        wanted = used + size - self.capacity_bytes
        if wanted <= 0:
            return used, 0
        gone = self._evict(entries, wanted, self.capacity_bytes // _SPARE_SHARE, needed_at, foreseen)
        return used - sum(entry.size for entry in gone), len(gone)

    def _evict(
        self, entries: Sequence[Entry], wanted: int, spare: int, needed_at: float, foreseen: Foreseen
    ) -> list[Entry]:
        now = time.time()
        free = [entry for entry in entries if entry.kind != "part" or self._is_left_over(entry.name)]
        needs = [next_need(entry, known, now) for entry, known in zip(free, foreseen(free), strict=True)]
        chosen = victims(free, needs, wanted, spare, needed_at)
        for entry in chosen:
            with _on_disk(), suppress(FileNotFoundError):
                os.unlink(self.path / entry.name)
        return chosen

    def _is_left_over(self, name: str) -> bool:
        """Whether the process that began the part is dead."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _lock(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _usage(self) -> Iterator[int]:
        """The locked file that holds the count of bytes in use."""
        with _on_disk():
            descriptor = os.open(self.path / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with _on_disk():
                flock(descriptor, LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _unusable(path: Path, found: str | None) -> ConfigError:
    return ConfigError(
        "the cache folder can be neither made nor read",
        where={"folder": path},
        found=found,
        next_step="name a folder on a local disk: --set stream.cache_dir=FOLDER",
    )


def _lock(descriptor: int) -> bool:
    """Take the lock if nobody has it; the kernel frees it when its holder dies."""
    try:
        with _on_disk():
            flock(descriptor, LOCK_EX | LOCK_NB)
    except FolderError as error:
        if error.busy:
            return False
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file, and not another or none."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def _read_count(descriptor: int) -> int | None:
    with _on_disk():
        text = os.pread(descriptor, 32, 0)
    return int(text) if text.strip().isdigit() else None


def _write_count(descriptor: int, count: int) -> None:
    with _on_disk():
        os.pwrite(descriptor, b"%020d\n" % count, 0)
