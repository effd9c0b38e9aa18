"""A crew: threads that work off batches of like tasks and wake their consumer once per batch.

A pool of futures wakes it once per task, and on a machine whose cores all decode each wake-up costs what a tenth of an
image costs.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

R = TypeVar("R")
_SHARE = 4


class Job(Generic[R]):
    """The tasks 0 to `count` - 1 of one batch, done or under way. Its crew calls what is not public, under its lock."""

    def __init__(self, task: Callable[[int], R], count: int) -> None:
        self._task = task
        self._results: list[Any] = [None] * count
        self._errors: dict[int, BaseException] = {}
        self._unclaimed = range(count)
        self._left = count
        self._over = threading.Event()
        self._end(0)

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

    def _claim(self, count: int) -> range:
        """The next `count` tasks that nobody has begun."""
        claimed, self._unclaimed = self._unclaimed[:count], self._unclaimed[count:]
        return claimed

    def _do(self, indexes: range) -> None:
        """Run tasks and keep what each returns or raises; without the lock."""
        for index in indexes:
            try:
                self._results[index] = self._task(index)
            except BaseException as error:  # it must reach whoever asks for the results, or they would wait for ever
                self._errors[index] = error

    def _end(self, count: int) -> None:
        """So many claimed tasks are done."""
        self._left -= count
        if not self._left:
            self._over.set()

    def _give_up(self) -> None:
        """End the tasks that nobody has begun; asking for the results then raises."""
        if self._unclaimed:
            self._errors[len(self._results)] = RuntimeError("the crew was closed before the work was done")
            self._end(len(self._claim(len(self._results))))


class Crew:
    """`num_threads` threads that take tasks job by job. Close it to end them.

    While there are other tasks, those of `solo` jobs are for one thread at a time, and never for the only one. They
    are those that hold the interpreter, such as reading with its checks: two at once would take turns and leave a core
    idle, one beside threads that decode does not. Once there are no others, every thread takes them.
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
                job._give_up()
            elif count:
                (self._solo if solo else self._others).append(job)
                self._change.notify(min(count, len(self._threads)))
        return job

    def _work(self) -> None:
        with self._lock:
            while (claim := self._claim()) is not None:
                job, indexes, solo = claim
                self._lock.release()
                job._do(indexes)
                self._lock.acquire()
                job._end(len(indexes))
                self._soloists -= solo

    def _claim(self) -> tuple[Job[Any], range, bool] | None:
        """The next tasks of one job, waited for, and whether they are solos; None once the crew closes.

        Several at once while a job has many, for each claim costs a lock; one at a time at its end, so that no thread
        is left with the last of a batch.
        """
        while not self._closing:
            solo = bool(self._solo) and not (self._others and self._soloists)
            jobs = self._solo if solo else self._others
            if jobs:
                job = jobs[0]
                indexes = job._claim(max(1, len(job._unclaimed) // (_SHARE * len(self._threads))))
                if not job._unclaimed:
                    jobs.popleft()
                self._soloists += solo
                return job, indexes, solo
            self._change.wait()
        return None

    def close(self) -> None:
        """Finish the tasks in hand, give up the others and end the threads; safe to call twice."""
        with self._lock:
            self._closing = True
            for job in (*self._solo, *self._others):
                job._give_up()
            self._solo.clear()
            self._others.clear()
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
