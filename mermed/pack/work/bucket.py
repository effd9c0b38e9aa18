"""Bucket: the unit of work of a pack: inputs of one source whose keys share their first bits, made into whole shards.

A source's inputs are a binary trie over the bits of their keys, cut where a node holds little enough to be one unit.
Which inputs share a bucket depends on nothing but the keys and sizes in that part of the trie: one more file changes
its own bucket, at most by cutting it in two. Keys are keyed hashes, so buckets are random samples of their source.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256

from mermed.contract import canonical_json
from mermed.pack.treatment import Treatment
from mermed.pack.work.sample import Task

Source = tuple[str, str, str]
"""(modality, dataset, split)."""
KEY_BITS = 80
EXHIBITS = 8
"""Inputs of a source's first bucket that the report shows."""


@dataclass(frozen=True, slots=True)
class BucketSize:
    """When a node of the trie is one bucket: at most so many inputs, and bytes of source files (one input may exceed).

    `shows` lets the first bucket of every source make thumbnails for the report.
    """

    inputs: int = 2048
    source_bytes: int = 4 * 2**30
    shows: bool = True


@dataclass(frozen=True)
class Bucket:
    """Tasks of one source in the order of their keys; `prefix` is what the bits of their keys begin with."""

    source: Source
    prefix: str
    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """The bucket's file name in the ledger, free of anything but the source's own name."""
        return "-".join((*self.source, self.prefix or "all"))

    @cached_property
    def fingerprint(self) -> str:
        """Equal fingerprints, under equal options, mean that making the bucket again would give the same bytes."""
        digest = sha256()
        for task in self.tasks:
            digest.update(canonical_json(_facts(task)))
        return digest.hexdigest()


def partition(tasks: Iterable[Task], size: BucketSize) -> list[Bucket]:
    """All buckets of `tasks`, by source and then by prefix; every task is in exactly one."""
    by_source: defaultdict[Source, list[Task]] = defaultdict(list)
    for task in tasks:
        by_source[task.image.modality, task.image.dataset, task.placement.split].append(task)
    return [bucket for source in sorted(by_source) for bucket in _cut(source, "", by_source[source], size)]


def _cut(source: Source, prefix: str, tasks: list[Task], size: BucketSize) -> Iterator[Bucket]:
    fits = len(tasks) <= size.inputs and sum(task.size_bytes for task in tasks) <= size.source_bytes
    if fits or len(tasks) == 1 or len(prefix) == KEY_BITS:
        ordered = sorted(tasks, key=lambda task: task.key)
        # Only the first bucket shows its samples, so what is shown depends on no other bucket.
        shown = EXHIBITS if "1" not in prefix else 0
        marked = (replace(t, shows=place < shown, may_show=True) for place, t in enumerate(ordered))
        yield Bucket(source, prefix, tuple(marked) if size.shows else tuple(ordered))
        return
    halves: tuple[list[Task], list[Task]] = [], []
    for task in tasks:
        halves[_bit(task.key, len(prefix))].append(task)
    for bit, half in enumerate(halves):
        if half:
            yield from _cut(source, f"{prefix}{bit}", half, size)


def _bit(key: str, place: int) -> int:
    """Bit `place` of the hexadecimal digits a key ends with."""
    digits = key[-KEY_BITS // 4 :]
    return int(digits[place // 4], 16) >> (3 - place % 4) & 1


def _facts(task: Task) -> list[object]:
    """Everything about a task that decides its samples, beside the options of the pack."""
    image = task.image
    return [
        task.key,
        task.placement.group,
        task.size_bytes,
        task.mtime_ns,
        image.labels,
        image.licence,
        _treatment_digest(image.treatment),
        image.frame_labels,
        image.frame_findings,
        image.frame_groups,
        task.shows,
        task.may_show,
    ]


@lru_cache(maxsize=256)
def _treatment_digest(treatment: Treatment) -> str:
    return sha256(canonical_json(astuple(treatment))).hexdigest()
