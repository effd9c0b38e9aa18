"""A collection read through the cache: the same samples as without, from disks that lie, stores that fail and none."""

import shutil
import threading
import time
from contextlib import closing

import pytest
from fault_server import serving
from faults import Reset, Status

from mermed.config import StreamConfig
from mermed.contract import load_manifest
from mermed.errors import ConfigError, IntegrityError
from mermed.mix_config import MixConfig
from mermed.stream.cache.piece import Pieces
from mermed.stream.cache.reader import CachedReader, check_capacity
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.meters.watch import Watch
from mermed.stream.order.footprint import footprints
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore, open_store

BATCH, BATCHES = 14, 8
SETTINGS = StreamConfig(block_samples=4, window_blocks=2)


class CountedStore(LocalStore):
    """A local folder that remembers each read."""

    def __init__(self, folder):
        super().__init__(folder)
        self.asked = []

    def read_at(self, name, offset, size):
        self.asked.append((name, offset, offset + size))
        return super().read_at(name, offset, size)

    def copy_to(self, name, start, stop, sink):
        self.asked.append((name, start, stop))
        super().copy_to(name, start, stop, sink)

    def read(self, name):
        self.asked.append((name, 0, -1))
        return super().read(name)

    def size(self, name):
        self.asked.append((name, 0, 0))
        return super().size(name)


def _plan(folder):
    return Plan(load_manifest(folder), MixConfig(), SETTINGS, 0)


def _shares():
    return rank_shares(0, BATCH, range(BATCH), BATCHES)


@pytest.fixture
def opened(tmp_path):
    """Open a reader of a collection through the cache in tmp_path/cache."""

    def open_one(folder, store=None, *, watch=None, capacity_bytes=10**9, **options):
        manifest = load_manifest(folder)
        plan = Plan(manifest, MixConfig(), SETTINGS, 0)
        return CachedReader(
            store or LocalStore(folder),
            watch or Watch(),
            plan,
            _shares(),
            manifest.shards,
            folder=tmp_path / "cache",
            capacity_bytes=capacity_bytes,
            **options,
        )

    return open_one


def _images(folder, read):
    with Loader(_plan(folder), read, _shares(), num_threads=3) as loader:
        return [(meta.key, image) for batch in loader for meta, image in zip(batch.meta, batch.images, strict=True)]


def _pieces_used(folder, indexes, unit):
    pieces = Pieces(indexes, unit)
    return {pieces.of(reference) for reference in _plan(folder).batch(range(BATCH * BATCHES))}


@pytest.mark.parametrize("unit", ["block", "shard"])
def test_a_cache_changes_no_sample_and_each_byte_crosses_once(collection, opened, unit):
    expected = _images(collection, SampleReader(LocalStore(collection)).read)
    store = CountedStore(collection)
    with opened(collection, store, unit=unit) as reader:
        assert _images(collection, reader.read) == expected
        pieces = {(p.row.name, p.start, p.stop) for p in _pieces_used(collection, reader.indexes, unit)}
    copied = [asked for asked in store.asked if asked[0].endswith(".tar") and asked[2]]
    assert len(copied) == len(set(copied))
    assert set(copied) == pieces


def test_a_warm_cache_asks_the_store_for_nothing(collection, opened):
    with opened(collection) as reader:
        expected = _images(collection, reader.read)
    store = CountedStore(collection)
    with opened(collection, store) as reader:
        assert _images(collection, reader.read) == expected
    assert store.asked == []


def test_a_bit_that_flips_on_the_local_disk_is_found_and_fetched_once_more(collection, opened, tmp_path):
    with opened(collection) as reader:
        expected = _images(collection, reader.read)
    for path in (tmp_path / "cache").glob("*.piece"):
        _flip(path, 700)
    watch, store = Watch(), CountedStore(collection)
    with opened(collection, store, watch=watch) as reader:
        assert _images(collection, reader.read) == expected
        count = len(_pieces_used(collection, reader.indexes, "block"))
    assert 0 < watch.counts()["cache_refetched"] <= count
    assert len(store.asked) == watch.counts()["cache_refetched"]


