"""The loader: slots to EncodedBatch, read by threads ahead of the consumer, always in slot order."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from mermed.batch import EncodedBatch, Position
from mermed.contract import EncodedSample
from mermed.stream.crew import Crew, Job
from mermed.stream.meters.stats import QueueStats
from mermed.stream.meters.timeline import last_of
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Reference
from mermed.stream.stage import Stage

ReadSample = Callable[[Reference], EncodedSample]
"""What turns a reference into its sample: `SampleReader.read`, or something that stands in for what cannot be read."""


@runtime_checkable
class Order(Protocol):
    """Anything that knows which samples a range of slots holds: a training plan, or manifest order."""

    def batch(self, slots: range) -> list[Reference]:
        """The samples of `slots`, in slot order."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """The slots one rank reads for one batch, and where the run stands once the whole batch is trained on."""

    slots: range
    position: Position


class _Read(NamedTuple):
    """A sample in memory, since when, and the seconds per cause it took."""

    sample: EncodedSample
    at: float
    spent_s: Mapping[str, float]


class Loader:
    """Yields the EncodedBatch of each share, read by `read` in threads, `ahead` batches before they are asked for.

    Threads of `crew`, or `num_threads` of its own, may finish in any order; the batch does not care. `stats` tells who
    waits for whom, `read_at` when the last sample of the batch given last was in memory, `read_s` what its reads took
    by cause. Close it, or use it as a context manager, to stop its threads.
    """

    def __init__(
        self,
        order: Order,
        read: ReadSample,
        shares: Iterable[Share],
        *,
        num_threads: int = 1,
        crew: Crew | None = None,
        ahead: int = 2,
        watch: Watch | None = None,
    ) -> None:
        self._order = order
        self._read = read
        self._shares = shares
        self._watch = watch or Watch()
        self.read_at = 0.0
        self.read_s: dict[str, float] = {}
        self._owns_crew = crew is None
        self._crew = crew or Crew(num_threads, "read")
        self._stage = Stage(self._submit(), ahead=ahead, name="encoded", is_ready=lambda entry: entry[2].is_over)

    @property
    def stats(self) -> QueueStats:
        """Waits at the queue of encoded batches."""
        return self._stage.stats

    def _submit(self) -> Generator[tuple[Share, list[Reference], Job[_Read]]]:
        for share in self._shares:
            references = self._order.batch(share.slots)
            read = partial(self._read_timed, references)
            yield share, references, self._crew.submit(read, len(references), solo=True)

    def _read_timed(self, references: list[Reference], place: int) -> _Read:
        reference = references[place]
        with self._watch.lap() as spent_s:
            sample = self._read(reference)
        return _Read(sample, time.perf_counter(), spent_s)

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> EncodedBatch:
        share, references, reads = next(self._stage)
        with self.stats.completing():
            done = reads.results()
        self.read_at, self.read_s = last_of((read.at for read in done), (read.spent_s for read in done))
        samples = [read.sample for read in done]
        return EncodedBatch(
            images=tuple(sample.image for sample in samples),
            meta=tuple(sample.meta for sample in samples),
            modality=np.array([reference.modality for reference in references], np.int64),
            slot=np.array([reference.slot for reference in references], np.int64),
            position=share.position,
        )

    def close(self) -> None:
        """Stop reading and wait for the threads; safe to call twice."""
        self._stage.close()
        if self._owns_crew:
            self._crew.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rank_shares(first_slot: int, batch: int, offsets: range, num_batches: int) -> Generator[Share]:
    """What one rank reads, batch by batch: the contiguous `offsets` of each global batch of `batch` slots."""
    for start in range(first_slot, first_slot + num_batches * batch, batch):
        yield Share(range(start + offsets.start, start + offsets.stop), Position(start + batch))
