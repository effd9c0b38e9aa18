"""Plain: the layout SRC/<modality>/<dataset>/labels.csv, walked into a listing of images and of what is left out."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath

from mermed.contract import DATASET_GRAMMAR, SLUG_GRAMMAR, SPLITS
from mermed.errors import ConfigError
from mermed.pack.listing import ListedImage, Listing, RejectedRow
from mermed.pack.readers.archive import is_archive, read_contents, split_archive
from mermed.pack.readers.archive_kinds import Archive
from mermed.pack.readers.raw import Bin, RejectedInput

LABELS_NAME = "labels.csv"
_REQUIRED = ("file", "label")
_OPTIONAL = ("patient_id", "group_id", "split", "licence")
_DELIMITERS = ",;\t"
LICENCE_CHARACTERS = 80
_NOT_NAMED = "no row of labels.csv names it"

Unlisted = tuple[str, str, str, Bin]
"""The file, reason, detail and bin of an input that no row names."""


def walk(source: Path) -> Listing:
    """List every dataset below `source`, in a fixed order; raises ConfigError for a layout that makes no sense."""
    source = Path(source)
    if not source.is_dir():
        raise ConfigError("the source is not a folder", where={"folder": source})
    images: list[ListedImage] = []
    rejected: list[RejectedRow] = []
    seen: set[tuple[str, str]] = set()
    for folder in sorted(path.parent for path in source.glob(f"*/*/{LABELS_NAME}")):
        name = slug(folder.parent.name, SLUG_GRAMMAR, "modality"), slug(folder.name, DATASET_GRAMMAR, "dataset")
        if name in seen:
            raise ConfigError("two folders give one dataset name", where={"dataset": "/".join(name)})
        seen.add(name)
        listing = _walk_dataset(source, folder, *name)
        images += listing.images
        rejected += listing.rejected
    if not seen:
        raise ConfigError(
            "no dataset found",
            where={"folder": source},
            expected=f"SRC/<modality>/<dataset>/{LABELS_NAME}",
            found="no such file",
            next_step="try it out with: mermed-shard phantoms OUT",
        )
    return Listing(images=tuple(images), rejected=tuple(rejected))


def slug(name: str, grammar: re.Pattern[str], noun: str) -> str:
    """The nearest name to a folder's that follows `grammar`; raises ConfigError when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    allowed = r"[^a-z0-9_]+" if grammar is SLUG_GRAMMAR else r"[^a-z0-9_-]+"
    short = re.sub(allowed, "_", plain).strip("_-")[: 32 if grammar is SLUG_GRAMMAR else 64]
    if not grammar.fullmatch(short):
        raise ConfigError(f"a folder's name gives no {noun} name", expected=grammar.pattern, found=repr(name))
    return short


def _walk_dataset(source: Path, folder: Path, modality: str, dataset: str) -> Listing:
    rows: dict[str, ListedImage] = {}
    rejected: list[RejectedRow] = []
    named: set[str] = set()
    archives = _Archives(folder)
    border = _Border(source, folder)
    labels: dict[str, dict[str, str]] = {}  # one for all rows of a label, because there may be millions
    top = f"{folder.parent.name}/{folder.name}"
    for values in read_rows(folder / LABELS_NAME, f"{modality}/{dataset}"):
        place = f"{top}/{values['file']}"
        name = _tidy(values["file"])
        named.add(name)
        if not border.holds(values["file"]):
            rejected.append(RejectedRow(place=place, reason="path_escape", detail="the row leads out of its dataset"))
            continue
        try:
            path, member = archives.locate(name)
        except RejectedInput as error:
            rejected.append(RejectedRow(place=place, reason=error.reason_slug, detail=error.detail, bin=error.bin))
            continue
        image = ListedImage(
            modality=modality,
            dataset=dataset,
            file=name,
            place=f"{top}/{name}",
            path=path,
            member=member,
            labels=labels.setdefault(values["label"], {"class": values["label"]} if values["label"] else {}),
            patient_id=values["patient_id"],
            group_id=values["group_id"],
            split=values["split"],
            licence=values["licence"],
        )
        known = rows.setdefault(name, image)
        if known is not image:
            same = known == image
            detail = "the file is listed twice" + ("" if same else ", with different values; its first row counts")
            rejected.append(
                RejectedRow(
                    place=place, reason="listed_twice", detail=detail, bin="excluded" if same else "quarantined"
                )
            )
    rejected += _unlisted(folder, top, named, archives)
    return Listing(images=tuple(rows[file] for file in sorted(rows)), rejected=tuple(rejected))


def _tidy(file: str) -> str:
    """A row's file without empty and "." parts."""
    if "//" in file or "./" in file or file.endswith(("/", "/.")):
        return str(PurePosixPath(file))
    return file