@pytest.mark.parametrize("unit", ["block", "shard"])
def test_a_sample_that_is_bad_at_the_store_fails_alone_and_as_without_a_cache(collection, opened, tmp_path, unit):
    damaged = tmp_path / "damaged"
    shutil.copytree(collection, damaged)
    reference = _plan(collection).batch(range(1))[0]
    plain = SampleReader(LocalStore(collection))
    span = plain.indexes.span(reference.row, reference.index)
    _flip(damaged / reference.row.name, span.image.offset + 50)
    store = CountedStore(damaged)
    with opened(damaged, store, unit=unit) as reader:
        for _ in range(3):
            with pytest.raises(IntegrityError) as raised:
                reader.read(reference)
            assert raised.value.where == {"shard": reference.row.name, "key": span.key}
        for other in _plan(damaged).batch(range(BATCH * BATCHES)):
            if (other.row, other.index) != (reference.row, reference.index):
                assert reader.read(other) == plain.read(other)
        (piece,) = (
            p for p in _pieces_used(damaged, reader.indexes, unit) if p == Pieces(reader.indexes, unit).of(reference)
        )
    assert store.asked.count((piece.row.name, piece.start, piece.stop)) == 2


def _flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 16
    path.write_bytes(content)


def test_a_tiny_cache_never_touches_the_collection_it_reads(collection, opened, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(collection, source)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    watch = Watch()
    with opened(source, watch=watch, capacity_bytes=60_000) as reader:
        assert _images(source, reader.read) == _images(source, SampleReader(LocalStore(source)).read)
    assert watch.counts()["cache_evicted"] > 0
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_a_store_that_fails_now_and_then_fills_the_cache_with_the_same_bytes(collection, opened):
    expected = _images(collection, SampleReader(LocalStore(collection)).read)
    watch = Watch()
    with serving(collection) as server:
        server.inject(Status(503), times=2)
        server.inject(Reset(after=3000), times=2)
        with closing(open_store(server.url, watch=watch, patience_s=20.0)) as store:
            with opened(collection, store, watch=watch) as reader:
                assert _images(collection, reader.read) == expected
    assert watch.counts()["cache_misses"] <= len(expected)


def test_a_shard_that_is_gone_fails_where_it_is_read_and_nowhere_else(collection, opened, tmp_path):
    partial = tmp_path / "partial"
    shutil.copytree(collection, partial)
    references = _plan(collection).batch(range(BATCH * BATCHES))
    lost = references[3].row
    (partial / lost.name).unlink()
    plain = SampleReader(LocalStore(collection))
    with opened(partial) as reader:
        for reference in references:
            if reference.row == lost:
                with pytest.raises(IntegrityError, match="cannot be opened"):
                    reader.read(reference)
            else:
                assert reader.read(reference) == plain.read(reference)


def test_closing_ends_all_threads(collection, opened):
    with opened(collection) as reader:
        reader.read(_plan(collection).batch(range(1))[0])
        reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mermed-")]


def test_closing_does_not_wait_for_a_store_that_is_down(collection, opened):
    with serving(collection) as server:
        server.go_down(600)
        watch = Watch()
        reader = opened(collection, open_store(server.url, watch=watch, patience_s=600.0), watch=watch)
        while not watch.reasons():
            time.sleep(0.01)
        reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mermed-")]


@pytest.mark.parametrize("unit", ["block", "shard"])
def test_a_cache_smaller_than_what_is_drawn_from_at_once_is_refused_with_the_size_it_needs(collection, unit):
    plan = _plan(collection)
    need = sum(mark.need_bytes for mark in footprints(plan, unit).values())
    check_capacity(plan, StreamConfig(cache_gib=need / 2**30, cache_unit=unit))
    with pytest.raises(ConfigError, match="smaller than what the order draws from") as raised:
        check_capacity(plan, StreamConfig(cache_gib=0.99 * need / 2**30, cache_unit=unit))
    enough = float(raised.value.expected.split()[2])
    check_capacity(plan, StreamConfig(cache_gib=enough, cache_unit=unit))
    assert enough - need / 2**30 < 0.001
