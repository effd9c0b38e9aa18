"""Transport: what a remote store asks of a protocol, and the few ways in which a request can fail."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Passing(Exception):
    """A try failed, but a later one may not: `incident` is the name it is counted by, `answer` says it in words.

    `is_wrong` marks an answer that came but cannot be right, `is_lost` a host that nothing is known of.
    """

    def __init__(
        self, incident: str, answer: str, *, retry_after_s: float = 0.0, is_wrong: bool = False, is_lost: bool = False
    ) -> None:
        super().__init__(answer)
        self.incident = incident
        self.answer = answer
        self.retry_after_s = retry_after_s
        self.is_wrong = is_wrong
        self.is_lost = is_lost


class Denied(Exception):
    """The store does not let us in; with credentials that are read again it may."""


class Missing(Exception):
    """The store has no such file."""


class Changed(Exception):
    """The file is not the one that was met first."""


class Hopeless(Exception):
    """No later try can go better, such as after a certificate that is not trusted."""


@dataclass(slots=True)
class Answer:
    """What a store sends: bytes from `start` on, of a file of `size` bytes.

    `version` changes when the file does; empty when the store tells none. `stop` is where the bytes should end.
    """

    start: int
    stop: int
    size: int
    version: str
    chunks: Iterator[bytes]


@runtime_checkable
class Transport(Protocol):
    """One protocol, for the files of one collection, with the credentials found when it was opened.

    It tries once, and reports a failure with one of the exceptions above.
    """

    def get(self, name: str, start: int, stop: int | None, version: str) -> AbstractContextManager[Answer]:
        """Ask for the bytes [start, stop) of a file, or from `start` to its end; `version` is the one expected, if
        known. The answer's `chunks` may raise too."""
        ...

    def close(self) -> None:
        """Drop all connections; reads that are under way fail. Safe to call twice."""
        ...


def parse_content_range(header: str, start: int, stop: int | None) -> tuple[int, int]:
    """(stop, size) of an answer to the range [start, stop); raises Passing unless it begins where it was asked to."""
    unit, _, rest = header.strip().partition(" ")
    span, _, size_text = rest.partition("/")
    first, dash, last = span.partition("-")
    numbers = (first, last, size_text)
    if unit != "bytes" or not dash or not all(number.isascii() and number.isdigit() for number in numbers):
        raise wrong_answer()
    begin, end, size = int(first), int(last) + 1, int(size_text)
    if begin != start or not begin < end <= size or (stop is not None and end > stop):
        raise wrong_answer()
    return end, size


def wrong_answer() -> Passing:
    """The failure of an answer that is not what was asked for."""
    return Passing("wrong_ranges", "the store sends other bytes than it was asked for", is_wrong=True)


def ranges_ignored() -> Passing:
    """The failure of an answer that begins elsewhere than it was asked to, with the whole file."""
    return Passing("ranges_ignored", "the store sends whole files instead of ranges", is_wrong=True)
