"""One field of the scorecard: what a loader did in one row, in a few words, whether that passes, and the figures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """`passes` is None where there is nothing to pass: the loader does not do such a thing, or was not run."""

    text: str
    passes: bool | None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def marked(self) -> str:
        """The words behind a mark."""
        return f"{ {True: 'pass', False: 'FAIL', None: '-'}[self.passes] }: {self.text}"


def reason(error: Exception) -> str:
    """What a loader raised, on one line and without the folders of this machine: the last line of what it said."""
    lines = str(error).strip().splitlines() or ["no message"]
    return re.sub(r"(/[\w.+-]+)+/", "", lines[-1].strip())[:300]


def absent(why: str) -> Cell:
    """A loader that has no such thing."""
    return Cell(text=why, passes=None)
