"""The quarantine journal of a run: one JSON line for every sample that failed and was replaced."""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mermed.stream.meters.watch import Watch

_PATTERN = "quarantine-rank-*.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A sample that was drawn for `slot` and could not be used, and what was drawn instead.

    `key` is empty where not even the shard's index could be read; `index` tells which sample of the shard it was.
    `reason` is one word, `detail` a sentence. `attempt` is -1 for the planned sample, n (from 0) for its n-th stand-in.
    `replaced_by` is the key of the sample that was read in its place, empty when the run stopped instead.
    """

    slot: int
    source: str
    shard: str
    index: int
    key: str
    reason: str
    detail: str
    attempt: int
    replaced_by: str
    rank: int


class Journal:
    """Appends incidents to RUN/quarantine-rank-00000.jsonl, a file for each rank, made at the first incident.

    One file a rank: ranks of many nodes never share a file, which network file systems do not append to as one. Every
    line is handed to the system before the stream goes on. A line that cannot be written (a full disk) is counted at
    `watch` as `journal_lost`, and training goes on. Slots that were read ahead and are read again after a resume have
    their incidents twice; (slot, attempt, key) tells. Only keys are written, never anything a file was called.
    """

    def __init__(self, run: Path, rank: int, watch: Watch) -> None:
        self.rank = rank
        self.path = run / f"quarantine-rank-{rank:05d}.jsonl"
        self._watch = watch
        self._lock = threading.Lock()
        self._is_torn = _ends_inside_a_line(self.path)

    def write(self, incident: Incident) -> None:
        """Append one line."""
        line = json.dumps(asdict(incident), ensure_ascii=True).encode() + b"\n"
        with self._lock:
            line = b"\n" + line if self._is_torn else line
            try:
                with self.path.open("ab", buffering=0) as file:
                    self._is_torn = file.write(line) != len(line)
                lost = self._is_torn
            except OSError:
                lost = True
        if lost:
            self._watch.count("journal_lost")


def _ends_inside_a_line(path: Path) -> bool:
    """Whether a process was killed, or a disk was full, while it wrote the last line."""
    return path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")


def incidents(run: Path) -> Iterator[Incident]:
    """Every incident of a run, rank by rank in the order of writing; a line that a full disk cut short is left out."""
    for path in sorted(run.glob(_PATTERN)):
        for line in path.read_bytes().split(b"\n"):
            try:
                yield Incident(**json.loads(line))
            except (ValueError, TypeError):
                continue
