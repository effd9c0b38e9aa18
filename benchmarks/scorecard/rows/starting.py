"""Seconds and memory to know the first batch of a million samples, and of a hundred million."""

import tempfile
from pathlib import Path

from scorecard.cell import Cell, absent
from scorecard.rows.setting import Setting
from scorecard.startup import NOT_STARTED, PLANNED

TITLE = "start on an index of 10^6 rows without data: seconds, MiB"
ROWS, HUGE_ROWS, WITHIN_S = 10**6, 10**8, 1.0
HUGE = ("ours",)


def row(setting: Setting) -> Cell:
    """Start on 10^6 rows; ours on 10^8 as well."""
    name = setting.crew.name
    if name not in PLANNED:
        return absent(NOT_STARTED[name])
    figures, texts = {"of": PLANNED[name].of}, []
    for rows in (ROWS, HUGE_ROWS) if name in HUGE and not setting.quick else (ROWS,):
        with tempfile.TemporaryDirectory() as folder:
            setting.crew.restart()  # a process that did nothing before: its memory tells
            answer = setting.crew.ask("start_on_rows", rows=rows, folder=str(Path(folder) / "index"))
        figures[f"{rows:.0e} rows"] = {"seconds": answer["seconds"], "MiB": answer["bytes"] / 2**20}
        texts.append(
            f"{answer['seconds']:.2f} s, {answer['bytes'] / 2**20:.0f} MiB" + (f" at {rows:.0e}" if rows > ROWS else "")
        )
    return Cell(
        text=f"{'; '.join(texts)} ({PLANNED[name].of})",
        passes=figures["1e+06 rows"]["seconds"] <= WITHIN_S,
        figures=figures,
    )
