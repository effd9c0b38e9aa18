"""A voice for long waits: while the trainer waits for a batch, a thread says for what, again and again."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.watch import Watch

THREAD_PREFIX = "mermed-"
"""What the names of all threads of the stream begin with."""
_POLL_S = 1.0
_MAX_REASONS = 3


class StallTeller:
    """Tells through `tell`, one text per call, what a consumer waits for once it waits longer than `first_s`.

    It speaks again every `again_s`, and after `stacks_s` it adds once per wait where each thread of the stream stands.
    A `tell` that fails, as on a closed terminal, silences it: no run ends because nobody listens. Use it as a context
    manager; the consumer wraps each wait in `waiting()`, which costs nothing.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        watch: Watch,
        queues: Sequence[QueueStats] = (),
        *,
        first_s: float = 10.0,
        again_s: float = 30.0,
        stacks_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._watch, self._queues, self._clock = tell, watch, tuple(queues), clock
        self._first_s, self._again_s, self._stacks_s = first_s, again_s, stacks_s
        self._since: float | None = None
        self._told_of: float | None = None
        self._next_s = first_s
        self._gave_stacks = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{THREAD_PREFIX}teller", daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The body is a wait for a batch."""
        self._since = self._clock()
        try:
            yield
        finally:
            self._since = None

    def look(self) -> None:
        """Speak if it is time to; the thread calls it every second."""
        since = self._since
        if since is None:
            return
        if since != self._told_of:
            self._told_of, self._next_s, self._gave_stacks = since, self._first_s, False
        waited_s = self._clock() - since
        if waited_s >= self._next_s:
            self._next_s = waited_s + self._again_s
            self._tell(f"waiting {waited_s:.0f} s for data: {self._reason()}")
        if waited_s >= self._stacks_s and not self._gave_stacks:
            self._gave_stacks = True
            self._tell(f"the threads of the stream after {waited_s:.0f} s of waiting:\n{stream_stacks()}")

    def _reason(self) -> str:
        """What the watch knows, else the state of the queues."""
        reasons = self._watch.reasons()
        if not reasons:
            held = ", ".join(f"{queue.name} {queue.filled} of {queue.capacity}" for queue in self._queues)
            return "nothing reports why" + (f"; the queues hold: {held}" if held else "")
        shown = [f"{reason} (for {seconds:.0f} s)" for reason, seconds in reasons[:_MAX_REASONS]]
        more = len(reasons) - _MAX_REASONS
        return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")

    def _run(self) -> None:
        while not self._stopping.wait(min(_POLL_S, self._first_s)):
            try:
                self.look()
            except (OSError, ValueError):  # a closed pipe, a full disk, a closed file
                return

    def close(self) -> None:
        """End the thread; safe to call twice."""
        self._stopping.set()
        self._thread.join()

    def __enter__(self) -> "StallTeller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stream_stacks() -> str:
    """Where the main thread and every thread of the stream stand now: file, line and function, innermost last.

    Threads that stand at the same place are named together. Shows code, never values.
    """
    frames = sys._current_frames()
    places: dict[str, list[str]] = {}
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        ours = thread is threading.main_thread() or thread.name.startswith(THREAD_PREFIX)
        if frame is not None and ours and thread is not threading.current_thread():
            calls = traceback.extract_stack(frame)
            stack = "\n".join(f"    {_short(call.filename)}:{call.lineno} {call.name}" for call in calls)
            places.setdefault(stack, []).append(thread.name)
    return "\n".join(f"  {', '.join(names)}\n{stack}" for stack, names in places.items())


def _short(filename: str) -> str:
    """The last two parts of a path: which module, not where it is installed."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])
