"""Retry: how long and how often a store that fails is asked again, in one place for all protocols."""

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from mermed.errors import EnvironmentError_
from mermed.stream.meters.watch import Watch
from mermed.stream.remote.transport import Passing

QUICK_TRIES = 4
"""Tries that a failing read gets in any case, however short the patience."""
_FIRST_WAIT_S, _LONGEST_WAIT_S, _LONGEST_OBEYED_S = 0.1, 30.0, 120.0


@dataclass(slots=True)
class Patience:
    """What the reads of one store share: how long each may go without a byte, who is told, and whether all is over."""

    seconds: float
    watch: Watch
    place: str
    """The store as it may be shown."""
    closed: threading.Event = field(default_factory=threading.Event)
    was_reached: bool = False
    """Whether the store ever answered: until then, a host that nobody knows is taken for a misspelt one."""


class Tries:
    """The tries of one read. Leave it as a context manager, so that its wait is no longer shown."""

    def __init__(self, patience: Patience, name: str) -> None:
        self._patience = patience
        self._name = name
        self._failed = self._wrong = 0
        self._since = 0.0
        self._reason = ""
        self._shown = ExitStack()

    def answered(self) -> None:
        """The store answered with a file."""
        self._patience.was_reached = True

    def good(self) -> None:
        """A byte came: patience begins anew."""
        if self._failed:
            self._failed = 0
            self._say("")

    def bad(self, failure: Passing) -> None:
        """A try failed: wait before the next one, exponentially longer with full jitter, or as long as the store asks.

        Raises EnvironmentError_ once patience is over.
        """
        self._patience.watch.count("retries")
        self._patience.watch.count(failure.incident)
        now = time.monotonic()
        if not self._failed:
            self._since = now
        self._failed += 1
        self._wrong += failure.is_wrong
        left = self._patience.seconds - (now - self._since)
        if self._is_over(failure, left):
            raise self._given_up(failure, now - self._since)
        self._say(f"{failure.answer}: {self._patience.place}")
        if self._patience.closed.wait(self._delay(failure, left)):
            raise closed(self._patience.place)

    def _is_over(self, failure: Passing, left: float) -> bool:
        if self._wrong >= QUICK_TRIES:
            return True
        is_misspelt = failure.is_lost and not self._patience.was_reached
        return self._failed >= QUICK_TRIES and (left <= 0 or is_misspelt)

    def _delay(self, failure: Passing, left: float) -> float:
        longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self._failed - 1, 16))
        wait = max(random.uniform(0, longest), min(failure.retry_after_s, _LONGEST_OBEYED_S))
        return min(wait, left if self._failed >= QUICK_TRIES else max(left, 1.0))

    def _given_up(self, failure: Passing, seconds: float) -> EnvironmentError_:
        return EnvironmentError_(
            "a store did not give what was asked for",
            where={"file": self._name, "store": self._patience.place},
            expected=f"an answer within {self._patience.seconds:g} s",
            found=f"{failure.answer}; {self._failed} tries in {seconds:.1f} s",
            next_step="look whether the store is up, then go on with --resume; stream.patience_s sets how long to wait",
        )

    def _say(self, reason: str) -> None:
        if reason != self._reason:
            self._shown.close()
            self._reason = reason
            if reason:
                self._shown.enter_context(self._patience.watch.waiting(reason))

    def __enter__(self) -> "Tries":
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()


def closed(place: str) -> EnvironmentError_:
    """The error of a read from a store that was closed."""
    return EnvironmentError_("a store was closed while it was read", where={"store": place})
