"""The card itself: all rows for all loaders, each field on its own, so that one failure is one field."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peers.contestant import PeerFailed, PeerMissing

from scorecard.cell import Cell, reason
from scorecard.crew import Crew, TimeIsUp
from scorecard.data import Sets
from scorecard.rows import cycles, faults, mixing, order, resume, starting
from scorecard.rows.setting import Setting

Row = Callable[[Setting], Cell]
ROWS: Mapping[str, tuple[str, Row]] = {
    "mixing": (mixing.TITLE, mixing.row),
    "order": (order.TITLE, order.row),
    "mixed_order": (order.MIXED_TITLE, order.mixed_row),
    "epoch": (cycles.TITLE, cycles.row),
    "resume": (resume.TITLE, resume.row),
    "resume_time": (resume.TIME_TITLE, resume.time_row),
    "resize": (order.RESIZE_TITLE, order.resize_row),
    "damage": (faults.TITLE, faults.row),
    "kill_worker": (faults.KILL_TITLE, faults.kill_row),
    "kill_loader": (resume.KILL_TITLE, resume.kill_row),
    "start": (starting.TITLE, starting.row),
}
"""Name, title and function of each row, in the order of the table."""

FIELD_S = 300.0
"""What a loader may take for one row: the slowest known needs ten times as long as most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one loader did: a cell per row, and the seconds that finding out took."""

    title: str
    cells: Mapping[str, Cell]
    seconds: Mapping[str, float]

    @property
    def passed(self) -> int:
        """Rows that it passes."""
        return sum(cell.passes is True for cell in self.cells.values())


def fill(
    names: Sequence[str], rows: Sequence[str], *, quick: bool, tell: Callable[[str], None]
) -> tuple[dict[str, Column], dict[str, str]]:
    """The columns of the loaders `names`, and why the others have none; `tell` hears of each field as it is filled."""
    columns: dict[str, Column] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        sets = Sets(Path(folder))
        for name in names:
            try:
                with Crew(name) as crew:
                    columns[name] = column(Setting(crew, sets, quick), rows, tell)
                    sets.forget(crew)
            except PeerMissing as error:
                missing[name] = str(error)
                tell(f"{name}: missing, {error}")
    return columns, missing


def column(setting: Setting, rows: Sequence[str], tell: Callable[[str], None]) -> Column:
    """All rows of one loader; what it raises in one is that row's answer."""
    cells: dict[str, Cell] = {}
    seconds: dict[str, float] = {}
    for row in rows:
        begin = time.perf_counter()
        setting.crew.give(FIELD_S)
        try:
            cells[row] = ROWS[row][1](setting)
        except TimeIsUp:
            cells[row] = Cell(text=f"not known: not done within {FIELD_S:.0f} s", passes=None, figures={})
        except PeerFailed as error:
            cells[row] = Cell(text=f"fails: {reason(error)}", passes=False, figures={"failed": reason(error)})
        seconds[row] = round(time.perf_counter() - begin, 1)
        tell(f"{setting.crew.title}, {row} ({seconds[row]} s): {cells[row].marked}")
    return Column(title=setting.crew.title, cells=cells, seconds=seconds)


def table(columns: Mapping[str, Column]) -> str:
    """The card as Markdown: rows by loaders."""
    heading = ["", *(column.title for column in columns.values())]
    lines = [_line(heading), "|---" * len(heading) + "|"]
    for row in dict.fromkeys(row for column in columns.values() for row in column.cells):
        lines.append(_line([ROWS[row][0], *(column.cells[row].marked for column in columns.values())]))
    lines.append(_line(["passed", *(str(column.passed) for column in columns.values())]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def figures(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Everything that was measured, for the record."""
    return {
        name: {
            "seconds": dict(column.seconds),
            "cells": {row: asdict(cell) for row, cell in column.cells.items()},
        }
        for name, column in columns.items()
    }
