"""Pure comparisons of what loaders gave: keys of samples, batch after batch, rank after rank. Opens nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Batches = Sequence[Sequence[str]]
"""The keys of one rank, batch after batch."""


def source_of(key: str) -> str:
    """The source that a sample belongs to: what stands before the dash of its key."""
    return key.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """The most that any source's count lay off its share, in samples: in one batch, and over a rank's whole run."""

    batch: float
    prefix: float


def deviation(ranks: Sequence[Batches], sources: Sequence[str]) -> Deviation:
    """How far counts lie off an equal share of `sources`, at worst over all ranks, batches and prefixes of a rank."""
    worst_batch = worst_prefix = 0.0
    for batches in ranks:
        so_far: Counter[str] = Counter()
        taken = 0
        for keys in batches:
            counts = Counter(map(source_of, keys))
            so_far.update(counts)
            taken += len(keys)
            for source in sources:
                worst_batch = max(worst_batch, abs(counts[source] - len(keys) / len(sources)))
                worst_prefix = max(worst_prefix, abs(so_far[source] - taken / len(sources)))
    return Deviation(batch=worst_batch, prefix=worst_prefix)


def steps(ranks: Sequence[Batches]) -> list[frozenset[str]]:
    """The samples of each global step, whatever their order inside it: what training on them depends on."""
    return [frozenset(key for keys in step for key in keys) for step in zip(*ranks, strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One pass over `samples` samples: how many came twice before all had been asked for, and how many never came."""

    duplicates: int
    misses: int


def cycle(ranks: Sequence[Batches], samples: int) -> Cycle:
    """Count over global steps until `samples` samples were given, or everything when the loader ended before.

    The step in which the next pass may begin counts for misses, not for duplicates. A step that only some ranks had is
    counted for those.
    """
    seen: Counter[str] = Counter()
    taken = duplicates = 0
    for number in range(max(len(batches) for batches in ranks)):
        keys = [key for batches in ranks if number < len(batches) for key in batches[number]]
        taken += len(keys)
        before = sum(seen.values()) - len(seen)
        seen.update(keys)
        if taken <= samples:
            duplicates = sum(seen.values()) - len(seen)
        else:
            duplicates = max(duplicates, before)
        if taken >= samples:
            break
    return Cycle(duplicates=duplicates, misses=samples - len(seen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A run that went on against one that was never stopped: samples it lost and samples it gave again."""

    lost: int
    repeated: int

    @property
    def none(self) -> bool:
        """Nothing was lost and nothing came again."""
        return self.lost == self.repeated == 0


def gap(wanted: Batches, given: Batches) -> Gap:
    """`given` against the same number of batches that an uninterrupted run gave from there on, as counts of samples."""
    expected = Counter(key for keys in wanted[: len(given)] for key in keys)
    found = Counter(key for keys in given for key in keys)
    return Gap(lost=(expected - found).total(), repeated=(found - expected).total())


def order_changed(clean: Sequence[str], other: Sequence[str]) -> int:
    """Places at which two runs hold different samples, over the length of the shorter."""
    return sum(a != b for a, b in zip(clean, other, strict=False))
