"""Leakage: what stands in two splits at once, inside collections and across them: groups, equal images, near copies."""

from dataclasses import dataclass

import numpy as np

from mermed.errors import IntegrityError
from mermed.pack.checks.copies import KINDS, Copies, find_copies
from mermed.pack.checks.holdings import Holdings
from mermed.pack.checks.near import Rows

_FAINT = ("near", "mirrored", "cropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Pairs of one kind that join two splits, and how many samples of the later split (train, val, test) they spoil."""

    kind: str
    modality: str
    source: str
    target: str
    pairs: int
    spoiled: int


@dataclass(frozen=True, slots=True, eq=False)
class Leakage:
    """Every pair of samples that joins two splits, and the same counted."""

    pairs: Copies
    leaks: tuple[Leak, ...]

    def raise_if_leaking(self, *, allow_near: bool = False) -> None:
        """Raise IntegrityError when anything crosses splits; `allow_near` accepts what only looks alike."""
        bad = [leak for leak in self.leaks if not (allow_near and leak.kind in _FAINT)]
        if bad:
            raise IntegrityError(
                "splits leak into each other",
                expected="no group and no image in two splits",
                found=", ".join(f"{leak.pairs} {leak.kind} {leak.source} -> {leak.target}" for leak in bad[:4]),
                next_step="leave the samples of the CSV out of one side, or accept look-alikes with --allow-near",
            )


def find_leakage(
    holdings: Holdings, *, distance: int | None = None, mirrored: bool = False, cropped: bool = False
) -> Leakage:
    """What crosses splits among the samples of one or more collections, whichever they lie in.

    A group counts once for every further split it stands in. Groups of different salts cannot be compared: there, equal
    and near images are what shows.
    """
    copies = find_copies(holdings, distance=distance, mirrored=mirrored, cropped=cropped)
    crossing = _with_groups(copies.select(copies.differ_in("split")))
    return Leakage(crossing, _count(crossing))


def _with_groups(copies: Copies) -> Copies:
    first, second = _split_groups(copies.holdings)
    return Copies(
        copies.holdings,
        np.concatenate([copies.first, first]),
        np.concatenate([copies.second, second]),
        np.concatenate([copies.kind, np.full(len(first), KINDS.index("group"), np.int8)]),
        np.concatenate([copies.distance, np.zeros(len(first), np.uint8)]),
        copies.crowded,
    )


def _split_groups(holdings: Holdings) -> tuple[Rows, Rows]:
    """For every group in two or three splits: a sample in its first split with one of each further split."""
    if not len(holdings):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.lexsort((holdings.split, holdings.group))
    group, split = holdings.group[order], holdings.split[order]
    new_group = np.concatenate([[True], group[1:] != group[:-1]])
    new_split = new_group | np.concatenate([[True], split[1:] != split[:-1]])
    begin = np.maximum.accumulate(np.where(new_group, np.arange(len(group)), 0))
    further = np.flatnonzero(new_split & ~new_group)
    return order[begin[further]], order[further]


def _count(crossing: Copies) -> tuple[Leak, ...]:
    held = crossing.holdings
    # Codes of splits rise from train to test, so the later split of a pair is the one that should be unseen.
    swap = held.split[crossing.first] > held.split[crossing.second]
    source = np.where(swap, crossing.second, crossing.first)
    target = np.where(swap, crossing.first, crossing.second)
    names = ("modality", "collection", "split")
    table = [crossing.kind, *(getattr(held, name)[rows] for rows in (source, target) for name in names)]
    combinations, member = np.unique(np.stack(table, axis=1), axis=0, return_inverse=True)
    leaks = []
    for number, (kind, modality, one, one_split, _, other, other_split) in enumerate(combinations.tolist()):
        rows = target[member.ravel() == number]
        leaks.append(
            Leak(
                kind=KINDS[kind],
                modality=held.words[modality],
                source=f"{held.collections[one]} {held.words[one_split]}",
                target=f"{held.collections[other]} {held.words[other_split]}",
                pairs=len(rows),
                spoiled=len(np.unique(rows)),
            )
        )
    return tuple(leaks)