class _Border:
    """Tells what stays in a dataset by name, and in its source after every symbolic link; each folder is seen once."""

    def __init__(self, source: Path, folder: Path) -> None:
        self._root = os.path.realpath(source) + os.sep
        self._folder = str(folder)
        self._real_of: dict[str, str] = {}

    def holds(self, file: str) -> bool:
        """True when the row's file may be opened."""
        directory, _, name = file.rpartition("/")
        if not name or file.startswith("/") or ".." in file.split("/") or "\\" in file or "\0" in file:
            return False
        if directory not in self._real_of:
            self._real_of[directory] = os.path.realpath(f"{self._folder}/{directory}")
        path = f"{self._real_of[directory]}/{name}"
        return (os.path.realpath(path) if os.path.islink(path) else path).startswith(self._root)


class _Archives:
    """The archives of a dataset that rows name a member of, each listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Archive | RejectedInput] = {}

    def locate(self, name: str) -> tuple[Path, str]:
        """Where a row's file is read: its path and "", or an archive and the member in it; raises RejectedInput."""
        archive, member = split_archive(name)
        if not archive or not is_archive(self._folder / archive):
            return self._folder / name, ""
        if archive not in self._known:
            try:
                self._known[archive] = read_contents(self._folder / archive)
            except RejectedInput as error:
                self._known[archive] = error
        known = self._known[archive]
        if isinstance(known, RejectedInput):
            raise known
        return self._folder / archive, member

    def unlisted(self, file: str, listed: set[str]) -> Iterable[Unlisted]:
        """What no row names: the file itself, or, in an archive that has rows, the members without one.

        An archive that cannot be listed is accounted for by its rows.
        """
        known = self._known.get(file)
        if known is None:
            return [(file, "not_listed", _NOT_NAMED, "excluded")]
        if isinstance(known, RejectedInput):
            return []
        plain: Iterator[Unlisted] = (
            (f"{file}/{name}", "not_listed", _NOT_NAMED, "excluded") for name in known.files if not _is_hidden(name)
        )
        others: Iterator[Unlisted] = (
            (f"{file}/{bad.name}", bad.reason, bad.detail, "quarantined") for bad in known.rejected
        )
        return (row for row in chain(plain, others) if str(PurePosixPath(row[0])) not in listed)


def _is_hidden(file: str) -> bool:
    return file.startswith(".") or "/." in file


def _files_below(folder: Path) -> list[str]:
    """Every file below `folder` that is not hidden, by name; links to folders are not followed."""
    found: list[str] = []
    start = len(str(folder)) + 1
    for path, directories, files in os.walk(folder):
        directories[:] = [name for name in directories if not name.startswith(".")]
        above = path[start:].replace(os.sep, "/") + "/" if len(path) > start else ""
        found += [above + name for name in files if not name.startswith(".")]
    return sorted(found)


def _unlisted(folder: Path, top: str, listed: set[str], archives: _Archives) -> Iterator[RejectedRow]:
    """Every file of the dataset, and every member of an archive with rows, that no row names; hidden ones apart."""
    for file in _files_below(folder):
        if file in listed or file == LABELS_NAME:
            continue
        for name, reason, detail, bin in archives.unlisted(file, listed):
            yield RejectedRow(place=f"{top}/{name}", reason=reason, detail=detail, bin=bin)


def read_rows(path: Path, dataset: str) -> Iterator[dict[str, str]]:
    """The rows of a labels.csv as stripped texts of the known columns; raises ConfigError naming dataset and line.

    A byte-order mark, CRLF and the separators , ; and tab are all read. Other columns are left alone.
    """
    where: dict[str, object] = {"dataset": dataset, "file": LABELS_NAME}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError("a labels.csv is not UTF-8", where={**where, "line": line}) from None
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    missing = [name for name in _REQUIRED if name not in reader.fieldnames]
    if missing:
        raise ConfigError(
            "a labels.csv lacks a column",
            where=where,
            expected=", ".join(_REQUIRED),
            found=", ".join(reader.fieldnames),
        )
    try:
        for row in reader:
            yield _clean(row, {**where, "line": reader.line_num})
    except csv.Error as error:
        where["line"] = reader.line_num + 1
        raise ConfigError("a labels.csv cannot be read", where=where, found=error) from None


def _clean(row: Mapping[str | None, str | list[str] | None], where: dict[str, object]) -> dict[str, str]:
    """One row with its known columns stripped; raises ConfigError for a row that cannot be meant."""
    if None in row:
        raise ConfigError("a row has more values than the header has names", where=where)
    values = {name: str(row.get(name) or "").strip() for name in (*_REQUIRED, *_OPTIONAL)}
    values["split"] = values["split"].lower()
    values["licence"] = values["licence"][:LICENCE_CHARACTERS]
    if not values["file"]:
        raise ConfigError("a row names no file", where=where)
    if values["split"] not in ("", *SPLITS):
        raise ConfigError(
            "a row names an unknown split", where=where, expected="train, val, test or nothing", found=values["split"]
        )
    return values
