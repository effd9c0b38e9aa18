"""Several processes on one cache folder: one download for all, and a kill -9 at any moment costs nothing but time."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress

import pytest

from mermed.stream.cache.folder import CacheFolder

CHILD = """
import hashlib, os, resource, sys, time
from pathlib import Path
from mermed.contract import ShardRow
from mermed.stream.cache.cache import Cache
from mermed.stream.cache.piece import Piece
from mermed.stream.meters.watch import Watch

folder, capacity, log, chunk_s, passes, limit = Path(sys.argv[1]), *sys.argv[2:7]
if limit != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
CONTENT = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(2000))

class Store:
    def read_at(self, name, offset, size):
        note("read", offset, size)
        return CONTENT[offset : offset + size]

    def copy_to(self, name, start, stop, sink):
        note("copy", start, stop)
        for at in range(start, stop, 1000):
            time.sleep(float(chunk_s))
            sink(CONTENT[at : min(at + 1000, stop)])
        note("done", start, stop)

    def read(self, name):
        raise AssertionError

    def size(self, name):
        return len(CONTENT)

    def close(self):
        pass

def note(what, start, stop):
    line = f"{what} {start} {stop} {os.getpid()}\\n".encode()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line)
    os.close(descriptor)

row = ShardRow(name="a.tar", modality="ct", dataset="site", split="train", samples=64, bytes=64000,
               sha256="a" * 64, index_sha256="b" * 64)
pieces = [Piece(row, range(8 * n, 8 * n + 8), 8000 * n, 8000 * n + 8000) for n in range(8)]
watch = Watch()
cache = Cache(folder, int(capacity), Store(), watch)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(passes)):
    for piece in pieces[number:] + pieces[:number]:
        assert cache.read_at(piece, piece.start, 8000) == CONTENT[piece.start : piece.stop]
print(watch.counts(), watch.reasons(), flush=True)
cache.close()
"""


@pytest.fixture
def run(tmp_path):
    """Start children that read 8 pieces of one shard `passes` times through a cache in tmp_path/cache."""
    children = []

    @contextmanager
    def start(*, capacity=10**9, chunk_s=0.0, passes=1, limit=0):
        arguments = [tmp_path / "cache", capacity, tmp_path / "log", chunk_s, passes, limit]
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        yield child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def _go(*children):
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()


def _end(child):
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return out


def _log(tmp_path):
    """What the store was asked for: (what, start, stop, process)."""
    lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
    return [(what, *map(int, numbers)) for what, *numbers in map(str.split, lines)]


def _until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _bytes_on_disk(folder):
    """While no process may make or take room: files that grow do so within their reservation."""
    with CacheFolder(folder, 0)._usage():
        return sum(path.stat().st_size for path in list(folder.iterdir()) if path.suffix == ".piece") + sum(
            _size(path) for path in folder.glob("*.part")
        )


def _size(path):
    with suppress(FileNotFoundError):  # a claim that found nothing to do
        return path.stat().st_size
    return 0


def _complete(tmp_path):
    return {path for path in (tmp_path / "cache").iterdir() if path.suffix == ".piece"}


def test_two_processes_that_share_a_folder_fetch_each_piece_once(run, tmp_path):
    with run(chunk_s=0.002, passes=2) as one, run(chunk_s=0.002, passes=2) as other:
        _go(one, other)
        _end(one), _end(other)
    copies = Counter((start, stop) for what, start, stop, _ in _log(tmp_path) if what == "copy")
    assert copies == {(8000 * n, 8000 * n + 8000): 1 for n in range(8)}


def test_a_run_killed_in_a_download_goes_on_from_the_last_byte_when_started_again(run, tmp_path):
    with run(chunk_s=0.05) as killed:
        _go(killed)
        parts = tmp_path / "cache"
        _until(lambda: any(path.stat().st_size >= 3000 for path in parts.glob("*.part")))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    (part,) = parts.glob("*.part")
    arrived = part.stat().st_size
    assert 3000 <= arrived < 8000
    assert _complete(tmp_path) == set()
    with run() as again:
        _go(again)
        _end(again)
    copies = [(start, stop) for what, start, stop, _ in _log(tmp_path) if what == "copy"]
    assert copies[:2] == [(0, 8000), (arrived, 8000)]
    assert len(copies) == 9
    assert {path.stat().st_size for path in _complete(tmp_path)} == {8000}
    assert not list(parts.glob("*.part"))


def test_who_waits_for_a_killed_process_takes_over_from_its_last_byte(run, tmp_path):
    with run(chunk_s=0.05) as killed, run() as waiting:
        _go(killed)
        parts = tmp_path / "cache"
        _until(lambda: any(path.stat().st_size >= 2000 for path in parts.glob("*.part")))
        _go(waiting)
        _until(lambda: any(path.stat().st_size >= 4000 for path in parts.glob("*.part")))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        _end(waiting)
    copies = [(start, stop) for what, start, stop, _ in _log(tmp_path) if what == "copy"]
    assert copies[0] == (0, 8000)
    assert 4000 <= copies[1][0] < 8000
    assert len(copies) == 9


def test_two_processes_with_room_for_two_pieces_both_get_every_byte(run, tmp_path):
    with run(capacity=16_000, passes=3) as one, run(capacity=16_000, passes=3) as other:
        _go(one, other)
        while one.poll() is None or other.poll() is None:
            assert _bytes_on_disk(tmp_path / "cache") <= 16_000
        evicted = [int(re.search(r"'cache_evicted': (\d+)", _end(child))[1]) for child in (one, other)]
    assert sum(evicted) >= 8


def test_a_process_whose_disk_takes_no_file_that_large_reads_from_the_store(run, tmp_path):
    with run(limit=4096) as child:
        _go(child)
        end = _end(child)
    assert "'cache_bypassed': 8" in end
    assert os.strerror(27) in end
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mermed-cache"]
