"""The one shape of every benchmark: interleaved rounds, median and spread, environment, a table, one JSON line last.

A `bench_<name>.py` hands `main` a function that takes `Options` and returns a `Report`; `compare` does the rounds. See
README.md beside this file for the rules.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "records"
MIN_ROUNDS = 5
PACKAGES = ("mermed", "numpy", "torch", "torchvision", "timm", "kornia", "pillow", "webdataset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for: small sizes (`quick`), how many rounds, and whether to keep a record."""

    quick: bool
    rounds: int
    record: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one contestant measured over all rounds, and the quartiles as spread."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A named ratio against its bar: it passes at or above the bar, or at or below it when `lower_is_better`."""

    value: float
    bar: float | None = None
    lower_is_better: bool = False

    @property
    def passes(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.lower_is_better else self.value >= self.bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one benchmark; `missing` gives a reason for every contestant that could not take part.

    `columns` holds what else was measured of contestants: the heading with its unit, then contestant and value.
    `appendix` is Markdown that stands below the table, `data` whatever else belongs into record.json.
    """

    bench: str
    unit: str
    figures: Mapping[str, Figure]
    ratios: Mapping[str, Ratio]
    settings: Mapping[str, Any]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Mapping[str, float | str]] = field(default_factory=dict)
    appendix: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def compare(
    contestants: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1, order: random.Random | None = None
) -> dict[str, Figure]:
    """Measure all contestants in turn, round after round (A B C A B C), so that drift hits all alike.

    Each callable does its work once and returns the number it measured. Warm-up rounds are thrown away. With `order`
    each round goes through the contestants in another order, so that none always runs behind the same one.
    """
    if rounds < MIN_ROUNDS:
        raise ValueError(f"a figure needs at least {MIN_ROUNDS} rounds, not {rounds}")
    values: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(-warm_up, rounds):
        if order is not None:
            order.shuffle(names)
        for name in names:
            value = contestants[name]()
            if turn >= 0:
                values[name].append(value)
    return {name: _figure(measured) for name, measured in values.items()}


def _figure(values: list[float]) -> Figure:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(median=median, low=low, high=high, values=tuple(values))


def seconds(work: Callable[[], object], settle: Callable[[], object] = lambda: None) -> Callable[[], float]:
    """A contestant that times `work`; `settle` waits for a device before and after, such as torch.cuda.synchronize."""

    def measure() -> float:
        settle()
        begin = time.perf_counter()
        work()
        settle()
        return time.perf_counter() - begin

    return measure


def peak_bytes(work: Callable[[], object], device: str) -> int:
    """The most memory that torch held at once for what `work` allocated, beyond what was held before.

    On a GPU from the allocator's own peak; on a CPU from the allocation events of torch's profiler, summed in order.
    """
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    if not events:
        raise RuntimeError("torch's profiler reported no allocation: this version names them otherwise")
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def environment() -> dict[str, Any]:
    """Hardware and versions, without host names or paths."""
    return {
        "commit": _commit(),
        "hardware": hardware(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": _threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def hardware() -> str:
    """The name of the GPU if torch is in use and sees one, else that of the processor."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = re.findall(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return names[0].strip() if names else platform.processor() or platform.machine()


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """The short commit of the checkout, with -dirty when files differ from it; `none` outside a repository."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main(run: Callable[[Options], Report], full_rounds: int = 15) -> None:
    """Read the options, run the benchmark, print the table and then the JSON line; write a record when asked to."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: under 60 s on two cores")
    parser.add_argument("--rounds", type=int, default=0, help=f"interleaved rounds, at least {MIN_ROUNDS}")
    parser.add_argument("--record", action="store_true", help="write benchmarks/records/<...>/")
    given = parser.parse_args()
    options = Options(
        quick=given.quick, rounds=given.rounds or (MIN_ROUNDS if given.quick else full_rounds), record=given.record
    )
    around = environment()
    report = run(options)
    console = Console(width=None if sys.stdout.isatty() else 140)
    _show(console, report, around)
    if options.record:
        console.print(f"record: {write_record(report, around, options).relative_to(ROOT)}", highlight=False)
    print(json.dumps(_line(report, around, options)), flush=True)


