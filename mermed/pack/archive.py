"""Archive: members of ZIP and uncompressed TAR files as if they lay in a folder, read in place and never extracted."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

from mermed.pack.raw import Bounds, RawFile, RejectedInput

ARCHIVE_SUFFIXES = (".zip", ".tar", ".npz")
MAX_MEMBERS = 2**24


def is_archive(path: Path) -> bool:
    """True for a file whose members count as inputs; by its name, because a listing opens nothing else."""
    return path.suffix.lower() in ARCHIVE_SUFFIXES and path.is_file()


def list_members(path: Path) -> dict[str, int]:
    """The plain files inside an archive: name to size in bytes.

    Raises RejectedInput for a damaged archive, for more than MAX_MEMBERS members, and for names that lead outside.
    """
    try:
        if path.suffix.lower() == ".tar":
            with tarfile.open(path, "r:") as tar:
                members = {member.name: member.size for member in tar if member.isfile()}
        else:
            with zipfile.ZipFile(path) as archive:
                members = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    except (OSError, zipfile.BadZipFile, tarfile.TarError, ValueError, EOFError) as error:
        raise RejectedInput("corrupt", f"the archive cannot be listed ({type(error).__name__})") from None
    if len(members) > MAX_MEMBERS:
        raise RejectedInput("limits", f"the archive holds more than {MAX_MEMBERS} members")
    return members


def open_raw(file: RawFile, bounds: Bounds) -> BinaryIO:
    """The bytes of an input as a seekable stream; a member of an archive is read whole, within the bound.

    Raises RejectedInput when the member is not there, too large or damaged.
    """
    if not file.member:
        return file.path.open("rb")
    try:
        if file.path.suffix.lower() == ".tar":
            with tarfile.open(file.path, "r:") as tar:
                member = tar.extractfile(file.member)
                content = member.read(bounds.max_bytes + 1) if member else b""
        else:
            with zipfile.ZipFile(file.path) as archive, archive.open(file.member) as member:
                content = member.read(bounds.max_bytes + 1)
    except KeyError:
        raise RejectedInput("missing", "the archive holds no member of that name") from None
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise RejectedInput("corrupt", f"the member cannot be read ({type(error).__name__})") from None
    if len(content) > bounds.max_bytes:
        raise RejectedInput("file_limit", f"the member unfolds to more than {bounds.max_bytes} bytes")
    return io.BytesIO(content)
