"""Where the time of a step goes, and where its figures are written: metrics.jsonl, TensorBoard, the live line."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from mermed.draft import replace_file
from mermed.train.readings import METRICS_NAME


class StepClock:
    """Seconds since the last reading, split into waiting for data and the rest."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._wait_s = 0.0
        self._images = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the enclosed time as a stall."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._wait_s += time.perf_counter() - begin

    def count(self, images: int) -> None:
        """Add the images of one step, over all ranks."""
        self._images += images

    def read(self) -> dict[str, float]:
        """Images per second and the share of the time stalled since the last reading, then start over."""
        elapsed_s = max(time.perf_counter() - self._begin, 1e-9)
        figures = {
            "images_per_s": round(self._images / elapsed_s, 3),
            "stall": round(self._wait_s / elapsed_s, 4),
            "wait_s": round(self._wait_s, 4),
            "elapsed_s": round(elapsed_s, 4),
        }
        self.__init__()
        return figures


class MetricsWriter:
    """Appends one JSON line per reading to metrics.jsonl and the same figures to TensorBoard.

    Opened for a run that goes on after `step`, it first drops the lines past it: those steps will be taken again.
    """

    def __init__(self, run: Path, step: int) -> None:
        path = run / METRICS_NAME
        _drop_lines_after(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, figures: Mapping[str, Any]) -> None:
        """Write one reading; nested tables become `group/name` in TensorBoard."""
        self._file.write(json.dumps(figures, allow_nan=True) + "\n")
        self._file.flush()
        step = int(figures["step"])
        for name, value in figures.items():
            for part, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                if isinstance(number, int | float):
                    self._board.add_scalar(f"{name}/{part}" if part else f"run/{name}", number, step)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()


def _drop_lines_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
    replace_file(path, "".join(f"{line}\n" for line in kept).encode())


def _step_of(line: str) -> float:
    """The step a line speaks of; a line cut short by a kill counts as past everything."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """All readings of a run, in order."""
    return [json.loads(line) for line in (run / METRICS_NAME).read_text("utf-8").splitlines()]


class LiveLine:
    """The progress of a run for people: one live line on a terminal, else a plain line per reading."""

    def __init__(self, console: Console, steps: int, step: int) -> None:
        self._console = console
        self._steps = steps
        columns = [
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(compact=True),
        ]
        self._progress = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._progress.add_task("starting", total=steps, completed=step) if self._progress else None

    def show(self, figures: Mapping[str, Any]) -> None:
        """Show one reading."""
        by_modality = " ".join(f"{name} {loss:.2f}" for name, loss in figures["loss_by_modality"].items())
        text = (
            f"loss {figures['loss']:.3f}  lr {figures['lr']:.1e}  {figures['images_per_s']:.1f} img/s  "
            f"stall {100 * figures['stall']:.1f} %  [{by_modality}]"
        )
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=figures["step"], description=text)
        else:
            self._console.print(
                f"step {figures['step']}/{self._steps}  {text}", highlight=False, markup=False, soft_wrap=True
            )

    def __enter__(self) -> "LiveLine":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
