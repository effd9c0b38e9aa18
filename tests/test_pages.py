"""The pages about loaders keep their word: each failure has its test or its reason, each figure is that of a record."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_TEST = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def _rows(page, columns):
    """The body rows of the tables of `page` that have `columns` cells."""
    lines = [line for line in (ROOT / page).read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [row for row in cells if len(row) == columns and not set("".join(row)) <= set("-:")]


def _tests_that_do_not_exist(text):
    missing = []
    for file, function in _TEST.findall(text):
        path = ROOT / "tests" / file
        if not path.is_file() or (function and not re.search(rf"^ *def {function}\(", path.read_text("utf-8"), re.M)):
            missing.append(f"{file}::{function}")
    return missing


def test_all_fifty_failures_have_a_test_or_a_reason():
    rows = {int(row[0]): row for row in _rows("docs/failures.md", 5) if row[0].isdigit()}
    assert sorted(rows) == list(range(1, 51))
    for number, (_, failure, _, here, held_by) in rows.items():
        assert failure and here, number
        assert _TEST.search(held_by), f"failure {number} names no test"
        assert _tests_that_do_not_exist(held_by) == [], number


@pytest.mark.parametrize("page", ["docs/failures.md", "docs/guarantees.md"])
def test_no_page_names_a_test_that_is_not_there(page):
    text = (ROOT / page).read_text("utf-8")
    assert len(_TEST.findall(text)) > 30
    assert _tests_that_do_not_exist(text) == []


def test_the_look_for_missing_tests_finds_them():
    assert _tests_that_do_not_exist("`test_pages.py::test_never_written` `test_gone.py` `test_pages.py`") == [
        "test_pages.py::test_never_written",
        "test_gone.py::",
    ]
