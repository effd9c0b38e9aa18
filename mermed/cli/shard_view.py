"""What mermed-shard shows: a progress bar on a terminal, plain lines elsewhere, and closing tables."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mermed.pack.packing import PackResult

PLAIN_LINE_EVERY_S = 10.0


def announce_salt(path: Path) -> None:
    """Tell once that a salt was made: without it, nobody can add to this collection under the same names."""
    click_line = f"made a new salt: {path} (only you can read it). Keep it: it names every sample and group you pack."
    Console(stderr=True).print(click_line, soft_wrap=True)


@contextmanager
def shard_progress(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far work on shards has come, on stderr; `verb` says what is done to them."""
    with _progress(verb, "shards") as show:
        yield lambda done, total: show(done, total, "")


@contextmanager
def _progress(verb: str, noun: str) -> Iterator[Callable[[int, int, str], None]]:
    console = Console(stderr=True)
    begin_s = time.monotonic()
    if not console.is_terminal:
        yield _plain_lines(verb, noun, begin_s)
        return
    columns = (
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(verb, total=None, rate="", note="")

        def show(done: int, total: int, note: str) -> None:
            rate = f"{done / max(time.monotonic() - begin_s, 1e-9):,.0f} {noun}/s"
            bar.update(task, completed=done, total=total, rate=rate, note=note)

        yield show


def _plain_lines(verb: str, noun: str, begin_s: float) -> Callable[[int, int, str], None]:
    last_s = begin_s

    def show(done: int, total: int, note: str) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= PLAIN_LINE_EVERY_S or done == total:
            last_s = now_s
            rate = done / max(now_s - begin_s, 1e-9)
            print(f"{verb} {done:,} of {total:,} {noun}, {rate:,.0f}/s{', ' + note if note else ''}", file=sys.stderr)

    return show


def show_pack(result: PackResult, out: str) -> None:
    """The closing tables of a pack: what went where, and why the rest did not."""
    from mermed.pack.checks.info import describe

    console = Console()
    made = f"{result.num_made:,} buckets made, {result.num_known:,} known already"
    if result.manifest is None:
        console.print(f"{made}, {result.wall_s:.1f} s", soft_wrap=True)
        console.print("next  the other parts, then the same command without --part", soft_wrap=True)
        return
    totals = result.manifest.totals
    console.print(_source_table(describe(result.manifest)["sources"]))
    if result.reasons:
        table = Table("not packed", "reason", box=None, pad_edge=False)
        table.add_column("inputs", justify="right")
        for (bin, reason), count in sorted(result.reasons.items()):
            table.add_row(bin, reason, f"{count:,}")
        console.print(table)
    names = ("packed", "duplicates", "excluded", "quarantined")
    sums = " + ".join(f"{totals[name]:,} {name}" for name in names)
    rate = totals["inputs"] / max(result.wall_s, 1e-9)
    console.print(f"{totals['inputs']:,} inputs = {sums}", soft_wrap=True)
    console.print(
        f"{made}; {result.wall_s:.1f} s, {rate:,.0f} inputs/s, manifest {result.manifest.digest[:12]}", soft_wrap=True
    )
    console.print(f"next  mermed-shard verify {out}", soft_wrap=True)


def show_info(description: dict[str, Any], folder: Path) -> None:
    """The table of `mermed-shard info`."""
    console = Console()
    console.print(_source_table(description["sources"]))
    for name, space in description["labels"].items():
        names = space.get("classes") or space.get("findings", [])
        console.print(f"{name}: {', '.join(names)}", soft_wrap=True, markup=False, highlight=False)
    totals = ", ".join(f"{count:,} {name}" for name, count in description["totals"].items())
    console.print(f"{totals}; manifest {description['digest'][:12]}", soft_wrap=True)
    for source in description["sources"]:
        console.print(f"{folder}/{source['pattern']}", soft_wrap=True, markup=False, highlight=False)


def show_stats(stats: dict[str, dict[str, Any]]) -> None:
    """The table of `mermed-shard stats`, in [0, 1]."""
    table = Table("modality", "mean (r g b)", "std (r g b)", box=None, pad_edge=False)
    table.add_column("train images", justify="right")
    for modality, entry in stats.items():
        mean, std = (" ".join(f"{value:.4f}" for value in entry[name]) for name in ("mean", "std"))
        table.add_row(modality, mean, std, f"{entry['images']:,}")
    Console().print(table)


def _source_table(sources: list[dict[str, Any]]) -> Table:
    """One row per modality and dataset, with the samples of each split."""
    table = Table("modality", "dataset", box=None, pad_edge=False)
    for name in ("train", "val", "test", "shards", "MiB"):
        table.add_column(name, justify="right")
    for modality, dataset in sorted({(source["modality"], source["dataset"]) for source in sources}):
        rows = [s for s in sources if (s["modality"], s["dataset"]) == (modality, dataset)]
        counts = {row["split"]: row["samples"] for row in rows}
        splits = [f"{counts.get(split, 0):,}" for split in ("train", "val", "test")]
        size = sum(row["bytes"] for row in rows) / 2**20
        table.add_row(modality, dataset, *splits, str(sum(row["shards"] for row in rows)), f"{size:.1f}")
    return table
