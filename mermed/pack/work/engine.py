"""Engine: who makes the buckets of a pack. This machine's hands here; a Ray cluster in `engine_ray`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mermed.pack.collection.depot import Depot
from mermed.pack.options import PackOptions
from mermed.pack.work.bucket import Bucket
from mermed.pack.work.hands import Hands, Limits, Step
from mermed.pack.work.making import BucketMaker
from mermed.pack.work.sample import Finished, Outcome, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an engine has to know: where a collection lies, its options and their digest."""

    depot: Depot
    options: PackOptions
    options_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Who looks on: `outcome` sees each outcome of a task, `task` its end; `between` is called after every bucket and
    may raise to end the work there."""

    outcome: Callable[[Task, Outcome], None] = lambda task, outcome: None
    task: Callable[[Task], None] = lambda task: None
    between: Callable[[], None] = lambda: None


class Engine(Protocol):
    """Makes buckets: parts and ledgers in the depot, the same bytes whoever makes them."""

    def make(self, buckets: Sequence[Bucket], order: Order, eyes: Eyes) -> None:
        """Make every bucket; what is finished stays finished when this ends early."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """This machine: `hands` decoder processes, or 0 to work in this process, for files that can be trusted alone."""

    hands: int = 1
    limits: Limits = field(default_factory=Limits)

    def make(self, buckets: Sequence[Bucket], order: Order, eyes: Eyes) -> None:
        """Make the buckets one after the other; the hands work ahead across their borders."""
        with Hands(self.hands, order.options, self.limits) as hands:
            steps = hands.work(task for bucket in buckets for task in bucket.tasks)
            for bucket in buckets:
                make_bucket(bucket, steps, order, eyes)
                eyes.between()


def make_bucket(bucket: Bucket, steps: Iterator[Step], order: Order, eyes: Eyes) -> None:
    """Make one bucket from the next steps of its tasks."""
    with (
        order.depot.workroom() as workroom,
        BucketMaker(bucket, order.options, order.options_digest, workroom) as maker,
    ):
        for number, task in enumerate(bucket.tasks):
            for outcome in maker.take_task(number, _of(task, steps)):
                eyes.outcome(task, outcome)
            eyes.task(task)
        maker.finish(order.depot)


def _of(task: Task, steps: Iterator[Step]) -> Iterator[Outcome | Finished]:
    for of_task, step in steps:
        assert of_task is task or of_task == task, "steps come in the order of the tasks"
        yield step
        if isinstance(step, Finished):
            return
