"""Foresight: what comes next is fetched before it is read, in that order and no further ahead than is allowed."""

import threading
import time
from contextlib import contextmanager

import pytest

from mermed.config import StreamConfig
from mermed.contract import Manifest
from mermed.errors import IntegrityError
from mermed.mix_config import MixConfig
from mermed.stream.cache.cache import Cache
from mermed.stream.cache.foresight import Foresight
from mermed.stream.cache.piece import Pieces
from mermed.stream.loader import rank_shares
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan

BLOCK_BYTES = 8000


def _plan(made_up, shards=4, window_blocks=4):
    rows = tuple(made_up.row(f"{number}.tar") for number in range(shards))
    return Plan(Manifest(shards=rows), MixConfig(), StreamConfig(block_samples=8, window_blocks=window_blocks), 0)


@pytest.fixture
def walking(store, made_up, tmp_path):
    """Open a cache with a foresight over batches of 16 slots of a plan."""

    @contextmanager
    def walk(plan, *, capacity=10**9, batches=16, first=0, **options):
        pieces = Pieces(made_up.shelf, "block")
        cache = Cache(tmp_path / "cache", capacity, store, Watch())
        foresight = Foresight(plan, rank_shares(first, 16, range(16), batches), pieces, cache, **options)
        try:
            yield cache, foresight, pieces
        finally:
            cache.close()
            foresight.close()

    return walk


def _until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _in_order(plan, pieces, slots):
    """The pieces of `slots`, each once, by first need."""
    return list({pieces.of(reference).name: pieces.of(reference) for reference in plan.batch(slots)}.values())


def test_pieces_are_fetched_in_the_order_of_their_need_before_anyone_reads(walking, store, made_up):
    plan = _plan(made_up)
    with walking(plan, threads=1) as (cache, _, pieces):
        expected = _in_order(plan, pieces, range(256))
        assert len(expected) == 32
        _until(lambda: len(cache.entries()) == 32 and all(entry.kind == "piece" for entry in cache.entries()))
        assert [(name, start) for name, start, _, _ in store.copies] == [(p.row.name, p.start) for p in expected]
        for piece in expected:
            assert cache.read_at(piece, piece.start, 5) == store.content(piece.row.name)[piece.start :][:5]
    assert len(store.copies) == 32


def test_it_runs_ahead_by_the_bytes_allowed_and_goes_on_as_the_reader_does(walking, store, made_up):
    plan = _plan(made_up, window_blocks=2)
    with walking(plan, ahead_bytes=5 * BLOCK_BYTES) as (cache, foresight, pieces):
        order = [(pieces.of(reference), reference.slot) for reference in plan.batch(range(256))]
        _until(lambda: len(store.copies) >= 5)
        ahead = {piece.name for piece, slot in order if slot < 64}
        assert {entry.name.split(".")[0] for entry in cache.entries()} <= ahead
        for piece, slot in order:
            foresight.reading(piece, slot)
            cache.read_at(piece, piece.start, 5)
    assert len(store.copies) == 32


def test_a_small_source_that_comes_back_often_is_kept_while_a_large_one_passes(walking, store, made_up):
    large = tuple(made_up.row(f"{number}.tar") for number in range(6))
    small = made_up.row("small.tar", samples=8, dataset="few")
    plan = Plan(
        Manifest(shards=(*large, small)), MixConfig(alpha=0.3), StreamConfig(block_samples=8, window_blocks=2), 0
    )
    with walking(plan, capacity=10 * BLOCK_BYTES, batches=20) as (cache, foresight, pieces):
        for reference in plan.batch(range(320)):
            piece = pieces.of(reference)
            foresight.reading(piece, reference.slot)
            cache.read_at(piece, piece.start, 5)
    assert sum(name == "small.tar" for name, *_ in store.copies) == 1
    assert sum(name != "small.tar" for name, *_ in store.copies) >= 30


def test_what_an_earlier_run_left_is_known_again_unless_its_blocks_were_others(walking, store, made_up):
    plan = _plan(made_up)
    with walking(plan) as (cache, _, _):
        _until(lambda: len(cache.entries()) == 32)
        odd = made_up.piece(1, of=plan.sources[0][0].rows[0], block=4)
        foreign = made_up.piece(of=made_up.row("val.tar", dataset="held_out"))
        cache.read_at(odd, odd.start, 5)
        cache.read_at(foreign, foreign.start, 5)
        names = [entry.name for entry in cache.entries()]
    other = Plan(Manifest(shards=plan.sources[0][0].rows), MixConfig(), StreamConfig(block_samples=8), 1)
    with walking(other, batches=0, rows=[*plan.sources[0][0].rows, foreign.row]) as (cache, foresight, _):
        foresight._threads[1].join()
        entries = cache.entries()
        needs = {entry.name: need for entry, need in zip(entries, foresight.foreseen(entries), strict=True)}
        assert needs.keys() == set(names)
        assert {name.split(".")[0] for name, need in needs.items() if need is None} == {odd.name, foreign.name}
        first = other.batch(range(1))[0]
        soonest = min((need, name) for name, need in needs.items() if need is not None)[1]
        assert soonest.startswith(f"{first.row.sha256}-{first.block.start}-")


def test_a_walk_that_the_reader_has_overtaken_fetches_nothing_that_was_read(walking, store, made_up):
    plan = _plan(made_up)
    gate = threading.Event()

    def late(name, start, chunk):
        gate.wait(10)
        return chunk

    store.spoil = late
    with walking(plan, threads=1, ahead_bytes=BLOCK_BYTES) as (_, foresight, pieces):
        last_batch = {(p.row.name, p.start) for p in _in_order(plan, pieces, range(240, 256))}
        _until(lambda: store.copies)
        late_piece = pieces.of(plan.batch(range(250, 251))[0])
        foresight.reading(late_piece, 250)
        gate.set()
        _until(lambda: last_batch <= {(name, start) for name, start, _, _ in store.copies})
    assert len(store.copies) <= 1 + len(last_batch)


def test_a_piece_that_cannot_be_fetched_stops_neither_the_walk_nor_hides_from_its_reader(walking, store, made_up):
    plan = _plan(made_up)

    def lost(name, start, chunk):
        if name == "2.tar":
            raise IntegrityError("a file of the collection cannot be opened")
        return chunk

    store.spoil = lost
    with walking(plan) as (cache, _, pieces):
        _until(lambda: sum(entry.kind == "piece" for entry in cache.entries()) == 24)
        piece = pieces.of(next(r for r in plan.batch(range(256)) if r.row.name == "2.tar"))
        with pytest.raises(IntegrityError, match="cannot be opened"):
            cache.read_at(piece, piece.start, 5)


def test_closing_stops_its_threads_in_the_middle_of_the_walk(walking, store, made_up):
    with walking(_plan(made_up, shards=8), ahead_bytes=BLOCK_BYTES, batches=10**6):
        _until(lambda: store.copies)
    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if name.startswith(("mermed-fetch", "mermed-lookup", "mermed-foresight"))}