def _line(report: Report, around: Mapping[str, Any], options: Options) -> dict[str, Any]:
    return {
        "bench": report.bench,
        "commit": around["commit"],
        "hardware": around["hardware"],
        "n": options.rounds,
        "unit": report.unit,
        "quick": options.quick,
        "median": {name: figure.median for name, figure in report.figures.items()},
        "quartiles": {name: [figure.low, figure.high] for name, figure in report.figures.items()},
        "ratio": {name: round(ratio.value, 4) for name, ratio in report.ratios.items()},
        "bar": {name: ratio.bar for name, ratio in report.ratios.items() if ratio.bar is not None},
        "missing": dict(report.missing),
        **({"columns": {name: dict(values) for name, values in report.columns.items()}} if report.columns else {}),
    }


def _show(console: Console, report: Report, around: Mapping[str, Any]) -> None:
    table = Table(title=f"{report.bench} ({report.unit})", title_justify="left")
    table.add_column("contestant")
    for heading in ("median", "quartiles", *report.columns):
        table.add_column(heading, justify="right")
    for name, figure in report.figures.items():
        table.add_row(name, f"{figure.median:.4g}", f"{figure.low:.4g} to {figure.high:.4g}", *_cells(report, name))
    for name, reason in report.missing.items():
        table.add_row(name, "missing", reason)
    console.print(table)
    for name, ratio in report.ratios.items():
        console.print(_ratio_text(name, ratio), highlight=False)
    for note in report.notes:
        console.print(note, highlight=False)
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    console.print(f"{around['hardware']}, {around['cores']} cores, {versions}", highlight=False)


def _cells(report: Report, name: str) -> list[str]:
    """What the further columns say of one contestant; empty where it was not measured."""
    values = [column.get(name, "") for column in report.columns.values()]
    return [value if isinstance(value, str) else f"{value:.3g}" for value in values]


def _ratio_text(name: str, ratio: Ratio) -> str:
    text = f"{name} = {ratio.value:.3g}"
    if ratio.bar is None:
        return text
    verdict = "met" if ratio.passes else "NOT met"
    return f"{text} (bar: at {'most' if ratio.lower_is_better else 'least'} {ratio.bar:g}, {verdict})"


def write_record(report: Report, around: Mapping[str, Any], options: Options) -> Path:
    """Write records/<date>_<bench>_<hardware>_<commit>/ with record.json and README.md; returns the folder."""
    parts = (around["date"], report.bench, _slug(around["hardware"]), around["commit"])
    folder = RECORDS / "_".join(parts)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **_line(report, around, options),
        "environment": dict(around),
        "settings": dict(report.settings),
        "values": {name: asdict(figure)["values"] for name, figure in report.figures.items()},
        "notes": list(report.notes),
        **({"data": dict(report.data)} if report.data else {}),
    }
    (folder / "record.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(_record_text(report, around, options), "utf-8")
    return folder


def _table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _record_text(report: Report, around: Mapping[str, Any], options: Options) -> str:
    command = f"python benchmarks/{report.bench}.py{' --quick' if options.quick else ''} --rounds {options.rounds}"
    lines = [
        f"# {report.bench} on {around['hardware']}, commit {around['commit']}, {around['date']}",
        "",
        f"`{command}`, {options.rounds} interleaved rounds, unit: {report.unit}.",
        "",
        _table_row("contestant", "median", "quartiles", *report.columns),
        "|---|--:|--:|" + "--:|" * len(report.columns),
        *(
            _table_row(name, f"{f.median:.4g}", f"{f.low:.4g} to {f.high:.4g}", *_cells(report, name))
            for name, f in report.figures.items()
        ),
        *(
            _table_row(name, "missing", reason, *([""] * len(report.columns)))
            for name, reason in report.missing.items()
        ),
        *(["", report.appendix] if report.appendix else []),
        "",
        *(f"- {_ratio_text(name, ratio)}" for name, ratio in report.ratios.items()),
        *(f"- {note}" for note in report.notes),
        f"- settings: {json.dumps(dict(report.settings))}",
        f"- {around['cores']} cores, threads: {around['threads']}, load {around['load_1min']} at the start",
        f"- versions: {json.dumps(around['versions'])}",
    ]
    return "\n".join(lines) + "\n"
