"""Recipe walk: every file below a dataset's root, those inside its ZIP and TAR archives too; opens nothing else."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mermed.errors import ConfigError
from mermed.pack.listing import RejectedRow
from mermed.pack.readers.archive import COMPRESSED_TARS, read_contents
from mermed.pack.readers.raw import Bin, RawFile, RejectedInput
from mermed.pack.recipes.text import MAX_TEXT, plain

_ARCHIVES = (".zip", ".tar", *COMPRESSED_TARS)
MAX_DEPTH = 100
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a dataset. `file` is its name below the root ("part1.zip/a.png" inside an archive).

    `view` is that name as recipes see it: NFC, and an archive looks like the folder it was made of ("part1/a.png").
    """

    file: str
    view: str
    raw: RawFile


@dataclass(frozen=True, slots=True)
class Walk:
    """The files below a root in the order of their names, and what was found but must not be opened."""

    files: tuple[FoundFile, ...]
    rejected: tuple[RejectedRow, ...]


@dataclass(slots=True)
class _Walker:
    root: Path
    name: str
    glance: int = 0
    files: list[FoundFile] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)

    def walk(self, folder: Path, file: str, view: str, above: tuple[str, ...]) -> None:
        """Take in what lies in `folder`; `above` holds the real paths of the folders it lies in."""
        real = os.path.realpath(folder)
        if real in above:
            return self.reject(file, "symlink_loop", "a link leads back to a folder above it", "excluded")
        if len(above) >= MAX_DEPTH:
            return self.reject(file, "name_limit", f"more than {MAX_DEPTH} folders inside each other")
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            return self.reject(file, "unreadable", type(error).__name__)
        for entry in self.first_of_each(entries) if self.glance else entries:
            if not entry.name.startswith(".") and entry.name not in _IGNORED:
                self.take(entry, file + entry.name, view + plain(entry.name), (*above, real))
        return None

    def first_of_each(self, entries: "list[os.DirEntry[str]]") -> "Iterator[os.DirEntry[str]]":
        """The first folders, and the first files of every suffix: enough to tell what a large folder is."""
        counts: Counter[str] = Counter()
        for entry in entries:
            kind = "/" if entry.is_dir(follow_symlinks=False) else os.path.splitext(entry.name)[1].lower()
            counts[kind] += 1
            if counts[kind] <= self.glance:
                yield entry

    def take(self, entry: "os.DirEntry[str]", file: str, view: str, above: tuple[str, ...]) -> None:
        if len(view) > MAX_TEXT:
            return self.reject(file, "name_limit", f"its path is longer than {MAX_TEXT} characters")
        if entry.is_symlink() and not _is_below(os.path.realpath(entry.path), self.root):
            return self.reject(file, "path_escape", "a link leads out of the dataset")
        try:
            kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
        except OSError as error:
            return self.reject(file, "unreadable", type(error).__name__)
        if kind == "other":
            return self.reject(file, "not_a_file", "not a regular file, or a link to nothing")
        if kind == "folder":
            return self.walk(Path(entry.path), f"{file}/", f"{view}/", above)
        if entry.name.lower().endswith(_ARCHIVES):
            return self.open_archive(Path(entry.path), file, view.rpartition(".")[0])
        self.files.append(FoundFile(file, view, RawFile(Path(entry.path))))
        return None

    def open_archive(self, path: Path, file: str, view: str) -> None:
        try:
            archive = read_contents(path)
        except RejectedInput as rejected:
            is_left_over = rejected.reason_slug == "compressed_tar"
            return self.reject(
                file, rejected.reason_slug, rejected.detail, "excluded" if is_left_over else rejected.bin
            )
        for member in archive.rejected:
            self.reject(f"{file}/{member.name}", member.reason, member.detail)
        for member in sorted(archive.files):
            if len(view) + len(member) >= MAX_TEXT:
                self.reject(f"{file}/{member}", "name_limit", f"its path is longer than {MAX_TEXT} characters")
            elif not any(part.startswith(".") or part in _IGNORED for part in member.split("/")):
                self.files.append(FoundFile(f"{file}/{member}", f"{view}/{plain(member)}", RawFile(path, member)))
        return None

    def reject(self, file: str, reason: str, detail: str, bin: Bin = "quarantined") -> None:
        self.rejected.append(RejectedRow(place=f"{self.name}/{file}", reason=reason, detail=detail, bin=bin))


def walk_files(root: Path, name: str, *, glance: int = 0) -> Walk:
    """Find every file below `root`; `name` begins the places of what is rejected.

    With `glance`, only that many folders, and files of one suffix, of every folder.

    Hidden files are passed over. Links out of the root, loops of links, pipes and devices are rejected unopened.
    Raises ConfigError when `root` is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ConfigError("the dataset's root is not a folder", where={"recipe": name, "folder": root})
    walker = _Walker(Path(os.path.realpath(root)), name, glance)
    walker.walk(root, "", "", ())
    return Walk(tuple(sorted(walker.files, key=lambda found: found.file)), tuple(walker.rejected))


def _is_below(real: str, root: Path) -> bool:
    return real.startswith(str(root).rstrip(os.sep) + os.sep) or real == str(root)


def base_fields(view: str) -> dict[str, str]:
    """The fields every file has: {file} its path, {dir} the folders before its name, {folder} the last of them,
    {name} its name, {stem} the name without its last suffix (.nii.gz and .dcm.gz count as one), {suffix} the rest.
    """
    directory, _, name = view.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if suffix.lower() == "gz" and "." in stem:
        stem, _, inner = stem.rpartition(".")
        suffix = f"{inner}.{suffix}"
    return {
        "file": view,
        "dir": directory,
        "folder": directory.rpartition("/")[2],
        "name": name,
        "stem": stem if dot else name,
        "suffix": suffix if dot else "",
    }
