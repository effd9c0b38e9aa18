"""A collection behind a network: ranged reads that go on from the last good byte and never mix two versions."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mermed.address import Address, check_file_name
from mermed.errors import ChangedError, EnvironmentError_, IntegrityError, MermedError
from mermed.stream.meters.watch import Watch
from mermed.stream.remote.retry import Patience, Tries, closed
from mermed.stream.remote.transport import (
    Answer,
    Changed,
    Denied,
    Hopeless,
    Missing,
    Passing,
    Transport,
    ranges_ignored,
    wrong_answer,
)
from mermed.stream.store import Sink, too_short

MAX_WHOLE_BYTES = 2**31
"""The largest file that is read whole into memory; shards are read in ranges."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a file was like when this store met it first."""

    size: int
    version: str


@dataclass(slots=True)
class _Read:
    """A read under way: the bytes [start, stop) were asked for, those before `at` were given to `sink`."""

    name: str
    start: int
    stop: int | None
    sink: Sink
    at: int
    sink_s: float = 0.0
    was_renewed: bool = False

    @property
    def is_done(self) -> bool:
        return self.stop is not None and self.at >= self.stop

    def give(self, chunk: bytes) -> None:
        begin = time.perf_counter()
        self.sink(chunk)
        self.sink_s += time.perf_counter() - begin
        self.at += len(chunk)


class RemoteStore:
    """The Store of one collection over a Transport. Safe in threads; open it in the process that reads.

    What a file was like at first contact (its length, and its ETag or whatever tells versions apart) holds for the
    life of the store: an answer of another version raises IntegrityError.
    """

    def __init__(
        self, address: Address, open_transport: Callable[[], Transport], watch: Watch, patience_s: float
    ) -> None:
        self._address = address
        self._watch = watch
        self._patience = Patience(patience_s, watch, address.shown)
        self._open_transport = open_transport
        self._transport = open_transport()
        self._facts: dict[str, _Facts] = {}
        self._renewing = threading.Lock()
        self._process = os.getpid()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`, fewer only at the end of the file; raises as `copy_to` does."""
        parts: list[bytes] = []
        self._copy(name, offset, offset + size, parts.append)
        return b"".join(parts)

    def copy_to(self, name: str, start: int, stop: int, sink: Sink) -> None:
        """Give the bytes [start, stop) to `sink`.

        Raises IntegrityError for a file that is missing, too short or changed, EnvironmentError_ when the store lets
        nobody in or patience is over, ContractError for a name that leaves the collection.
        """
        end = self._copy(name, start, stop, sink)
        if end < stop:
            raise too_short(name, stop, end)

    def read(self, name: str) -> bytes:
        """The whole file; raises as `copy_to` does."""
        parts: list[bytes] = []
        self._copy(name, 0, None, parts.append)
        return b"".join(parts)

    def size(self, name: str) -> int:
        """Length in bytes; a file that was met before costs no request. Raises as `copy_to` does."""
        if name not in self._facts:
            self._copy(name, 0, 1, len)
        return self._facts[name].size

    def close(self) -> None:
        """Drop all connections and wake reads that wait: they raise EnvironmentError_. Safe to call twice."""
        self._patience.closed.set()
        self._transport.close()

    def __enter__(self) -> "RemoteStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _copy(self, name: str, start: int, stop: int | None, sink: Sink) -> int:
        """Give [start, stop) to `sink`, or less where the file ends; returns where it stopped."""
        read = _Read(check_file_name(name), start, stop, sink, at=start)
        begin = time.perf_counter()
        try:
            with Tries(self._patience, name) as tries:
                self._limit(read)
                while not read.is_done:
                    self._try(read, tries)
        finally:
            self._watch.spent("network", time.perf_counter() - begin - read.sink_s)
            self._watch.count("network_bytes", read.at - start)
        return read.at

    def _try(self, read: _Read, tries: Tries) -> None:
        """Ask once for what is left of `read`; when that fails, wait for the next try or raise what is to be raised."""
        transport = self._transport
        try:
            self._once(transport, read, tries)
        except Passing as failure:
            if self._patience.closed.is_set():
                raise closed(self._address.shown) from None
            tries.bad(failure)
        except Denied as denial:
            self._renew(transport, read, denial)
        except Missing:
            raise self._error(IntegrityError, "a file of the collection is not in the store", read.name) from None
        except Changed:
            raise self._error(
                ChangedError, "the collection changed under the run", read.name, found="another version of the file"
            ) from None
        except Hopeless as failure:
            raise self._error(EnvironmentError_, "a store cannot be read", read.name, found=failure) from None

    def _once(self, transport: Transport, read: _Read, tries: Tries) -> None:
        if self._patience.closed.is_set():
            raise closed(self._address.shown)
        if os.getpid() != self._process:
            raise EnvironmentError_(
                "a remote store was opened in another process",
                where={"store": self._address.shown},
                next_step="open it in the process that reads",
            )
        self._watch.count("requests")
        known = self._facts.get(read.name)
        with transport.get(read.name, read.at, read.stop, known.version if known else "") as answer:
            self._remember(read.name, answer)
            tries.answered()
            self._limit(read)
            if not read.is_done:
                self._take(answer, read, tries)

    def _take(self, answer: Answer, read: _Read, tries: Tries) -> None:
        """Give the answer's bytes to the sink. An answer with the whole file serves a read that began with byte 0."""
        if answer.start not in (read.at, read.start) or read.stop is None:
            raise ranges_ignored()
        at = answer.start
        for chunk in answer.chunks:
            end = at + len(chunk)
            if end > answer.stop:
                raise wrong_answer()
            if end > read.at:
                read.give(chunk[read.at - at if at < read.at else 0 : read.stop - at])
                tries.good()
            at = end
            if read.is_done:
                return
        if at < min(answer.stop, read.stop):
            raise Passing("broken_reads", "the store breaks off")

    def _remember(self, name: str, answer: Answer) -> None:
        """Hold the answer against the file that was met first."""
        facts = self._facts.setdefault(name, _Facts(answer.size, answer.version))
        if facts.size != answer.size or (facts.version and answer.version and facts.version != answer.version):
            raise Changed

    def _limit(self, read: _Read) -> None:
        """End a read where its file ends, once the length is known."""
        facts = self._facts.get(read.name)
        if facts is None:
            return
        if read.stop is None and facts.size > MAX_WHOLE_BYTES:
            raise self._error(
                IntegrityError, "a file is too large to be read whole", read.name, found=f"{facts.size} bytes"
            )
        read.stop = facts.size if read.stop is None else min(read.stop, facts.size)

    def _renew(self, transport: Transport, read: _Read, denial: Denied) -> None:
        """Read the credentials again, once per read, and once for all threads that were turned away together."""
        if read.was_renewed:
            raise self._error(
                EnvironmentError_,
                "a store lets nobody in with these credentials",
                read.name,
                found=denial,
                next_step="renew the credentials in the environment or the address, then go on with --resume",
            ) from None
        read.was_renewed = True
        self._watch.count("credentials_renewed")
        with self._renewing:
            if self._transport is transport and not self._patience.closed.is_set():
                self._transport = self._open_transport()
                transport.close()

    def _error(
        self, kind: type[MermedError], what: str, name: str, *, found: object = None, next_step: str | None = None
    ) -> MermedError:
        return kind(
            what,
            where={"file": name, "store": self._address.shown},
            found=found,
            next_step=next_step or "check the address, and that the collection was copied whole",
        )
