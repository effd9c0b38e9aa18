"""A store of made-up shards that counts what it is asked for, and pieces of it."""

import hashlib
import threading
from types import SimpleNamespace

import pytest

from mermed.contract import ShardRow
from mermed.errors import IntegrityError
from mermed.stream.cache.cache import Cache
from mermed.stream.cache.piece import Piece
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.meters.watch import Watch

SAMPLE_BYTES = 1000


class CountingStore:
    """Shards whose bytes follow from their names; remembers every long read as (name, start, stop, bytes sent).

    `spoil(name, start, chunk)` may change or refuse what is sent.
    """

    def __init__(self, chunk_bytes=4096):
        self.copies = []
        self.reads = 0
        self.spoil = lambda name, start, chunk: chunk
        self.files = {}
        self._chunk_bytes = chunk_bytes
        self._lock = threading.Lock()

    def content(self, name):
        if name not in self.files:
            seed = hashlib.sha256(name.encode()).digest()
            self.files[name] = b"".join(hashlib.sha256(seed + bytes([i % 256, i // 256])).digest() for i in range(2000))
        return self.files[name]

    def read_at(self, name, offset, size):
        with self._lock:
            self.reads += 1
        return self.content(name)[offset : offset + size]

    def copy_to(self, name, start, stop, sink):
        with self._lock:
            number = len(self.copies)
            self.copies.append((name, start, stop, 0))
        content, sent = self.content(name), 0
        if stop > len(content):
            raise IntegrityError("a file of the collection is shorter than it should be")
        while start + sent < stop:
            chunk = content[start + sent : min(start + sent + self._chunk_bytes, stop)]
            sink(self.spoil(name, start + sent, chunk))
            sent += len(chunk)
            self.copies[number] = (name, start, stop, sent)

    def read(self, name):
        with self._lock:
            self.reads += 1
        return self.content(name)

    def size(self, name):
        return len(self.content(name))

    def close(self):
        pass


def row(name="ct/train/ct-train-000000.tar", *, samples=64, sha256=None, dataset="site"):
    return ShardRow(
        name=name,
        modality="ct",
        dataset=dataset,
        split="train",
        samples=samples,
        bytes=64_000,
        sha256=sha256 or hashlib.sha256(name.encode()).hexdigest(),
        index_sha256=hashlib.sha256(b"index" + name.encode()).hexdigest(),
    )


def piece(number=0, *, of=None, block=8):
    """The `number`-th block of a made-up shard: 8 samples of 1,000 bytes."""
    start = number * block
    return Piece(of or row(), range(start, start + block), start * SAMPLE_BYTES, (start + block) * SAMPLE_BYTES)


class MadeUpShelf(IndexShelf):
    """Every sample of a made-up shard is 1,000 bytes long."""

    def extent(self, row, block):
        return block.start * SAMPLE_BYTES, block.stop * SAMPLE_BYTES


@pytest.fixture
def store():
    return CountingStore()


@pytest.fixture
def made_up():
    """What tests build with: rows, pieces, a shelf, a store class."""
    return SimpleNamespace(
        row=row, piece=piece, shelf=MadeUpShelf(CountingStore()), store=CountingStore, sample_bytes=SAMPLE_BYTES
    )


@pytest.fixture
def used():
    """Bytes of the files of a cache folder, parts with the size they will have."""

    def count(folder):
        total = 0
        for path in folder.iterdir():
            if path.suffix in (".piece", ".part", ".index"):
                numbers = path.stem.split("-")
                total += int(numbers[4]) - int(numbers[3]) if len(numbers) == 5 else path.stat().st_size
        return total

    return count


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def opened(folder, store, watch):
    """Open a cache on the folder; all are closed after the test."""
    caches = []

    def open_one(capacity=10**9, **options):
        caches.append(Cache(folder, capacity, store, watch, **options))
        return caches[-1]

    yield open_one
    for cache in caches:
        cache.close()
