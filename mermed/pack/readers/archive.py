"""Archive: members of ZIP and uncompressed TAR files as if they lay in a folder, read in place and never extracted."""

import io
import os
import tarfile
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mermed.pack.readers.archive_kinds import Archive, TarArchive, ZipArchive, normal_name
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput

ARCHIVE_SUFFIXES = (".zip", ".tar", ".npz")
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
MAX_OPEN = 8
"""Archives a process keeps open, so that the next member does not read the directory again."""
MAX_RATIO = 500
"""A member that unfolds to more than this times its stored size, and to more than RATIO_FROM_BYTES, is a bomb."""
RATIO_FROM_BYTES = 2**26
_BROKEN = (OSError, ValueError, IndexError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError)
"""What zipfile and tarfile raise at damaged archives (NotImplementedError is a RuntimeError)."""
_COMPRESSED_MARKS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


def is_archive(path: Path) -> bool:
    """True for a file whose members count as inputs; by its name, because a listing opens nothing else."""
    return path.name.lower().endswith((*ARCHIVE_SUFFIXES, *COMPRESSED_TARS)) and path.is_file()


def split_archive(place: str) -> tuple[str, str]:
    """Part "a/b.zip/c/d.png" into the archive and the member in it; ("", "") where no folder is named like one."""
    parts = PurePosixPath(place).parts
    for number, part in enumerate(parts[:-1], start=1):
        if part.lower().endswith((*ARCHIVE_SUFFIXES, *COMPRESSED_TARS)):
            return "/".join(parts[:number]), "/".join(parts[number:])
    return "", ""


def read_contents(path: Path) -> Archive:
    """The contents of an archive: its plain files, and the members that are none, each with a reason.

    Raises RejectedInput for an archive that is damaged, compressed as a whole, or made of members that overlap.
    """
    try:
        status = os.stat(path)
        # A worker that was forked shares the place in a file with its parent, so every process opens its own.
        return _open_archive(str(path), os.getpid(), status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        raise RejectedInput("missing", "the archive is not there") from None
    except _BROKEN as error:
        raise RejectedInput("corrupt", f"the archive cannot be listed ({type(error).__name__})") from None


def list_members(path: Path) -> dict[str, int]:
    """The plain files inside an archive, name to size in bytes; raises RejectedInput like `read_contents`."""
    return read_contents(path).files


def open_raw(file: RawFile, bounds: Bounds) -> BinaryIO:
    """The bytes of an input as a seekable stream; a member of an archive is read whole, within the bound.

    Raises RejectedInput when the member is not there, too large or damaged.
    """
    if not file.member:
        return file.path.open("rb")
    with open_stream(file, bounds) as stream:
        try:
            content = stream.read(bounds.max_bytes + 1)
        except EOFError:
            raise RejectedInput("truncated", "the archive ends inside the member") from None
        except (OSError, zipfile.BadZipFile, zlib.error, ValueError) as error:
            raise RejectedInput("corrupt", f"the member cannot be read ({type(error).__name__})") from None
    return io.BytesIO(content)


def open_stream(file: RawFile, bounds: Bounds) -> BinaryIO:
    """The bytes of an input from its start on, unfolded as they are read: nothing is held, so read it forwards only.

    Raises RejectedInput when the member is not there, is no plain file, or claims more bytes than the bound.
    """
    if not file.member:
        return file.path.open("rb")
    archive = read_contents(file.path)
    name = normal_name(file.member)
    if name not in archive.files:
        archive.raise_rejection(name)
        raise RejectedInput("missing", "the archive holds no member of that name")
    size, stored = archive.files[name], archive.stored_bytes(name)
    if size > bounds.max_bytes:
        raise RejectedInput("file_limit", f"the member unfolds to {size} bytes, more than {bounds.max_bytes}")
    if size > RATIO_FROM_BYTES and size > MAX_RATIO * max(stored, 1):
        raise RejectedInput("limits", f"the member unfolds to {size} bytes, more than {MAX_RATIO} times its own")
    try:
        return archive.open(name)
    except _BROKEN as error:
        raise RejectedInput("corrupt", f"the member cannot be opened ({type(error).__name__})") from None


@lru_cache(maxsize=MAX_OPEN)
def _open_archive(path: str, process: int, mtime_ns: int, size: int) -> Archive:
    with open(path, "rb") as file:
        mark = file.read(6)
    if mark.startswith(_COMPRESSED_MARKS):
        raise RejectedInput(
            "compressed_tar", "an archive compressed as a whole has no place to start reading; gunzip it"
        )
    return ZipArchive(path) if mark.startswith(b"PK") else TarArchive(path)
