"""Spares: a sample that cannot be used is replaced by another of its source, the same one on every topology."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mermed.contract import EncodedSample
from mermed.errors import ChangedError, ContractError, EnvironmentError_, IntegrityError, MermedError, SampleError
from mermed.stream.meters.ledger import Tally
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Reference
from mermed.stream.replace.budget import Budget, Limits
from mermed.stream.replace.journal import Incident, Journal
from mermed.stream.replace.tombstones import Tombstones

MOST_FAILED = 48
"""Samples that may fail for one slot before its source is given up."""
MOST_LOOKED_AT = 4096
"""Samples looked at for one slot, tombstones among them, before its source is given up."""
_MEMORY_TRIES = 3
_MEMORY_PAUSE_S = 0.5
_REMEMBERED = 65_536
_UNUSABLE = (IntegrityError, ContractError, SampleError)
_REASONS = ("integrity", "contract", "sample")


@runtime_checkable
class SpareOrder(Protocol):
    """An order that also names stand-ins: a training plan."""

    def batch(self, slots: range) -> list[Reference]:
        """The samples of `slots`, in slot order."""
        ...

    def spare(self, reference: Reference, attempt: int) -> Reference:
        """The `attempt`-th stand-in for `reference`, a pure function; raises SampleError when none is left."""
        ...


@dataclass(slots=True)
class _Search:
    """What happened while one slot was filled: `attempt` is -1 at the planned sample, n at its n-th stand-in.

    `failures` are those of this search, `news` the attempts among them that no earlier search of the slot had met.
    """

    reference: Reference
    failures: list[tuple[int, Reference, MermedError]] = field(default_factory=list)
    news: set[int] = field(default_factory=set)
    tombstoned: int = 0
    attempt: int = -1

    @property
    def source(self) -> str:
        return f"{self.reference.row.modality}/{self.reference.row.dataset}"


class Spares:
    """Reads the sample of a reference, or the first usable one of its stand-ins; safe in threads.

    A slot holds the first sample of (planned, stand-in 0, stand-in 1, ...) that is no tombstone, can be read and
    decodes. That depends on the slot and the data alone, so ranks, threads, batch and resume change nothing, and no
    other slot is touched. What fails for a reason of the sample (IntegrityError, ContractError, SampleError) is counted
    against `limits` and written to `journal`; a tombstone is only counted. A store that is down (EnvironmentError_), a
    collection that changed under the run (ChangedError) and errors of the program are never replaced: they are raised.
    """

    def __init__(
        self,
        order: SpareOrder,
        read: Callable[[Reference], EncodedSample],
        key_of: Callable[[Reference], str],
        *,
        limits: Limits,
        tombstones: Tombstones | None = None,
        journal: Journal | None = None,
        tally: Tally | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._order = order
        self._read = read
        self._key_of = key_of
        self._budget = Budget(limits)
        self._tombstones = tombstones or Tombstones()
        self._journal = journal
        self._tally = tally
        self._watch = watch or Watch()
        self._lock = threading.Lock()
        self._counted: OrderedDict[tuple[int, int], None] = OrderedDict()

    def read(self, reference: Reference) -> EncodedSample:
        """The sample that fills the slot of `reference`.

        Raises IntegrityError when more fail than `limits` allow or no sample of the source can be used.
        """
        return self._fill(reference, frozenset(), None)

    def replace(self, slot: int, without: frozenset[str], error: MermedError) -> EncodedSample:
        """What fills `slot` when the samples of the keys `without` do not decode, the latest of them for `error`.

        A sample that fails in its turn is added to `without` by the caller, who asks again. Raises like `read`.
        """
        (reference,) = self._order.batch(range(slot, slot + 1))
        return self._fill(reference, without, error)

    def _fill(self, reference: Reference, without: frozenset[str], error: MermedError | None) -> EncodedSample:
        """The first usable of the planned sample and its stand-ins, noted, counted and journalled."""
        search, key = _Search(reference), ""
        try:
            sample = self._first_usable(search, without, error)
            key = sample.meta.key
        finally:
            self._tell(search, key)
        self._budget.passed()
        if self._tally:
            self._tally.note(
                reference.slot,
                search.source,
                size=len(sample.image),
                failed=len(search.failures),
                tombstoned=search.tombstoned,
                replaced=search.attempt >= 0,
            )
        return sample

    def _first_usable(self, search: _Search, without: frozenset[str], error: MermedError | None) -> EncodedSample:
        for candidate in self._candidates(search):
            try:
                key = self._key_of(candidate) if without or self._tombstones else ""
                if key in self._tombstones:
                    self._watch.count("tombstoned")
                    search.tombstoned += 1
                    continue
                if error is not None and key in without:
                    raise error
                return self._read_sample(candidate, key)
            except ChangedError:
                raise
            except _UNUSABLE as failure:
                search.failures.append((search.attempt, candidate, failure))
                self._count(search, candidate, failure)
        raise _none_usable(search)

    def _candidates(self, search: _Search) -> Iterator[Reference]:
        """The planned sample, then its stand-ins, until there are none or enough of them failed."""
        yield search.reference
        for attempt in range(MOST_LOOKED_AT):
            try:
                candidate = self._order.spare(search.reference, attempt)
            except SampleError:
                return
            if len(search.failures) >= MOST_FAILED:
                return
            search.attempt = attempt
            yield candidate

    def _read_sample(self, candidate: Reference, key: str) -> EncodedSample:
        """Read it; a machine out of memory is asked again, for that says nothing about the sample."""
        for left in reversed(range(_MEMORY_TRIES)):
            try:
                return self._read(candidate)
            except MemoryError:
                if left:
                    with self._watch.waiting("memory to read a sample into"):
                        time.sleep(_MEMORY_PAUSE_S)
        raise EnvironmentError_(
            "there is not enough memory to read a sample",
            where={"shard": candidate.row.name, "key": key or self._key_or_none(candidate), "slot": candidate.slot},
            found=f"{_MEMORY_TRIES} tries failed",
            next_step="run on a machine with more memory, or with smaller stream.batches_ahead and stream.io_threads",
        )

    def _count(self, search: _Search, candidate: Reference, failure: MermedError) -> None:
        """Hold a failure against the budget, once: a slot is searched again when a stand-in does not decode."""
        place = (search.reference.slot, search.attempt)
        with self._lock:
            if place in self._counted:
                return
            self._counted[place] = None
            if len(self._counted) > _REMEMBERED:
                self._counted.popitem(last=False)
        self._watch.count("failed")
        search.news.add(search.attempt)
        self._budget.failed(candidate.row.name, failure)

    def _tell(self, search: _Search, replaced_by: str) -> None:
        """Write the failures that are new to the journal."""
        for attempt, candidate, failure in search.failures:
            if self._journal is None or attempt not in search.news:
                continue
            incident = Incident(
                slot=search.reference.slot,
                source=search.source,
                shard=candidate.row.name,
                index=candidate.index,
                key=str(failure.where.get("key") or self._key_or_none(candidate)),
                reason=_reason(failure),
                detail=failure.reason(),
                attempt=attempt,
                replaced_by=replaced_by,
                rank=self._journal.rank,
            )
            self._journal.write(incident)

    def _key_or_none(self, candidate: Reference) -> str:
        with suppress(MermedError):
            return self._key_of(candidate)
        return ""


def _reason(failure: MermedError) -> str:
    """The kind of a failure in one word."""
    return next(word for word, kind in zip(_REASONS, _UNUSABLE, strict=True) if isinstance(failure, kind))


def _none_usable(search: _Search) -> IntegrityError:
    last = f"; the last failed: {search.failures[-1][2].reason()}" if search.failures else ""
    return IntegrityError(
        "no sample of a source can be used",
        where={"source": search.source, "slot": search.reference.slot},
        expected="one that is no tombstone, can be read and decodes",
        found=f"{len(search.failures)} that failed and {search.tombstoned} tombstones{last}",
        next_step="mermed-shard verify DATA lists damaged shards; a source that is all tombstones must leave the mix",
    )
