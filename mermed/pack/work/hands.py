"""Hands: decoder processes that work ahead within bounds, with results in the order of the input.

A file that crashes, hangs or exhausts its decoder costs that file alone: its hand is buried, a new one takes the tasks
that waited behind it. What a hand sends is read as data, never as objects.
"""

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from mermed.errors import EnvironmentError_
from mermed.pack.listing import RejectedRow
from mermed.pack.options import PackOptions
from mermed.pack.work.hand import READY, run_hand
from mermed.pack.work.message import decode_message
from mermed.pack.work.sample import Finished, Outcome, Task, make_samples

TASKS_PER_HAND = 2
"""Tasks a hand holds: the one it works on and the next, so that it never waits for its parent."""
START_SECONDS = 120.0
MOST_FAILED_STARTS = 3
Step = tuple[Task, Outcome | Finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may cost: wall time until its next frame is made, memory of its decoder, results held in order."""

    seconds: float = 120.0
    memory_mb: int = 4096
    waiting_mb: int = 512


def default_hands() -> int:
    """One hand per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(eq=False, slots=True)
class _Job:
    """One task under way, with what came back of it and has not been passed on."""

    task: Task
    steps: deque[Outcome | Finished] = field(default_factory=deque)
    inputs: int = 0
    is_finished: bool = False


@dataclass(eq=False, slots=True)
class _Hand:
    process: BaseProcess
    connection: Any
    jobs: deque[_Job] = field(default_factory=deque)
    is_ready: bool = False
    heard_s: float = field(default_factory=time.monotonic)


class Hands:
    """A pool of `count` decoder processes; 0 works in this process, without any bound, for tests and debugging.

    A context: leaving it ends every process.
    """

    def __init__(self, count: int, options: PackOptions, limits: Limits | None = None) -> None:
        self._count = count
        self._options = options
        self._limits = limits or Limits()
        self._hands: list[_Hand] = []
        self._failed_starts = 0
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for hand in self._hands:
            _end(hand)
        self._hands.clear()

    def work(self, tasks: Iterable[Task]) -> Iterator[Step]:
        """Every outcome of every task, in the order of the tasks; each task ends with Finished.

        Raises EnvironmentError_ when hands cannot be started at all.
        """
        if self._count < 1:
            for task in tasks:
                yield from ((task, step) for step in make_samples(task, self._options))
            return
        waiting, jobs = iter(tasks), deque[_Job]()
        while self._feed(waiting, jobs) or jobs:
            head = jobs[0]
            while head.steps:
                step = head.steps.popleft()
                self._waiting_bytes -= _size(step)
                yield head.task, step
            if head.is_finished:
                jobs.popleft()
            else:
                self._listen(jobs)

    def _feed(self, waiting: Iterator[Task], jobs: deque[_Job]) -> bool:
        """Give every hand its tasks, starting hands as they are needed; True while there was something to give."""
        fed = False
        while (hand := self._idlest()) is not None:
            task = next(waiting, None)
            if task is None:
                break
            job = _Job(task)
            jobs.append(job)
            self._give(hand, job)
            fed = True
        return fed

    def _idlest(self) -> _Hand | None:
        """The hand with the fewest tasks, or None when all have theirs."""
        if len(self._hands) < self._count and all(hand.jobs for hand in self._hands):
            self._hands.append(self._start())
        hand = min(self._hands, key=lambda hand: len(hand.jobs))
        return hand if len(hand.jobs) < TASKS_PER_HAND else None

    def _give(self, hand: _Hand, job: _Job) -> None:
        if not hand.jobs:
            hand.heard_s = time.monotonic()
        hand.jobs.append(job)
        try:
            hand.connection.send(job.task)
        except OSError:
            pass  # It died while idle; listening finds that out and gives its tasks to another.

    def _start(self) -> _Hand:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=run_hand, args=(theirs, self._options, self._limits.memory_mb), name="mermed-hand", daemon=True
        )
        with _one_thread():
            process.start()
        theirs.close()
        return _Hand(process, ours)

    def _listen(self, jobs: deque[_Job]) -> None:
        """Take what the hands have to say, within the bound of what may wait; bury those that are silent."""
        is_full = self._waiting_bytes > self._limits.waiting_mb * 2**20
        heard = [hand for hand in self._hands if hand.jobs and (not is_full or hand.jobs[0] is jobs[0])]
        deaf = [hand for hand in self._hands if hand not in heard]
        for hand in deaf:
            hand.heard_s = time.monotonic()  # Nobody listened to it, so it is not silent.
        left_s = min(self._deadline(hand) for hand in heard) - time.monotonic()
        ready = set(wait([hand.connection for hand in heard], timeout=max(left_s, 0.0)))
        for hand in heard:
            if hand.connection in ready:
                self._hear(hand)
            elif time.monotonic() >= self._deadline(hand):
                _end(hand)
                self._bury(hand, "timeout", f"its decoder made nothing for {self._limits.seconds:g} s")

    def _deadline(self, hand: _Hand) -> float:
        return hand.heard_s + (self._limits.seconds if hand.is_ready else START_SECONDS)

    def _hear(self, hand: _Hand) -> None:
        hand.heard_s = time.monotonic()
        try:
            header = hand.connection.recv_bytes()
            if header == READY:
                hand.is_ready, self._failed_starts = True, 0
                return
            job = hand.jobs[0]
            step = decode_message(header, hand.connection.recv_bytes, job.task)
        except (EOFError, OSError):
            hand.process.join()
            self._bury(hand, "decoder_crash", _how_it_ended(hand.process.exitcode))
            return
        job.steps.append(step)
        self._waiting_bytes += _size(step)
        if isinstance(step, Finished):
            job.is_finished = True
            hand.jobs.popleft()
        else:
            job.inputs += step.count if isinstance(step, RejectedRow) else 1

    def _bury(self, hand: _Hand, reason: str, detail: str) -> None:
        """Reject what killed a hand, and give a new one what waited behind it."""
        self._hands.remove(hand)
        hand.connection.close()
        orphans = list(hand.jobs)
        if hand.is_ready:
            job = orphans.pop(0)
            job.steps.append(RejectedRow(place=job.task.image.place, reason=reason, detail=detail))
            job.steps.append(Finished(job.inputs + 1))
            job.is_finished = True
        else:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise EnvironmentError_(
                    "a decoder process cannot be started",
                    found=_how_it_ended(hand.process.exitcode),
                    next_step="try --workers 0, which works in one process and shows what happens",
                )
        if orphans:
            heir = self._start()
            self._hands.append(heir)
            for job in orphans:
                self._give(heir, job)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let a process that starts here compute in one thread: there is one hand per core already."""
    with ExitStack() as stack:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            before = os.environ.get(name)
            os.environ[name] = "1"
            stack.callback(os.environ.pop, name, None) if before is None else stack.callback(
                os.environ.__setitem__, name, before
            )
        yield


def _end(hand: _Hand) -> None:
    hand.process.kill()
    hand.process.join()


def _size(step: Outcome | Finished) -> int:
    return 0 if isinstance(step, (RejectedRow, Finished)) else len(step.image)


def _how_it_ended(code: int | None) -> str:
    """The end of a process in words; signal 9 comes from the kernel when memory runs out."""
    if code is not None and code < 0:
        return f"its decoder ended with signal {-code}" + (" (out of memory?)" if code == -9 else "")
    return f"its decoder ended with code {code}"
