"""Foresight: a plan walked ahead of its reader, so that a cache fetches what comes next and drops what comes last."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, runtime_checkable

from mermed.contract import ShardRow
from mermed.errors import MermedError
from mermed.stream.cache.cache import Cache
from mermed.stream.cache.eviction import Entry
from mermed.stream.cache.piece import Piece, Pieces, named_piece
from mermed.stream.loader import Order, Share
from mermed.stream.order.plan import Reference
from mermed.stream.order.schedule import NEVER

AHEAD_BYTES = 4 * 2**30
FETCH_THREADS = 16
_LOOKUP_THREADS = 8
_AHEAD_SLOTS = 65_536
_POLL_S = 0.02
_PAUSE_SHARES = 64
_ADOPT_PAUSE_S = 0.001
_FIRST_PACE_S = 0.001


@runtime_checkable
class Returning(Protocol):
    """An order that knows when a sample comes again; one that does not, such as manifest order, reads each once."""

    def next_slot(self, row: ShardRow, block: range, slot: int) -> int:
        """The first slot at or after `slot` that draws one of the samples `block` of `row`; NEVER when none does.

        Raises KeyError for a row that it does not draw from.
        """
        ...


class Foresight:
    """Walks the `shares` this rank will read, ahead of the reader, and has the cache fetch their pieces in that order.

    It runs ahead by `ahead_bytes` of pieces, half of the cache at most. A piece the walk has met is needed until its
    last slot met is passed, then at the slot of its next draw, which the order gives in closed form; so are pieces of
    `rows` that an earlier run left. Slots become moments by the pace of the reader so far, so that jobs that share the
    cache can be told of them. What fails here fails again, and is dealt with, when it is read. Close it to stop its
    threads.
    """

    def __init__(
        self,
        order: Order,
        shares: Iterable[Share],
        pieces: Pieces,
        cache: Cache,
        *,
        rows: Iterable[ShardRow] = (),
        threads: int = FETCH_THREADS,
        ahead_bytes: int = AHEAD_BYTES,
    ) -> None:
        self._order = order
        self._shares = shares
        self._pieces = pieces
        self._cache = cache
        self._ahead_bytes = min(ahead_bytes, cache.capacity_bytes // 2)
        self._met: dict[str, tuple[Piece, int]] = {}
        self._met_bytes = 0
        self._known: dict[str, tuple[Piece, int]] = {}
        self._known_lock = threading.Lock()
        self._margin = 0
        self._first = self._position = 0
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mermed-fetch")
        self._lookups = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="mermed-lookup")
        self._threads = [threading.Thread(target=self._walk, name="mermed-foresight", daemon=True)]
        if isinstance(order, Returning):
            self._threads.append(threading.Thread(target=self._adopt, args=(rows,), name="mermed-adopt", daemon=True))
        cache.foreseen = self.foreseen
        for thread in self._threads:
            thread.start()

    def reading(self, piece: Piece, slot: int) -> None:
        """Tell that the sample of `slot` is being read from `piece`; threads may be a batch out of order."""
        if slot > self._position:
            self._position = slot
        if piece.name not in self._known:  # the reader has overtaken the walk
            with self._known_lock:
                self._known.setdefault(piece.name, (piece, slot))

    def foreseen(self, entries: Sequence[Entry]) -> list[float | None]:
        """When each file of the cache is needed next by this plan, in seconds since 1970; None where it is not met."""
        names = [entry.name.partition(".")[0] for entry in entries]
        with self._known_lock:
            for name in self._known.keys() - set(names) - self._met.keys():
                del self._known[name]
            stale = {
                name: piece
                for name, (piece, slot) in self._known.items()
                if slot < self._position and name not in self._met
            }
        returns = {name: (piece, self._next_slot(piece)) for name, piece in stale.items()}
        with self._known_lock:
            self._known.update(returns)
            slots = [self._known[name][1] if name in self._known else None for name in names]
        moment = self._clock()
        return [None if slot is None else moment(slot) for slot in slots]

    def close(self) -> None:
        """Stop fetching and wait for the threads; close the cache first, which wakes them. Safe to call twice."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._lookups.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)

    def _walk(self) -> None:
        for share in self._shares:
            self._begin(share)
            if share.slots.stop <= self._position:  # the reader has overtaken the walk
                continue
            met = [self._meet(piece, slot) for piece, slot in self._pieces_of(self._order.batch(share.slots))]
            self._forget_passed()
            if not any(met) and self._is_ahead(share):  # nothing to fetch: the cores are better used by the reader
                self._stopping.wait(_POLL_S)
            while self._is_far_ahead(share) and not self._stopping.wait(_POLL_S):
                self._forget_passed()
            if self._stopping.is_set():
                return

    def _is_ahead(self, share: Share) -> bool:
        """By so many shares that the reader does not overtake the walk within a pause."""
        return share.slots.start > self._position + _PAUSE_SHARES * self._margin

    def _is_far_ahead(self, share: Share) -> bool:
        """By bytes, or by slots where few pieces come again and again: a plan has no end to walk to."""
        return self._met_bytes > self._ahead_bytes or share.slots.stop > self._position + _AHEAD_SLOTS

    def _begin(self, share: Share) -> None:
        if not self._margin:
            self._first = share.slots.start
            self._position = max(self._position, self._first)
        self._margin = max(self._margin, len(share.slots))

    def _pieces_of(self, references: Sequence[Reference]) -> list[tuple[Piece, int]]:
        """The pieces of a share with a slot each: the first one, then the last one where that is another."""
        firsts: dict[tuple[str, int], Reference] = {}
        lasts: dict[tuple[str, int], Reference] = {}
        for reference in references:
            firsts.setdefault((reference.row.name, reference.block.start), reference)
            lasts[reference.row.name, reference.block.start] = reference
        found = self._look_up(firsts)
        met = [(piece, firsts[key].slot) for key, piece in found.items()]
        return met + [(piece, lasts[key].slot) for key, piece in found.items()]

    def _look_up(self, references: Mapping[tuple[str, int], Reference]) -> dict[tuple[str, int], Piece]:
        """The pieces of `references`, those not met before in threads: an index may have to be fetched first."""
        found = {key: self._pieces.known(reference) for key, reference in references.items()}
        missing = {key: references[key] for key, piece in found.items() if piece is None}
        found |= zip(missing, self._lookups.map(self._piece, missing.values()), strict=True)
        return {key: piece for key, piece in found.items() if piece is not None}

    def _piece(self, reference: Reference) -> Piece | None:
        with suppress(MermedError):
            return None if self._stopping.is_set() else self._pieces.of(reference)
        return None

    def _meet(self, piece: Piece, slot: int) -> bool:
        """A piece is needed at `slot`: fetch it, unless the walk has met it lately; returns whether it is new."""
        name = piece.name
        with self._known_lock:
            is_new = name not in self._met
            self._met.pop(name, None)
            self._met[name] = piece, slot
            if is_new:
                self._known[name] = piece, slot
        if is_new:
            self._met_bytes += piece.size
            self._pool.submit(self._fetch, piece, slot)
        return is_new

    def _fetch(self, piece: Piece, slot: int) -> None:
        with suppress(MermedError):
            if not self._stopping.is_set() and slot >= self._position - self._margin:
                self._cache.fetch(piece, self._moment(slot))

    def _forget_passed(self) -> None:
        """Take leave of the pieces whose last slot met has been read, and say when they come back."""
        while self._met:
            name, (piece, last) = next(iter(self._met.items()))
            if last >= self._position - self._margin:
                return
            slot = self._next_slot(piece)
            with self._known_lock:
                del self._met[name]
                self._known[name] = piece, slot
            self._met_bytes -= piece.size
            self._cache.stamp(piece, self._moment(slot))

    def _adopt(self, rows: Iterable[ShardRow]) -> None:
        """Learn when the pieces that earlier runs left are needed, one after the other beside the walk."""
        by_sha256 = {row.sha256: row for row in rows}
        for entry in self._cache.entries():
            piece = named_piece(entry.name, by_sha256) if entry.kind == "piece" else None
            if self._stopping.wait(_ADOPT_PAUSE_S):
                return
            if piece is None or piece.name in self._known:
                continue
            slot = self._next_slot(piece)
            if slot != NEVER and self._pieces.holds(piece, self._order.batch(range(slot, slot + 1))[0]):
                with self._known_lock:
                    self._known.setdefault(piece.name, (piece, slot))

    def _next_slot(self, piece: Piece) -> int:
        """The slot of the next draw from `piece`; NEVER where the order does not draw from it or does not know."""
        if not isinstance(self._order, Returning):
            return NEVER
        try:
            return self._order.next_slot(piece.row, piece.block, self._position)
        except KeyError:
            return NEVER

    def _moment(self, slot: int) -> float:
        return self._clock()(slot)

    def _clock(self) -> Callable[[int], float]:
        """When a slot is read, in seconds since 1970, if the reader keeps its pace; infinite for NEVER."""
        now, position, passed = time.time(), self._position, self._position - self._first
        pace_s = (time.monotonic() - self._began) / passed if passed > self._margin else _FIRST_PACE_S
        return lambda slot: float("inf") if slot == NEVER else now + max(0, slot - position) * pace_s
