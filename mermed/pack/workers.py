"""Workers: processes that work ahead on a bounded number of chunks, with results in the order of the input."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from mermed.errors import EnvironmentError_

CHUNKS_AHEAD = 4
"""Chunks in flight per worker; with the size of a chunk the bound on what is held in memory at once."""
In = TypeVar("In")
Out = TypeVar("Out")


def default_workers() -> int:
    """One worker per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_in_order(work: Callable[[In], Out], chunks: Iterable[In], num_workers: int) -> Iterator[Out]:
    """`work(chunk)` of every chunk, in order, whoever finishes first; one worker works in this process.

    `work` must be importable: workers are spawned, so nothing of this process leaks into them. Raises
    EnvironmentError_ when one dies.
    """
    if num_workers <= 1:
        yield from map(work, chunks)
        return
    pending: deque[Future[Out]] = deque()
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for chunk in chunks:
                if len(pending) >= CHUNKS_AHEAD * num_workers:
                    yield pending.popleft().result()
                with _interrupts_held():
                    pending.append(pool.submit(work, chunk))
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise EnvironmentError_(
                "a worker died",
                expected="enough memory, and files that do not crash their decoder",
                found="a killed process",
                next_step="use --workers 1 to see where, or fewer workers when memory ran out",
            ) from None
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while a worker may be starting, and let it through afterwards.

    A worker that is cut off while it starts prints a traceback. It inherits the blocked signal, so from then on
    Ctrl-C reaches this process alone, which ends its workers in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, previous)
    if held:
        raise KeyboardInterrupt
