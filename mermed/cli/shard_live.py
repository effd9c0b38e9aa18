"""The live view of a pack: a table per modality on a terminal, plain lines elsewhere; it never stops a pack.

A display that cannot be written to (a closed pipe, a terminal that is gone) falls silent, and the pack goes on.
"""

import io
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from mermed.pack.progress import ModalityProgress

Watch = Callable[[Mapping[str, ModalityProgress]], None]
REFRESH_S = 0.25
PLAIN_LINE_EVERY_S = 10.0
WINDOW_S = 20.0
"""Speeds are those of the last seconds: a pack of small files that turns to slides should say so."""
ALL = "all"
_LEAST_WINDOW_S = 0.5
_TINY, _NARROW, _MIDDLE = 28, 44, 64


class _Sink(io.TextIOBase):
    """A stream that drops what cannot be written; `rich` would end the program there."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("there is no stream")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, name: str, *arguments: str) -> None:
        if self._stream is None:
            return
        try:
            getattr(self._stream, name)(*arguments)
        except UnicodeEncodeError:
            self._stream.write(arguments[0].encode("ascii", "replace").decode("ascii"))
        except (OSError, ValueError):
            self._stream = None


@dataclass(slots=True)
class _Speed:
    """Tasks and bytes per second over the last WINDOW_S."""

    marks: deque[tuple[float, int, int]] = field(default_factory=deque)

    def mark(self, now_s: float, progress: ModalityProgress) -> None:
        self.marks.append((now_s, progress.done, progress.read_bytes))
        while len(self.marks) > 2 and now_s - self.marks[1][0] >= WINDOW_S:
            self.marks.popleft()

    def rates(self) -> tuple[float, float]:
        """(tasks/s, bytes/s); zeros while too little is known."""
        if not self.marks:
            return 0.0, 0.0
        (begin_s, done, read), (end_s, done_now, read_now) = self.marks[0], self.marks[-1]
        if end_s - begin_s < _LEAST_WINDOW_S:
            return 0.0, 0.0
        return (done_now - done) / (end_s - begin_s), (read_now - read) / (end_s - begin_s)


@contextmanager
def pack_live(stream: TextIO | None = None) -> Iterator[Watch]:
    """Show how far a pack has come, on stderr or `stream`: `with pack_live() as watch: watch({"ct": progress})`.

    `watch` may be called as often as one likes; it looks at the clock and mostly returns.
    """
    console = Console(file=_Sink(stream or sys.stderr), highlight=False)  # type: ignore[arg-type]
    view = _Table(console) if console.is_terminal and not console.is_dumb_terminal else _Lines(console)
    with view:
        yield view.watch


class _View:
    """The common part of both views: when to show, and how fast things go."""

    def __init__(self, console: Console, every_s: float, shown_s: float) -> None:
        self._console = console
        self._every_s = every_s
        self._shown_s, self._marked_s = shown_s, float("-inf")
        self._speeds: defaultdict[str, _Speed] = defaultdict(_Speed)
        self._latest: Mapping[str, ModalityProgress] = {}

    def __enter__(self) -> "_View":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self._latest:
            self._mark(time.monotonic())
            self.draw(self._latest)

    def watch(self, progress: Mapping[str, ModalityProgress]) -> None:
        self._latest = progress
        now_s = time.monotonic()
        if now_s - self._marked_s < REFRESH_S:
            return
        self._mark(now_s)
        if now_s - self._shown_s >= self._every_s:
            self._shown_s = now_s
            self.draw(progress)

    def _mark(self, now_s: float) -> None:
        self._marked_s = now_s
        for name, one in (*self._latest.items(), (ALL, total(self._latest))):
            self._speeds[name].mark(now_s, one)

    def draw(self, progress: Mapping[str, ModalityProgress]) -> None:
        raise NotImplementedError

    def cells(self, name: str, one: ModalityProgress) -> tuple[str, str, str, str, str, str]:
        """name, done/total, MB/s, bad, duplicates, time left."""
        per_s, bytes_per_s = self._speeds[name].rates()
        left = one.total - one.done
        eta = "done" if not left else clock(left / per_s) if per_s > 0 else "-"
        speed = f"{bytes_per_s / 1e6:,.1f}" if bytes_per_s > 0 else "-"
        return name, f"{one.done:,}/{one.total:,}", speed, f"{one.bad:,}", f"{one.duplicates:,}", eta


def total(progress: Mapping[str, ModalityProgress]) -> ModalityProgress:
    """The sum over modalities."""
    names = ("done", "total", "read_bytes", "bad", "duplicates")
    return ModalityProgress(**{name: sum(getattr(one, name) for one in progress.values()) for name in names})


def clock(seconds: float) -> str:
    """A time as people write it: 0:42, 12:05, 3:20:00, 2 d 4 h."""
    whole = round(min(seconds, 1e9))
    if whole >= 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Table(_View):
    """A table that is drawn over itself and vanishes at the end, when the closing tables tell all of it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, REFRESH_S, float("-inf"))
        # No thread draws: decoder processes are started meanwhile, and a fork beside a thread may hang.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> "_View":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        super().__exit__(kind, *rest)
        self._live.stop()

    def draw(self, progress: Mapping[str, ModalityProgress]) -> None:
        self._live.update(self.table(progress, self._console.width), refresh=True)

    def table(self, progress: Mapping[str, ModalityProgress], width: int) -> Table:
        """As many columns as fit: a narrow terminal gets what is done, a wide one everything."""
        heads = ("packing", "done", "MB/s", "bad", "dup", "left")
        kept = (0, 1) if width < _NARROW else (0, 1, 3, 5) if width < _MIDDLE else range(6)
        table = Table(box=None, pad_edge=False)
        for number in kept:
            table.add_column(heads[number], justify="left" if number == 0 else "right", no_wrap=True)
        rows = [*sorted(progress.items())]
        if len(rows) > 1:
            rows.append((ALL, total(progress)))
        for name, one in rows:
            cells = self.cells(name, one)
            if width < _TINY:
                cells = name, f"{one.done / max(one.total, 1):.0%}", *cells[2:]
            style = "bold" if name == ALL else "dim" if one.total and one.done >= one.total else ""
            table.add_row(*(cells[number] for number in kept), style=style)
        return table


class _Lines(_View):
    """A line now and then, for logs."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, PLAIN_LINE_EVERY_S, time.monotonic())

    def draw(self, progress: Mapping[str, ModalityProgress]) -> None:
        each = ", ".join(f"{name} {one.done:,}/{one.total:,}" for name, one in sorted(progress.items()))
        _, done, speed, bad, duplicates, left = self.cells(ALL, total(progress))
        text = f"packing {done} inputs ({each}), {speed} MB/s, {bad} bad, {duplicates} duplicates, left {left}"
        self._console.print(text, soft_wrap=True, markup=False)
