"""The cache: one download for all, never a wrong byte, never above its size, whatever happens to folder and disk."""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest

from mermed.config import StreamConfig
from mermed.contract import Manifest
from mermed.errors import EnvironmentError_, IntegrityError
from mermed.mix_config import MixConfig
from mermed.stream.cache import folder as cache_folder
from mermed.stream.cache.folder import CacheFolder
from mermed.stream.cache.foresight import Foresight
from mermed.stream.cache.piece import Piece, Pieces
from mermed.stream.order.plan import Plan

MUCH = 10**9


def _all(cache, piece):
    return cache.read_at(piece, piece.start, piece.size)


def _stored(store, piece):
    return store.content(piece.row.name)[piece.start : piece.stop]


def test_a_piece_is_fetched_once_and_read_from_disk_ever_after(opened, store, made_up, watch):
    cache, piece = opened(), made_up.piece(2)
    assert cache.read_at(piece, 16_500, 300) == store.content(piece.row.name)[16_500:16_800]
    assert _all(cache, piece) == _all(opened(), piece) == _stored(store, piece)
    assert store.copies == [(piece.row.name, 16_000, 24_000, 8000)]
    assert store.reads == 0
    assert watch.counts() == {"cache_misses": 1, "cache_hits": 2, "cache_fetched_bytes": 8000, "cache_evicted": 0}


def test_threads_that_need_one_piece_at_once_wait_for_one_download(opened, store, made_up, watch):
    cache, piece, fetching = opened(), made_up.piece(), threading.Event()

    def until_another_waits(name, start, chunk):
        fetching.set()
        while start == 0 and not watch.reasons():
            time.sleep(0.001)
        return chunk

    store.spoil = until_another_waits
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda _: _all(cache, piece), range(6))) == {_stored(store, piece)}
    assert len(store.copies) == 1
    assert watch.reasons() == []
    assert watch.seconds()["cache"] > 0


def test_equal_names_in_two_collections_and_a_repacked_shard_never_meet(opened, store, made_up):
    cache = opened()
    ours = made_up.piece(of=made_up.row("000000.tar"))
    assert _all(cache, ours) == _stored(store, ours)
    store.files["000000.tar"] = bytes(64_000)
    theirs = made_up.piece(of=made_up.row("000000.tar", sha256="b" * 64))
    assert _all(cache, theirs) == bytes(8000)
    assert _all(cache, ours) != bytes(8000)
    assert len(store.copies) == 2


def test_the_folder_never_holds_more_than_its_capacity(opened, store, folder, made_up, used, watch):
    cache = opened(5 * 8000)
    for shard in range(4):
        for number in range(8):
            piece = made_up.piece(number, of=made_up.row(f"{shard}.tar"))
            assert _all(cache, piece) == _stored(store, piece)
            assert used(folder) <= 5 * 8000
    assert watch.counts()["cache_evicted"] == 32 - used(folder) // 8000
    assert "cache_bypassed" not in watch.counts()


def test_two_caches_on_one_folder_share_one_capacity(opened, store, folder, made_up, used):
    caches = [opened(4 * 8000), opened(4 * 8000)]
    for number in range(16):
        _all(caches[number % 2], made_up.piece(number % 8, of=made_up.row(f"{number // 8}.tar")))
        assert used(folder) <= 4 * 8000


def test_a_piece_larger_than_the_cache_is_read_from_the_store(opened, store, made_up, watch, folder):
    cache, piece = opened(7999), made_up.piece()
    assert cache.read_at(piece, 100, 50) == store.content(piece.row.name)[100:150]
    assert watch.counts()["cache_bypassed"] == 1
    assert [path.name for path in folder.iterdir()] == [cache_folder.MARK]


def test_what_is_needed_sooner_than_the_newcomer_does_not_make_room_for_it(opened, store, made_up):
    cache = opened(2 * 8000)
    now = time.time()
    assert cache.fetch(made_up.piece(0), now + 100)
    assert cache.fetch(made_up.piece(1), now + 200)
    assert not cache.fetch(made_up.piece(2), now + 300)
    assert cache.fetch(made_up.piece(3), now + 150)
    _all(cache, made_up.piece(0))
    assert [start for _, start, _, _ in store.copies] == [0, 8000, 24_000]


def test_another_jobs_sooner_need_is_kept_until_it_is_over(opened, made_up, folder):
    ours, theirs, piece = opened(), opened(), made_up.piece()
    path = folder / f"{piece.name}.piece"
    now = time.time()
    ours.fetch(piece, now + 1000)
    theirs.stamp(piece, now + 500)
    ours.stamp(piece, now + 2000)
    assert path.stat().st_mtime == pytest.approx(now + 500)
    os.utime(path, (now, now - 1))
    ours.stamp(piece, now + 2000)
    assert path.stat().st_mtime == pytest.approx(now + 2000)
    ours.stamp(piece, float("inf"))
    assert path.stat().st_mtime == pytest.approx(now + 2000)


def test_a_cache_that_knows_the_plan_fetches_less_than_one_that_keeps_what_was_used_last(opened, store, made_up):
    rows = tuple(made_up.row(f"{number}.tar") for number in range(4))
    settings = StreamConfig(block_samples=8, window_blocks=4)
    plan = Plan(Manifest(shards=rows), MixConfig(), settings, 0)
    pieces = Pieces(made_up.shelf, "block")
    order = [(pieces.of(reference), reference.slot) for reference in plan.batch(range(2 * 256))]
    capacity = 12 * 8000
    cache = opened(capacity)
    foresight = Foresight(plan, (), pieces, cache)
    try:
        for piece, slot in order:
            foresight.reading(piece, slot)
            assert cache.read_at(piece, piece.start, 10) == _stored(store, piece)[:10]
    finally:
        cache.close()
        foresight.close()
    every_piece = len({piece.name for piece, _ in order})
    assert every_piece <= len(store.copies) < _fetched_by_last_use([piece for piece, _ in order], capacity)


