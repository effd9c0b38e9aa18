"""Which files a cache gives up when it needs room: those needed furthest in the future. Pure; opens nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a cache: `stamp` is the moment it is expected to be needed next, in seconds since 1970.

    A `piece` is complete, a `part` is a download under way or left over by a process that died, an `index` describes
    a shard and is needed once by each process that does not find the table made of it.
    """

    name: str
    kind: Literal["piece", "part", "index"]
    size: int
    stamp: float


def next_need(entry: Entry, known: float | None, now: float) -> float:
    """When `entry` is needed next: `known` is what this job's plan says, None when the plan does not know the file.

    Several jobs may need it: the sooner wins, so a stamp of another job counts when it lies in the future. A stamp in
    the past is that of a need which is over, or of a job that died: not needed any more, as far as anyone knows.
    """
    stamped = entry.stamp if entry.stamp > now else _NEVER
    return stamped if known is None else min(known, stamped)


def victims(
    entries: Sequence[Entry], needs: Sequence[float], wanted_bytes: int, spare_bytes: int, needed_at: float
) -> list[Entry]:
    """What to delete, the furthest need first, so that `wanted_bytes` become free, and up to `spare_bytes` more.

    `needs` holds the moment of each entry's next need; among those not needed any more the oldest stamp goes first.
    Only what is needed later than `needed_at` is given up, as there is nothing to gain from the rest; when that does
    not suffice, nothing is.
    """
    furthest_first = sorted(zip(needs, entries, strict=True), key=lambda ranked: (-ranked[0], ranked[1].stamp))
    chosen: list[Entry] = []
    freed = 0
    for need, entry in furthest_first:
        if need <= needed_at or freed >= wanted_bytes + spare_bytes:
            break
        chosen.append(entry)
        freed += entry.size
    return chosen if freed >= wanted_bytes else []
