"""Recipe tables: label, patient and split lists as rows by key, whatever dialect of CSV they are written in."""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mermed.errors import ConfigError
from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.raw import Bounds, RejectedInput
from mermed.pack.recipes.json_records import read_records
from mermed.pack.recipes.parse import did_you_mean
from mermed.pack.recipes.recipe import Recipe, Table
from mermed.pack.recipes.text import Template, compile_globs, compile_regex, find_fields, plain
from mermed.pack.recipes.walk import FoundFile, base_fields
from mermed.pack.recipes.workbook import read_workbook

MAX_TABLE_BYTES = 2**30
_DELIMITERS = ",;\t"
_WORKBOOK = (".xlsx",)
_JSON = (".json", ".jsonl")
ROW_NUMBER = "#"
"""The column that every table has beside its own: the number of a row, from 0."""


@dataclass(slots=True)
class Row:
    """The values of one key, where they stand, and whether they disagree so that its images must be left out."""

    table: str
    line: int
    values: dict[str, str]
    is_conflicting: bool = False


@dataclass(slots=True)
class LoadedTable:
    """A table of a recipe: its rows by key, and the names of the fields it gives."""

    rule: Table
    match: Template
    rows: dict[str, Row] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


def load_table(recipe: Recipe, number: int, files: tuple[FoundFile, ...]) -> LoadedTable:
    """Read table `number` (from 1) of a recipe; several files that match its globs are one table.

    Raises ConfigError naming recipe, table, line and column.
    """
    rule = recipe.tables[number - 1]
    where = {"recipe": recipe.name, "table": number}
    glob = compile_globs(rule.file)
    loaded = LoadedTable(rule, Template(rule.match))
    loaded.names |= {*rule.keep, *rule.set}
    reader = _RowReader(rule, loaded, where)
    for found in files:
        if glob.fullmatch(found.view):
            loaded.files.add(found.file)
            reader.read(found)
    if not loaded.files and not rule.optional:
        raise ConfigError(
            "a table of the recipe is not there",
            where=where,
            expected=" or ".join(rule.file),
            found="no file of that name",
            next_step="get the missing file, or point at the folder that holds it",
        )
    reader.finish()
    return loaded


def read_column(found: FoundFile, name: str) -> list[str]:
    """The texts of one column, row by row; raises ConfigError when it is not there."""
    place: dict[str, object] = {"file": found.file}
    rows = read_cells(found, Table(file=(), key="", match=""), place)
    header = [cell.strip() for cell in next(rows, (0, []))[1]]
    if name not in header:
        raise ConfigError(
            "a table lacks a column", where={**place, "line": 1, "column": name}, next_step=did_you_mean(name, header)
        )
    column = header.index(name)
    return [cells[column].strip() if column < len(cells) else "" for _, cells in rows]


