"""A workbook as a spreadsheet program writes it: texts in a shared list, numbers bare, empty cells left out."""

import zipfile
from xml.sax.saxutils import escape

_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def write_workbook(path, rows):
    """One sheet of `rows`; a number stays a number, None and "" are cells that are not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = list(dict.fromkeys(cell for row in rows for cell in row if isinstance(cell, str) and cell))
    lines = "".join(f'<row r="{n}">{_cells(n, row, texts)}</row>' for n, row in enumerate(rows, 1))
    shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/sharedStrings.xml", f"<sst {_MAIN}>{shared}</sst>")
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {_MAIN}><sheetData>{lines}</sheetData></worksheet>")


def _cells(line, row, texts):
    cells = ""
    for number, value in enumerate(row):
        place = f'r="{chr(ord("A") + number)}{line}"'
        if isinstance(value, str) and value:
            cells += f'<c {place} t="s"><v>{texts.index(value)}</v></c>'
        elif value not in (None, ""):
            cells += f"<c {place}><v>{value}</v></c>"
    return cells
