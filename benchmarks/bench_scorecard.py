"""The correctness scorecard: exact shares, elastic order, epochs, resume and faults, for ours and every peer installed.

`python benchmarks/bench_scorecard.py [--quick] [--record] [--only NAME ...] [--rows ROW ...]`. Every field is
found out by running the loader, in processes of its own; nothing but starts is timed.
"""

import argparse
import sys

import harness
from peers.border import PEERS
from rich.console import Console
from scorecard.card import ROWS, figures, fill, table

QUICK = ("ours", "webdataset", "files")


def chosen() -> argparse.Namespace:
    """The options that this bench has besides those of all; they are taken out of the command line."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=None)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    given, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    return given


def bench(options: harness.Options, only: tuple[str, ...], rows: tuple[str, ...]) -> harness.Report:
    """The correctness scorecard; --only NAMES and --rows ROWS choose loaders and rows."""
    console = Console(stderr=True)
    names = only or (QUICK if options.quick else tuple(name for name in PEERS if name != "files_pil"))
    columns, missing = fill(
        names,
        rows,
        quick=options.quick,
        tell=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
    )
    passed = {
        column.title: harness.Figure(
            median=column.passed, low=column.passed, high=column.passed, values=(float(column.passed),)
        )
        for column in columns.values()
    }
    return harness.Report(
        bench="bench_scorecard",
        unit=f"rows passed of {len(rows)}",
        figures=passed,
        ratios={},
        settings={"rows": list(rows)},
        missing=missing,
        appendix=table(columns),
        data=figures(columns),
    )


if __name__ == "__main__":
    given = chosen()
    harness.main(lambda options: bench(options, tuple(given.only or ()), tuple(given.rows)))
