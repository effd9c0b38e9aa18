"""Depot: where a collection is written: a local folder, or any fsspec URL. Names are paths inside it, with "/"."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mermed.address import EXTRAS, WRITE_SCHEMES, Address, parse_address
from mermed.errors import missing_extra
from mermed.pack.collection.writer import TEMPORARY_PREFIX, flush_folder, write_atomically


class Depot(Protocol):
    """A place of named files. Every operation is whole or absent, whatever kills the process."""

    @property
    def where(self) -> str:
        """The path or URL that `open_depot` opens it with, on any machine that sees it."""
        ...

    @property
    def label(self) -> str:
        """The place as it may be shown, without credentials."""
        ...

    def names(self, prefix: str = "") -> list[str]:
        """All names below `prefix`, sorted."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a file."""
        ...

    def take(self, path: Path, name: str) -> None:
        """Move a finished local file in."""
        ...

    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name, replacing what has it."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""
        ...

    def local(self, name: str) -> Any:
        """A context with a local path to read the file at."""
        ...

    def workroom(self) -> Any:
        """A context with an empty local folder, from which `take` is cheap."""
        ...


def open_depot(where: str | Path) -> Depot:
    """The depot for a local path or a URL; raises ConfigError for a scheme outside WRITE_SCHEMES."""
    address = parse_address(where, WRITE_SCHEMES, refusal="a collection cannot be written there")
    return LocalDepot(address.path) if address.is_local else UrlDepot(address)


class LocalDepot:
    """A folder of this machine or of a shared file system: rename makes every change whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def where(self) -> str:
        """The folder's absolute path."""
        return str(self.folder.resolve())

    @property
    def label(self) -> str:
        """The folder."""
        return str(self.folder)

    def names(self, prefix: str = "") -> list[str]:
        """All names below `prefix`, sorted; temporary ones too."""
        top = self.folder / prefix
        paths = top.rglob("*") if top.is_dir() else ()
        return sorted(path.relative_to(self.folder).as_posix() for path in paths if not path.is_dir())

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when it is not there."""
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError."""
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a file; on the disk when this returns."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def take(self, path: Path, name: str) -> None:
        """Move a finished file of a workroom in."""
        self._move(path, self.folder / name)

    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name, replacing what has it; raises FileNotFoundError."""
        self._move(self.folder / name, self.folder / new_name)

    def _move(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        flush_folder(target.parent)

    def remove(self, name: str) -> None:
        """Delete a file, and the folders it leaves empty."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self.folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.folder / name

    @contextmanager
    def workroom(self) -> Iterator[Path]:
        """A temporary folder on the same file system; swept away by the next pack if this one dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY_PREFIX}work-", dir=self.folder) as folder:
            yield Path(folder)


class UrlDepot:
    """A store behind fsspec. An object appears whole when its upload ends; a rename is a copy and a removal."""

    def __init__(self, address: Address) -> None:
        try:
            import fsspec

            self._fs = fsspec.filesystem(address.scheme)
        except ImportError:
            extra = EXTRAS[address.scheme]
            raise missing_extra(extra, f"writing to {address.scheme}://") from None
        self._address = address
        account = f"{address.userinfo}@" if address.userinfo else ""
        self._root = account + address.root.strip("/")

    @property
    def where(self) -> str:
        """The URL."""
        return f"{self._address.scheme}://{self._root}"

    @property
    def label(self) -> str:
        """The URL; credentials are never part of it."""
        return self._address.shown

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def names(self, prefix: str = "") -> list[str]:
        """All names below `prefix`, sorted."""
        self._fs.invalidate_cache()
        root = self._root.lstrip("/") + "/"
        found = self._fs.find(self._path(prefix)) if self._fs.exists(self._path(prefix)) else []
        return sorted(path.lstrip("/").removeprefix(root) for path in found)

    def size(self, name: str) -> int | None:
        """Bytes of an object; None when it is not there."""
        self._fs.invalidate_cache()
        try:
            return int(self._fs.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """The content of an object; raises FileNotFoundError."""
        return bytes(self._fs.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Create or replace an object."""
        self._fs.pipe_file(self._path(name), content)

    def take(self, path: Path, name: str) -> None:
        """Upload a finished local file and delete it here."""
        self._fs.put_file(str(path), self._path(name))
        path.unlink()

    def rename(self, name: str, new_name: str) -> None:
        """Copy an object to another name, then remove it under its old one."""
        self._fs.cp_file(self._path(name), self._path(new_name))
        self._fs.rm_file(self._path(name))

    def remove(self, name: str) -> None:
        """Delete an object; one that is not there is fine."""
        if self.size(name) is not None:
            self._fs.rm_file(self._path(name))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A temporary local copy."""
        with self.workroom() as folder:
            path = folder / "copy"
            self._fs.get_file(self._path(name), str(path))
            yield path

    @contextmanager
    def workroom(self) -> Iterator[Path]:
        """A temporary local folder."""
        folder = Path(tempfile.mkdtemp(prefix="mermed-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
