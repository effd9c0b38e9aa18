"""Workbook: the first sheet of an XLSX file as rows of texts, so a clinical table needs no office package."""

import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

from mermed.errors import ConfigError

MAX_SHEET_BYTES = 2**28
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_COLUMN = re.compile(r"[A-Z]{1,3}")


def read_workbook(content: bytes, skip_lines: int, place: dict[str, object]) -> Iterator[tuple[int, list[str]]]:
    """The cells of every row of the first sheet that is not blank, with its number (from 1).

    Numbers stay as the file writes them, so 1 is "1" and 0.5 is "0.5". Raises ConfigError for a file that is none, and
    for one with a document type: entities could unfold without end.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            names = sorted((n for n in book.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", n)), key=_number)
            shared = _texts(_tree(book, "xl/sharedStrings.xml")) if "xl/sharedStrings.xml" in book.namelist() else []
            sheet = _tree(book, names[0])
    except (zipfile.BadZipFile, ElementTree.ParseError, IndexError, ValueError, OSError, EOFError) as error:
        raise ConfigError("a workbook cannot be read", where=place, found=type(error).__name__) from None
    for row in sheet.iter(f"{_MAIN}row"):
        line = int(row.get("r", "0"))
        cells = _row(row, shared)
        if line > skip_lines and any(cell.strip() for cell in cells):
            yield line, cells


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def _tree(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    with book.open(name) as member:
        content = member.read(MAX_SHEET_BYTES + 1)
    if len(content) > MAX_SHEET_BYTES or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("too large, or with entities")
    if b"\0" in content:
        raise ValueError("not UTF-8, so entities could hide")
    return ElementTree.fromstring(content)


def _texts(tree: ElementTree.Element) -> list[str]:
    return ["".join(text.text or "" for text in item.iter(f"{_MAIN}t")) for item in tree.iter(f"{_MAIN}si")]


def _row(row: ElementTree.Element, shared: list[str]) -> list[str]:
    """The texts of one row; cells that the file leaves out are empty."""
    cells: list[str] = []
    for cell in row.iter(f"{_MAIN}c"):
        found = _COLUMN.match(cell.get("r", ""))
        column = _column(found[0]) if found else len(cells)
        cells += [""] * (column - len(cells))
        cells.append(_text(cell, shared))
    return cells


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _text(cell: ElementTree.Element, shared: list[str]) -> str:
    value = cell.findtext(f"{_MAIN}v") or ""
    kind = cell.get("t", "n")
    if kind == "s":
        index = int(value) if value.isdigit() else -1
        return shared[index] if 0 <= index < len(shared) else ""
    if kind == "inlineStr":
        return "".join(text.text or "" for text in cell.iter(f"{_MAIN}t"))
    if kind == "b":
        return "True" if value == "1" else "False"
    return value
