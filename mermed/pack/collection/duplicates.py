"""Duplicates: which samples of all buckets are left out because the collection holds their pixels already."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mermed.contract import SPLITS
from mermed.pack.work.bucket import Source
from mermed.pack.work.ledger import Ledger, SampleRow

LABEL_CONFLICT = "label_conflict"
# Of equal images the first is kept, so held-out copies come first: a training set can spare one, a test set cannot.
_SPLIT_ORDER = {split: place for place, split in enumerate(reversed(SPLITS))}
_HELD_OUT = ("val", "test")


@dataclass(frozen=True, slots=True)
class Drop:
    """Why one sample is left out: its bin and reason, and what to tell of it."""

    bin: Literal["duplicates", "quarantined"]
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Copy:
    """One of several samples with equal pixels."""

    rank: tuple[int, bool, str, str, str]
    key: str
    split: str
    label: str


def find_drops(ledgers: Callable[[], Iterable[tuple[Source, Ledger]]]) -> dict[str, Drop]:
    """Sample key to why it is left out, over all buckets; the same whatever their order.

    `ledgers` is read twice: once for digests that occur more than once (16 bytes a sample), once for those samples.
    """
    repeated = _repeated(digest for _, ledger in ledgers() for digest in (row.pixel_digest for row in ledger.samples))
    copies: defaultdict[str, list[_Copy]] = defaultdict(list)
    for source, ledger in ledgers() if repeated else ():
        for row in ledger.samples:
            if row.pixel_digest in repeated:
                copies[row.pixel_digest].append(_Copy(_rank(source, row), row.key, source[2], label_text(row.labels)))
    return {key: drop for group in copies.values() for key, drop in _judge(sorted(group, key=lambda copy: copy.rank))}


def label_text(labels: Mapping[str, Any]) -> str:
    """Labels as one text for tables: the class, or the findings that are present; "" when there is none."""
    findings = labels.get("findings", {})
    return str(labels.get("class", "")) or "|".join(sorted(name for name, value in findings.items() if value == 1))


def _repeated(digests: Iterable[str]) -> set[str]:
    packed = np.frombuffer(b"".join(bytes.fromhex(digest) for digest in digests), dtype="V16")
    values, counts = np.unique(packed, return_counts=True)
    return {bytes(value).hex() for value in values[counts > 1]}


def _rank(source: Source, row: SampleRow) -> tuple[int, bool, str, str, str]:
    modality, dataset, split = source
    return _SPLIT_ORDER[split], not row.labels, modality, dataset, row.key


def _judge(group: list[_Copy]) -> Iterator[tuple[str, Drop]]:
    """The first copy is kept, unless held-out copies contradict each other or the rest: nobody can say who is right."""
    first, *others = group
    labels = {copy.label for copy in group if copy.label}
    if len(labels) > 1 and first.split in _HELD_OUT:
        detail = f"{len(group)} equal images, {len(labels)} labels"
        yield from ((copy.key, Drop("quarantined", LABEL_CONFLICT, detail)) for copy in group)
        return
    for copy in others:
        reason = "same_pixels"
        if copy.label != first.label:
            reason = "same_pixels_other_label"
        elif copy.split != first.split:
            reason = "same_pixels_other_split"
        yield copy.key, Drop("duplicates", reason, f"as {first.key} in {first.split}")
