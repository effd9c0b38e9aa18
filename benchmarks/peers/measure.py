"""What a measurement of a peer returns: images/s, seconds to the first batch, CPU seconds, memory of its processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers.border import Source

SAMPLE_EVERY_S = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
MIB = 2**20


def rate(open_source: Callable[[], Source], batches: int, *, memory: bool = False) -> dict[str, Any]:
    """Open a source, take the first batch, time the `batches` after it, close it.

    CPU seconds are those of this process and all below it over the timed batches. With `memory` a thread samples the
    proportional set sizes of the tree meanwhile (`peak_mib`); sampling costs time, so such a rate is not for the table.
    """
    with _sampled(memory) as peak:
        begin = time.perf_counter()
        source = open_source()
        try:
            taken = _taken(source)
            next(taken)
            first_s, cpu_s, start = time.perf_counter() - begin, cpu_seconds(), time.perf_counter()
            images = sum(len(next(taken)[1]) for _ in range(batches))
            wall_s = time.perf_counter() - start
            cpu_s = cpu_seconds() - cpu_s
        finally:
            source.close()
    return {
        "images_per_s": images / wall_s,
        "first_batch_s": first_s,
        "cpu_s_per_1000": cpu_s / images * 1000,
        "peak_mib": peak[0] / MIB if memory else None,
    }


def _taken(source: Source) -> Iterator[Any]:
    """The batches of a source; raises EOFError where it ends, since a measurement needs all it asked for."""
    count = 0
    for entry in source:
        yield entry
        count += 1
    raise EOFError(f"the source ended after {count} batches, within a measurement")


@contextmanager
def _sampled(wanted: bool) -> Iterator[list[int]]:
    """The largest sum of proportional set sizes (bytes) while the block runs, as the only item of a list."""
    peak, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_EVERY_S):
            peak[0] = max(peak[0], resident_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    if wanted:
        thread.start()
    try:
        yield peak
    finally:
        stop.set()
        if wanted:
            thread.join()


def cpu_seconds() -> float:
    """CPU seconds of this process and all below it so far, those that ended included once their parent knows."""
    return sum(sum(_stat(process)[11:15]) for process in process_tree(os.getpid())) / _TICKS


def resident_bytes() -> int:
    """Proportional set size of this process and all below it: shared pages are counted once in all."""
    total = 0
    for process in process_tree(os.getpid()):
        for line in _text(f"/proc/{process}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def process_tree(root: int) -> list[int]:
    """Process ids of `root` and everything below it that lives."""
    parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found, frontier = [root], [root]
    while frontier:
        frontier = [process for process, parent in parents.items() if parent in frontier]
        found += frontier
    return found


def _parent(process: int) -> int:
    return _stat(process)[1]


def _stat(process: int) -> list[int]:
    """Fields of /proc/PID/stat from the state on, the state as 0; zeros when the process is gone."""
    after_name = _text(f"/proc/{process}/stat").rpartition(")")[2].split()
    return [0, *map(int, after_name[1:])] if after_name else [0] * 20


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
