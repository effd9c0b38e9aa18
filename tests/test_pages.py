"""The pages about loaders keep their word: each failure has its test or its reason, each figure is that of a record."""

import ast
import importlib
import importlib.util
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


def test_the_page_of_loaders_shows_what_the_records_give():
    page, peer_table = (ROOT / "docs" / "loaders.md").read_text("utf-8"), _peer_table()
    begin, end = page.index(peer_table.BEGIN) + len(peer_table.BEGIN), page.index(peer_table.END)
    assert page[begin:end].strip() == peer_table.block(), "tools/peer_table.py --write"


def test_a_record_is_shown_with_every_contestant_loss_and_absence():
    record = {
        "bench": "bench_loader",
        "folder": "a",
        "commit": "abc",
        "n": 5,
        "unit": "images/s",
        "median": {
            "limit (decoder alone)": 200.0,
            "ours": 190.0,
            "peer": 195.0,
            "large: limit": 50.0,
            "large: ours": 70.0,
        },
        "columns": {"first batch (s)": {"ours": 0.5, "peer": 2.0}},
        "ratio": {"ours_over_best_peer": 0.974},
        "bar": {"ours_over_best_peer": 1.03},
        "missing": {"gone": "does not install"},
        "environment": {"hardware": "cpu", "cores": 2, "date": "2026-01-01"},
    }
    lines = _peer_table().section(record)
    assert "| peer | 195 | 0.97 | 2 |" in lines
    assert "| ours | 190 | 0.95 | 0.5 |" in lines
    assert "| large: ours | 70 | 1.40 |  |" in lines
    assert lines.index("| peer | 195 | 0.97 | 2 |") < lines.index("| ours | 190 | 0.95 | 0.5 |")
    assert "- `ours_over_best_peer` 0.974 (bar 1.03)" in lines
    assert "- missing: gone (does not install)" in lines


def test_a_scorecard_is_shown_with_its_marks_and_words():
    cells = {"order": {"text": "3 orders", "passes": False, "figures": {}}}
    record = {
        "data": {"ours": {"cells": {"order": {"text": "1 order", "passes": True}}}, "peer": {"cells": cells}},
        "median": {"ours": 1, "Peer": 0},
    }
    lines = _peer_table().scorecard_table(record)
    assert lines[0] == "|  | ours | Peer |"
    assert lines[2] == "| different orders over ranks and workers | pass 1 order | **fail** 3 orders |"
    assert lines[-1] == "| rows passed | 1 | 0 |"


def _peer_table():
    spec = importlib.util.spec_from_file_location("peer_table", ROOT / "tools" / "peer_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_on_the_page_of_loaders_are_python_that_imports_what_exists():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "loaders.md").read_text("utf-8"), re.S)
    assert len(blocks) >= 3
    imported = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    ours = [(node.module, alias.name) for node in imported for alias in node.names if node.module.startswith("mermed")]
    assert {name for _, name in ours} == {"MermedDataset", "webdataset_pipeline"}
    for module, name in ours:
        assert hasattr(importlib.import_module(module), name)