class _RowReader:
    """Folds the rows of a table's files into one row per key."""

    def __init__(self, rule: Table, loaded: LoadedTable, where: dict[str, object]) -> None:
        self.rule, self.loaded, self.where = rule, loaded, where
        self.key = Template(rule.key)
        self.extract = {column: compile_regex(pattern) for column, pattern in rule.extract.items()}
        self.pivot = (Template(rule.pivot.name), Template(rule.pivot.value)) if rule.pivot else None
        self.votes: dict[str, list[dict[str, str]]] = {}
        self.words: dict[str, str] = {}
        self.kept = (*rule.keep, *rule.set)
        self.takes_number = ROW_NUMBER in (*rule.keep, *self.key.names)

    def read(self, found: FoundFile) -> None:
        place = {**self.where, "file": found.file}
        stem = base_fields(found.view.removesuffix(".gz"))["stem"]
        width, columns = len(self.rule.columns), self.choose_columns(self.rule.columns, place)
        number = -1
        for line, cells in read_cells(found, self.rule, place):
            if not width:
                width = len(cells)
                header = [name.strip() or f"#{n}" for n, name in enumerate(cells, 1)]
                columns = self.choose_columns(header, place)
                continue
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                raise ConfigError(
                    "a row has more values than the header has names",
                    where={**place, "line": line},
                    expected=width,
                    found=len(cells),
                )
            number += 1
            values = {name: self.intern(cells[n]) for n, name in columns if n < len(cells)}
            if self.takes_number:
                values[ROW_NUMBER] = str(number)
            self.take(values, stem, found.file, line)

    def intern(self, cell: str) -> str:
        """The stripped text; equal texts share one object, because label columns repeat a few words for ever."""
        text = plain(cell.strip())
        return self.words.setdefault(text, text) if len(text) < 16 else text

    def choose_columns(self, header: Sequence[str], place: dict[str, object]) -> list[tuple[int, str]]:
        """The columns that the recipe asks for, with their numbers: cleaning the others would take most of the time.

        Raises ConfigError for one that is not there; an empty header is not known yet and has none.
        """
        if not header:
            return []
        groups = {name for pattern in self.extract.values() for name in pattern.groupindex}
        known = {*header, *groups, *self.rule.set, "table", ROW_NUMBER}
        wanted = [*self.rule.extract, *self.rule.where, *([] if self.pivot else self.rule.keep), *self.key.names]
        wanted += [name for template in self.pivot or () for name in template.names]
        for name in wanted:
            if name not in known:
                raise ConfigError(
                    "a table lacks a column",
                    where={**place, "line": 1, "column": name},
                    next_step=did_you_mean(name, header),
                )
        takes_all = not self.rule.keep and not self.pivot
        return [(n, name) for n, name in enumerate(header) if takes_all or name in {*wanted, *self.rule.keep}]

    def take(self, values: dict[str, str], stem: str, file: str, line: int) -> None:
        values["table"] = stem
        values.update(self.rule.set)
        for column, pattern in self.extract.items():
            values |= find_fields([pattern], values.get(column, "")) or dict.fromkeys(pattern.groupindex, "")
        for column, wanted in self.rule.where.items():
            if values.get(column, "") not in wanted:
                return
        key = self.key.fill(values)
        if not key:
            return
        kept = {column: values.get(column, "") for column in self.kept}
        if self.pivot:
            name, value = (template.fill(values) for template in self.pivot)
            kept |= {name: value} if name else {}
        elif not self.rule.keep:
            kept = values
        self.fold(key, kept, file, line)

    def fold(self, key: str, kept: dict[str, str], file: str, line: int) -> None:
        row = self.loaded.rows.get(key)
        if row is None:
            self.loaded.rows[key] = Row(file, line, kept)
            self.loaded.names.update(kept)
            return
        disagreeing = [name for name, value in kept.items() if row.values.get(name, value) != value]
        if self.rule.conflict == "vote":
            self.votes.setdefault(key, [dict(row.values)]).append(kept)
        elif disagreeing and self.rule.conflict == "refuse":
            raise ConfigError(
                "two rows of one key disagree",
                where={**self.where, "file": file, "line": line, "column": disagreeing[0]},
                expected="equal values",
                found=f"other values in line {row.line}",
                next_step='choose a conflict = "..." for this table, or keep = [...] only what you need',
            )
        elif disagreeing and self.rule.conflict == "drop":
            row.is_conflicting = True
        elif disagreeing and self.rule.conflict == "blank":
            row.values |= dict.fromkeys(disagreeing, "")
        if self.rule.conflict != "vote":
            row.values = {**kept, **row.values}
            self.loaded.names.update(kept)

    def finish(self) -> None:
        for key, ballots in self.votes.items():
            names = {name for ballot in ballots for name in ballot}
            self.loaded.names |= names
            counts = {name: Counter(ballot[name] for ballot in ballots if name in ballot) for name in sorted(names)}
            self.loaded.rows[key].values = {name: count.most_common(1)[0][0] for name, count in counts.items()}


def read_cells(found: FoundFile, rule: Table, place: dict[str, object]) -> Iterator[tuple[int, list[str]]]:
    """The cells of every line that is not blank, with its number; raises ConfigError for what cannot be read."""
    content = _content(found, place)
    if found.view.lower().endswith(_WORKBOOK):
        yield from read_workbook(content, rule.skip_lines, place)
        return
    if (suffix := found.view.lower().removesuffix(".gz")).endswith(_JSON):
        yield from read_records(content, place, is_lines=suffix.endswith("l"))
        return
    try:
        text = content.decode("utf-8-sig" if rule.encoding.lower() in ("utf-8", "utf8") else rule.encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"a table is not {rule.encoding}",
            where={**place, "line": line},
            next_step='say encoding = "latin-1" for this table',
        ) from None
    except LookupError:
        raise ConfigError("there is no such encoding", where=place, found=rule.encoding) from None
    lines = text.splitlines(keepends=True) if rule.skip_lines else []
    text = "".join(lines[rule.skip_lines :]) if rule.skip_lines else text
    yield from _split_text(text, rule, place)


def _split_text(text: str, rule: Table, place: dict[str, object]) -> Iterator[tuple[int, list[str]]]:
    head = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = rule.delimiter or max(_DELIMITERS, key=head.count)
    if delimiter == "space":
        rows: Any = (re.split(r"\s+", line.strip()) for line in text.splitlines())
        yield from ((n, cells) for n, cells in enumerate(rows, rule.skip_lines + 1) if any(cells))
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if "".join(cells).strip():
                yield reader.line_num + rule.skip_lines, cells
    except csv.Error as error:
        line = reader.line_num + rule.skip_lines
        raise ConfigError("a table cannot be read", where={**place, "line": line}, found=error) from None


def _content(found: FoundFile, place: dict[str, object]) -> bytes:
    try:
        with open_raw(found.raw, Bounds(max_bytes=MAX_TABLE_BYTES)) as stream:
            if not found.view.lower().endswith(".gz"):
                return stream.read()
            with gzip.GzipFile(fileobj=stream) as unfolded:
                content = unfolded.read(MAX_TABLE_BYTES + 1)
    except RejectedInput as rejected:
        raise ConfigError("a table cannot be read", where=place, found=rejected.detail) from None
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError("a table cannot be read", where=place, found=type(error).__name__) from None
    if len(content) > MAX_TABLE_BYTES:
        raise ConfigError("a table is too large", where=place, expected=f"{MAX_TABLE_BYTES} bytes at most")
    return content
