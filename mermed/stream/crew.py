"""A crew: threads that work off batches of like tasks and wake their consumer once per batch.

A pool of futures wakes it once per task, and on a machine whose cores all decode each wake-up costs what a tenth of an
image costs.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Job(Generic[R]):
    """The tasks 0 to `count` - 1 of one batch, done or under way."""

    def __init__(self, task: Callable[[int], R], count: int) -> None:
        self._task = task
        self._results: list[Any] = [None] * count
        self._errors: dict[int, BaseException] = {}
        self._lock = threading.Lock()
        self._left = count
        self._over = threading.Event()
        self.unclaimed = deque(range(count))
        if not count:
            self._over.set()

    @property
    def is_over(self) -> bool:
        """Whether every task has ended."""
        return self._over.is_set()

    def results(self) -> list[R]:
        """What the tasks returned, in their order, once all have ended; raises the error of the first that failed."""
        self._over.wait()
        if self._errors:
            raise self._errors[min(self._errors)]
        return self._results

    def do(self, index: int) -> None:
        """Run one task and keep what it returns or raises."""
        try:
            self._results[index] = self._task(index)
        except BaseException as error:  # it must reach whoever asks for the results, or they would wait for ever
            self._errors[index] = error
        self._ended(1)

    def give_up(self) -> None:
        """End the tasks that nobody has begun; asking for the results then raises."""
        count = len(self.unclaimed)
        self.unclaimed.clear()
        if count:
            self._errors[len(self._results)] = RuntimeError("the crew was closed before the work was done")
            self._ended(count)

    def _ended(self, count: int) -> None:
        with self._lock:
            self._left -= count
            is_last = self._left == 0
        if is_last:
            self._over.set()


class Crew:
    """`num_threads` threads that take tasks job by job. Close it to end them.

    While there are other tasks, those of `solo` jobs go one at a time, and never in the only thread. They are those that
    hold the interpreter, such as reading with its checks: two at once would take turns and leave a core idle, one beside
    threads that decode does not. Once there are no others, every thread takes them.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self._solo: deque[Job[Any]] = deque()
        self._others: deque[Job[Any]] = deque()
        self._soloists = 0 if num_threads > 1 else 1
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"mermed-{name}-{number}", daemon=True)
            for number in range(max(1, num_threads))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[[int], R], count: int, *, solo: bool = False) -> Job[R]:
        """Have `task` run for every number below `count`; returns at once."""
        job = Job(task, count)
        with self._lock:
            if self._closing:
                job.give_up()
            elif count:
                (self._solo if solo else self._others).append(job)
                self._change.notify(min(count, len(self._threads)))
        return job

    def _work(self) -> None:
        was_solo = False
        while (claim := self._claim(was_solo)) is not None:
            job, index, was_solo = claim
            job.do(index)

    def _claim(self, was_solo: bool) -> tuple[Job[Any], int, bool] | None:
        """The next task, waited for, and whether it is a solo; None once the crew closes."""
        with self._lock:
            self._soloists -= was_solo
            while not self._closing:
                solo = bool(self._solo) and not (self._others and self._soloists)
                jobs = self._solo if solo else self._others
                if jobs:
                    self._soloists += solo
                    index = jobs[0].unclaimed.popleft()
                    return (jobs[0] if jobs[0].unclaimed else jobs.popleft()), index, solo
                self._change.wait()
        return None

    def close(self) -> None:
        """Finish the tasks in hand, give up the others and end the threads; safe to call twice."""
        with self._lock:
            self._closing = True
            for job in (*self._solo, *self._others):
                job.give_up()
            self._solo.clear()
            self._others.clear()
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
