"""Workbooks: the first sheet as texts, numbers as they stand, and nothing that unfolds without end."""

import io
import zipfile

import pytest

from mermed.errors import ConfigError
from mermed.pack.recipes.workbook import read_workbook

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def book(rows, *, shared=(), name="xl/worksheets/sheet1.xml", head="", encoding="utf-8", **others):
    """An XLSX with one sheet of raw row XML, and a table of shared strings."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        text = f"{head}<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
        archive.writestr(name, text.encode(encoding))
        if shared:
            items = "".join(f"<si>{item}</si>" for item in shared)
            archive.writestr("xl/sharedStrings.xml", f"<sst {MAIN}>{items}</sst>")
        for other, text in others.items():
            archive.writestr(other.replace("__", "/") + ".xml", text)
    return content.getvalue()


def read(content, skip_lines=0):
    return list(read_workbook(content, skip_lines, {"file": "x.xlsx"}))


def test_shared_inline_and_rich_texts_numbers_and_booleans_are_read_as_texts():
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
        '<row r="2"><c r="A2"><v>7</v></c><c r="B2"><v>0.5</v></c><c r="C2" t="b"><v>1</v></c></row>'
        '<row r="3"><c r="A3" t="inlineStr"><is><t>in line</t></is></c><c r="B3" t="str"><v>made</v></c></row>'
    )
    shared = ("<t>id</t>", "<r><t>two </t></r><r><t>parts</t></r>")
    assert read(book(rows, shared=shared)) == [
        (1, ["id", "two parts"]),
        (2, ["7", "0.5", "True"]),
        (3, ["in line", "made"]),
    ]


def test_cells_that_the_file_leaves_out_are_empty_and_blank_rows_are_no_rows():
    rows = '<row r="1"><c r="B1"><v>1</v></c><c r="AA1"><v>2</v></c></row>'
    rows += '<row r="4"/><row r="9"><c r="A9"><v>3</v></c></row>'
    first, second = read(book(rows))
    assert (first[0], len(first[1]), first[1][1], first[1][26]) == (1, 27, "1", "2")
    assert second == (9, ["3"])


def test_lines_above_the_header_are_skipped_by_their_numbers():
    rows = '<row r="1"><c r="A1"><v>1</v></c></row><row r="3"><c r="A3"><v>2</v></c></row>'
    assert read(book(rows), skip_lines=2) == [(3, ["2"])]


def test_a_shared_string_that_is_not_there_is_empty():
    assert read(book('<row r="1"><c r="A1" t="s"><v>9</v></c><c r="B1"><v>1</v></c></row>')) == [(1, ["", "1"])]


def test_the_first_sheet_by_number_is_read():
    row = '<row r="1"><c r="A1"><v>{}</v></c></row>'
    second = f"<worksheet {MAIN}><sheetData>{row.format(2)}</sheetData></worksheet>"
    content = book(row.format(10), name="xl/worksheets/sheet10.xml", xl__worksheets__sheet2=second)
    assert read(content) == [(1, ["2"])]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK no archive",
        book("<row><unclosed>"),
        book("", name="xl/other.xml"),
        book("", head='<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'),
        book("", head='<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>', encoding="utf-16"),
    ],
    ids=["empty", "no_archive", "no_xml", "no_sheet", "entities", "entities_in_utf_16"],
)
def test_what_is_no_workbook_is_an_error_that_names_the_file(content):
    with pytest.raises(ConfigError, match="a workbook cannot be read") as caught:
        read(content)
    assert caught.value.where == {"file": "x.xlsx"}


def test_a_sheet_that_unfolds_beyond_the_bound_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr("mermed.pack.recipes.workbook.MAX_SHEET_BYTES", 10_000)
    with pytest.raises(ConfigError, match="cannot be read"):
        read(book(" " * 20_000))
