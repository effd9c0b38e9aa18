"""What one rank of a loader does for the scorecard, as a child process: `python -m scorecard.trials NAME`."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peers.border import Opening
from peers.child import Commands, serve
from peers.measure import process_tree, resident_bytes
from peers.states import from_json, to_json

from scorecard import startup

AFTER_KILL = 30
"""Batches taken after a worker was killed: more than any loader here reads ahead."""


class Trials(Commands):
    """Commands of the scorecard; every answer is a JSON object."""

    def prepare_set(self, images: str, out: str, **_: Any) -> dict[str, Any]:
        """Convert a folder of images."""
        return self.prepare(images, out)

    def run(self, out: str, batches: int, states_at: Sequence[int] = (), **opening: Any) -> dict[str, Any]:
        """Keys and sizes of up to `batches` batches, and the states after so many of them as `states_at` names."""
        read, begin = bytes_read(), time.perf_counter()
        source = self._open(out, **opening)
        keys, sizes, states, first_s = [], [], {}, None
        try:
            for pixels, names in limited(source, batches):
                if first_s is None:
                    first_s, read = time.perf_counter() - begin, bytes_read() - read
                keys.append(names)
                sizes.append(len(pixels))
                if len(keys) in states_at:
                    states[str(len(keys))] = to_json(source.state())
        finally:
            source.close()
        return {"keys": keys, "sizes": sizes, "states": states, "first_s": first_s, "first_bytes": read}

    def journal(self, out: str, journal: str, batches: int, pause_s: float, **opening: Any) -> dict[str, Any]:
        """Train on a batch for `pause_s`, then save its keys and the state behind it as a line of `journal`; and on."""
        source = self._open(out, **opening)
        try:
            with open(journal, "a", encoding="utf-8") as file:
                for _, names in limited(source, batches):
                    time.sleep(pause_s)
                    file.write(json.dumps({"keys": names, "state": to_json(source.state())}) + "\n")
                    file.flush()
        finally:
            source.close()
        return {}

    def kill_worker(self, out: str, before: int, **opening: Any) -> dict[str, Any]:
        """Kill the last started worker after `before` batches, with SIGKILL, and see what the next ones do.

        The source is not closed: that may take for ever now, and this process has no further use.
        """
        taken = iter(self._open(out, **opening))
        keys = [next(taken)[1] for _ in range(before)]
        workers = workers_of(os.getpid())
        if not workers:
            return {"workers": 0}
        os.kill(workers[-1], signal.SIGKILL)
        begin = time.perf_counter()
        try:
            keys += [next(taken)[1] for _ in range(AFTER_KILL)]
        except Exception as error:  # what it raises is the answer
            return {"workers": len(workers), "seconds": time.perf_counter() - begin, "raised": said(error)}
        return {"workers": len(workers), "keys": keys}

    def start_on_rows(self, rows: int, folder: str, **_: Any) -> dict[str, Any]:
        """Seconds and memory to have the first batch planned over an index of `rows` rows that has no data."""
        planned = startup.PLANNED[self._name]
        prepared = planned.prepare(rows, Path(folder))
        before, begin = resident_bytes(), time.perf_counter()
        held = planned.start(prepared)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "bytes": resident_bytes() - before, "first": repr(held)[:80]}

    def _open(self, out: str, state: Any = None, **opening: Any) -> Any:
        return self._peer.open(Path(out), Opening(state=from_json(state), **opening))

    @property
    def _name(self) -> str:
        return self._peer.__name__.rpartition(".")[2]  # type: ignore[attr-defined]


def limited(source: Any, batches: int) -> Iterator[tuple[Any, list[str]]]:
    """Pixels and keys of up to `batches` batches; not one more is asked for, since that moves the state of some."""
    taken = iter(source)
    for _ in range(batches):
        try:
            pixels, keys, *_ = next(taken)
        except StopIteration:
            return
        yield pixels, keys


def said(error: BaseException) -> str:
    """The kind of an error and its last line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1][:200]}"


def workers_of(process: int) -> list[int]:
    """Processes that `process` started to work for it: its descendants but for Python's own trackers."""
    found = []
    for descendant in process_tree(process)[1:]:
        try:
            command = Path(f"/proc/{descendant}/cmdline").read_bytes()
        except OSError:
            continue
        if command and b"resource_tracker" not in command:
            found.append(descendant)
    return sorted(found)


def bytes_read() -> int:
    """Bytes that this process and its living workers have read from files; what is mapped is not counted."""
    total = 0
    for process in process_tree(os.getpid()):
        try:
            total += int(Path(f"/proc/{process}/io").read_text("ascii").split()[1])
        except (OSError, IndexError):
            continue
    return total


if __name__ == "__main__":
    serve(sys.argv[1], Trials)
