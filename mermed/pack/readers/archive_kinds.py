"""Archive kinds: the directory of one ZIP or TAR file, with what in it is no plain file."""

import io
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from mermed.pack.readers.raw import RejectedInput

MAX_MEMBERS = 2**24
_ENCRYPTED = 0x1
_LOCAL_HEADER_BYTES = 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class RejectedMember:
    """A member that is not packed; `name` as the archive has it."""

    name: str
    reason: str
    detail: str


def normal_name(name: str) -> str:
    """The name without empty parts and "." in its path; several times faster than pathlib, for archives of millions."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


class Archive:
    """The directory of an archive: `files` maps plain files to their size in bytes, `rejected` holds all others.

    Names are normal ("./a.png" is "a.png"). Where two members share one, the last counts, as it does for every program
    that extracts. Folders are no members.
    """

    files: dict[str, int]
    rejected: list[RejectedMember]

    def __init__(self) -> None:
        self.files = {}
        self.rejected = []

    def open(self, name: str) -> BinaryIO:
        """The bytes of a plain file, unfolded as they are read."""
        raise NotImplementedError

    def stored_bytes(self, name: str) -> int:
        """The bytes a plain file takes up in the archive."""
        raise NotImplementedError

    def raise_rejection(self, name: str) -> None:
        """Raise RejectedInput with the reason of a rejected member of that name, if there is one."""
        for member in self.rejected:
            if normal_name(member.name) == name:
                raise RejectedInput(member.reason, member.detail)

    def _take(self, name: str, size: int) -> str:
        """List a plain file and return its normal name, "" when the name leads outside."""
        normal = normal_name(name)
        if not normal or name[0] == "/" or ".." in normal.split("/") or "\\" in name or "\0" in name:
            self._reject(name, "path_escape", "its name is no path inside the archive")
            return ""
        if normal in self.files:
            self._reject(name, "listed_twice", "a later member has the same name and counts")
        if len(self.files) >= MAX_MEMBERS:
            raise RejectedInput("limits", f"the archive holds more than {MAX_MEMBERS} members")
        self.files[normal] = size
        return normal

    def _reject(self, name: str, reason: str, detail: str) -> None:
        self.rejected.append(RejectedMember(name, reason, detail))


class ZipArchive(Archive):
    """A ZIP whose members are stored or deflated."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._zip = zipfile.ZipFile(path)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        members = [info for info in self._zip.infolist() if not info.is_dir()]
        _check_overlap(members)
        for info in members:
            self._list(info)

    def _list(self, info: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            self._reject(info.filename, "not_a_file", "a link or a device")
        elif info.flag_bits & _ENCRYPTED:
            self._reject(info.filename, "encrypted", "the member needs a password; pack an archive without one")
        elif info.compress_type not in _METHODS:
            self._reject(info.filename, "no_decoder", "the member is neither stored nor deflated")
        elif name := self._take(info.filename, info.file_size):
            self._infos[name] = info

    def open(self, name: str) -> BinaryIO:
        """The bytes of a plain file; the last of them also checks its CRC."""
        return self._zip.open(self._infos[name])  # type: ignore[return-value]

    def stored_bytes(self, name: str) -> int:
        """The bytes a plain file takes up in the archive."""
        return self._infos[name].compress_size


def _check_overlap(members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes: a small ZIP can unfold without end that way (Fifield 2019)."""
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise RejectedInput("limits", "members of the archive overlap")
        end = info.header_offset + _LOCAL_HEADER_BYTES + len(info.filename.encode()) + info.compress_size


class TarArchive(Archive):
    """An uncompressed TAR: POSIX, GNU or PAX."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._starts: dict[str, int] = {}
        with tarfile.open(path, "r:") as tar:
            try:
                for member in tar:
                    self._list(member)
            except (tarfile.TarError, EOFError):
                self._reject("", "truncated", "the archive ends inside a member")
            else:
                self._check_end(tar)

    def _list(self, member: tarfile.TarInfo) -> None:
        if member.isdir():
            return
        if not member.isfile() or member.issparse():
            self._reject(member.name, "not_a_file", "a link, a device or a file with holes")
        elif name := self._take(member.name, member.size):
            self._starts[name] = member.offset_data

    def _check_end(self, tar: tarfile.TarFile) -> None:
        """tarfile stops without a word at a header it cannot read; only zeros may stand where it stopped."""
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        block = tar.fileobj.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE:
            self._reject("", "truncated", "the archive has no end mark; members may be missing")
        elif any(block):
            self._reject("", "corrupt", "a header in the archive is damaged; the members behind it are lost")

    def open(self, name: str) -> BinaryIO:
        """The bytes of a plain file; raises EOFError on the way where the archive ends early."""
        return io.BufferedReader(_Window(self._path, self._starts[name], self.files[name]))

    def stored_bytes(self, name: str) -> int:
        """The bytes a plain file takes up in the archive: all of them."""
        return self.files[name]


class _Window(io.RawIOBase):
    """`size` bytes of a file from `start` on, as a stream of their own; raises EOFError where the file ends before."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self._file = open(path, "rb", buffering=0)
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        got = self._file.readinto(buffer[:wanted]) if wanted else 0
        if wanted and not got:
            raise EOFError("the archive ends inside a member")
        self._at += got or 0
        return got or 0

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