def _fetched_by_last_use(order: list[Piece], capacity):
    kept, fetched = OrderedDict(), 0
    for piece in order:
        if piece.name not in kept:
            fetched += 1
            while len(kept) >= capacity // piece.size:
                kept.popitem(last=False)
        kept[piece.name] = None
        kept.move_to_end(piece.name)
    return fetched


def test_reading_goes_on_while_other_threads_drop_what_is_read(opened, store, made_up, watch):
    cache = opened(2 * 8000)
    order = [made_up.piece(number * step % 8) for step in (1, 3, 5, 7) for number in range(8)]

    def read_all(shift):
        return all(_all(cache, piece) == _stored(store, piece) for piece in order[shift:] + order[:shift])

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(read_all, range(3)))
    assert watch.counts()["cache_evicted"] > 0


def test_bytes_that_spoil_on_their_way_are_fetched_again_before_anyone_reads_them(opened, store, made_up, watch):
    piece = made_up.piece()
    cache = opened(inspect=_against(store))
    store.spoil = lambda name, start, chunk: chunk if len(store.copies) > 1 else bytes(len(chunk))
    assert _all(cache, piece) == _stored(store, piece)
    assert len(store.copies) == 2
    assert watch.counts()["cache_refetched"] == 1


def test_bytes_that_are_bad_at_the_store_are_fetched_twice_and_not_for_ever(opened, store, made_up, watch):
    piece = made_up.piece()
    cache = opened(inspect=_against(store))
    store.spoil = lambda name, start, chunk: bytes(len(chunk))
    for _ in range(3):
        assert _all(cache, piece) == bytes(piece.size)
        assert not cache.again(piece)
    assert len(store.copies) == 2


def _against(store):
    def inspect(piece, read_at):
        if read_at(piece.start, piece.size) != _stored(store, piece):
            raise IntegrityError("not those bytes")

    return inspect


def test_a_download_that_died_is_gone_on_with_from_its_last_byte(opened, store, made_up, folder):
    cache, piece = opened(inspect=_against(store)), made_up.piece()
    (folder / f"{piece.name}.part").write_bytes(_stored(store, piece)[:5000])
    assert _all(cache, piece) == _stored(store, piece)
    assert store.copies == [(piece.row.name, 5000, 8000, 3000)]


@pytest.mark.parametrize("left_over", [bytes(5000), bytes(9000)])
def test_a_left_over_that_a_power_cut_spoiled_is_found_and_proves_nothing_against_the_store(
    opened, store, made_up, folder, left_over
):
    cache, piece = opened(inspect=_against(store)), made_up.piece()
    (folder / f"{piece.name}.part").write_bytes(left_over)
    assert _all(cache, piece) == _stored(store, piece)
    assert store.copies[-1] == (piece.row.name, 0, 8000, 8000)
    assert cache.again(piece)


def test_a_store_that_fails_leaves_what_arrived_for_the_next_try(opened, store, made_up):
    cache, piece = opened(), made_up.piece()

    def fail(name, start, chunk):
        if start and len(store.copies) == 1:
            raise EnvironmentError_("the store is down")
        return chunk

    store.spoil = fail
    with pytest.raises(EnvironmentError_, match="the store is down"):
        _all(cache, piece)
    assert _all(cache, piece) == _stored(store, piece)
    assert store.copies[1] == (piece.row.name, 4096, 8000, 3904)


def test_an_index_is_fetched_once_and_again_when_it_changed_on_disk(opened, store, made_up, folder, watch):
    content = store.content("ct/train/ct-train-000000.idx")
    row = made_up.row()
    object.__setattr__(row, "index_sha256", hashlib.sha256(content).hexdigest())
    assert opened().index(row) == opened().index(row) == content
    assert store.reads == 1
    (folder / f"{row.index_sha256}.index").write_bytes(b"v1.2 0\n")
    assert opened().index(row) == opened().index(row) == content
    assert store.reads == 2


def test_an_index_that_is_not_the_rows_is_handed_on_but_not_kept(opened, store, made_up, folder):
    row = made_up.row()
    assert opened().index(row) == store.content(row.index_name)
    assert [path.name for path in folder.iterdir()] == [cache_folder.MARK]


def test_closing_wakes_who_waits_for_anothers_download(opened, folder, made_up, watch):
    cache, piece = opened(), made_up.piece()
    part = CacheFolder(folder, MUCH).claim(f"{piece.name}.piece")
    with part, ThreadPoolExecutor(1) as pool:
        read = pool.submit(_all, cache, piece)
        while not watch.reasons():
            time.sleep(0.001)
        cache.close()
        with pytest.raises(EnvironmentError_, match="closed"):
            read.result(timeout=10)
    assert watch.reasons() == []


def test_closing_ends_a_download_at_its_next_chunk(opened, store, made_up):
    cache, piece = opened(), made_up.piece()

    def close(name, start, chunk):
        cache.close()
        return chunk

    store.spoil = close
    with pytest.raises(EnvironmentError_, match="closed"):
        _all(cache, piece)
    assert store.copies[0][3] == 0
