"""A crew: every task once, results in order, errors where they belong, nobody left waiting."""

import threading
import time
from itertools import count

import pytest

from mermed.stream.crew import Crew


@pytest.fixture
def crew():
    crew = Crew(3, "test")
    yield crew
    crew.close()


def test_every_task_runs_once_and_results_keep_their_order(crew):
    ran = []

    def task(index):
        time.sleep(0.001 * (5 - index % 5))
        ran.append(index)
        return index * index

    jobs = [crew.submit(task, 20) for _ in range(3)]
    assert [job.results() for job in jobs] == [[index * index for index in range(20)]] * 3
    assert sorted(ran) == sorted([*range(20)] * 3)
    assert all(job.is_over for job in jobs)


def test_a_job_of_no_tasks_is_over_at_once(crew):
    assert crew.submit(lambda index: index, 0).results() == []


def test_the_error_of_the_first_task_that_failed_is_raised_and_the_others_still_run(crew):
    ran = []

    def task(index):
        ran.append(index)
        if index in (3, 7):
            raise KeyError(index)

    job = crew.submit(task, 10)
    with pytest.raises(KeyError) as caught:
        job.results()
    assert caught.value.args == (3,)
    assert sorted(ran) == list(range(10))


def test_solo_tasks_go_one_at_a_time_while_there_are_others_and_together_when_there_are_none():
    crew, gate = Crew(4, "test"), threading.Event()
    crew.submit(lambda _: gate.wait(5), 4)
    lock, at_once, beside, alone, others_left = threading.Lock(), 0, [], [], 40

    def solo(_):
        nonlocal at_once
        with lock:
            at_once += 1
            (beside if others_left > 4 else alone).append(at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1

    def other(_):
        nonlocal others_left
        with lock:
            others_left -= 1
        time.sleep(0.002)

    solos = crew.submit(solo, 80, solo=True)
    others = crew.submit(other, 40)
    gate.set()
    others.results(), solos.results()
    crew.close()
    assert set(beside) == {1}
    assert max(alone) > 1


def test_a_single_thread_takes_the_others_first():
    crew, gate, order = Crew(1, "test"), threading.Event(), []
    crew.submit(lambda _: gate.wait(5), 1)
    solos = crew.submit(lambda index: order.append(("solo", index)), 2, solo=True)
    others = crew.submit(lambda index: order.append(("other", index)), 2)
    gate.set()
    others.results(), solos.results()
    crew.close()
    assert order == [("other", 0), ("other", 1), ("solo", 0), ("solo", 1)]


def test_closing_finishes_what_was_begun_gives_up_the_rest_and_leaves_no_thread():
    before = threading.active_count()
    crew, begun, numbers = Crew(2, "test"), threading.Barrier(3), count()

    def task(_):
        if next(numbers) < 2:
            begun.wait(5)
            time.sleep(0.05)
        return "done"

    job = crew.submit(task, 1000)
    begun.wait(5)
    crew.close()
    with pytest.raises(RuntimeError, match="closed"):
        job.results()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        crew.submit(task, 1).results()
    crew.close()


def test_many_threads_and_tiny_jobs_lose_nothing():
    crew = Crew(8, "test")
    jobs = [crew.submit(lambda index: index, number % 7, solo=number % 2 == 0) for number in range(2000)]
    assert [len(job.results()) for job in jobs] == [number % 7 for number in range(2000)]
    crew.close()
