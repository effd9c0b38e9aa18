"""A cache folder that is removed, full, read-only, without locks or not ours: no wrong byte, no file of others lost."""

import errno
import os
import shutil
import time

import pytest

from mermed.errors import ConfigError
from mermed.stream.cache import cache as cache_module
from mermed.stream.cache import folder as cache_folder
from mermed.stream.cache.cache import Cache
from mermed.stream.cache.folder import CacheFolder

MUCH = 10**9


def _all(cache, piece):
    return cache.read_at(piece, piece.start, piece.size)


def _stored(store, piece):
    return store.content(piece.row.name)[piece.start : piece.stop]


def test_a_folder_that_is_removed_during_the_run_is_made_again(opened, store, made_up, folder, watch):
    cache, piece = opened(), made_up.piece()
    _all(cache, piece)
    shutil.rmtree(folder)
    assert _all(cache, piece) == _stored(store, piece)
    assert _all(cache, piece) == _stored(store, piece)
    assert len(store.copies) == 2
    assert "cache_outages" not in watch.counts()


def test_a_folder_that_is_removed_during_a_download_costs_no_byte(opened, store, made_up, folder):
    cache, piece = opened(), made_up.piece()

    def remove(name, start, chunk):
        if start and len(store.copies) == 1:
            shutil.rmtree(folder, ignore_errors=True)
        return chunk

    store.spoil = remove
    assert _all(cache, piece) == _stored(store, piece)
    assert not folder.exists()
    assert _all(cache, piece) == _stored(store, piece)
    assert (folder / f"{piece.name}.piece").stat().st_size == piece.size


def test_a_part_that_another_began_in_a_removed_folder_is_never_taken_for_ours(opened, store, made_up, folder):
    cache, piece = opened(), made_up.piece()

    def replace(name, start, chunk):
        if start and len(store.copies) == 1:
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / f"{piece.name}.part").write_bytes(b"begun")
        return chunk

    store.spoil = replace
    assert _all(cache, piece) == _stored(store, piece)
    assert [path.read_bytes() for path in folder.glob("*.p*")] == [b"begun"]


def _fail_writes(monkeypatch, number, times):
    """Let the first `times` writes of content fail as a full disk lets them."""
    real, failed = os.pwrite, []

    def pwrite(descriptor, content, offset):
        if len(content) > 100 and len(failed) < times:
            failed.append(number)
            raise OSError(number, os.strerror(number))
        return real(descriptor, content, offset)

    monkeypatch.setattr(cache_folder.os, "pwrite", pwrite)
    return failed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_others_filled_gets_room_from_the_cache(opened, store, made_up, folder, watch, monkeypatch, number):
    cache = opened()
    for block in range(3):
        _all(cache, made_up.piece(block))
    failed = _fail_writes(monkeypatch, number, times=1)
    piece = made_up.piece(3)
    assert _all(cache, piece) == _stored(store, piece)
    assert failed
    assert watch.counts()["cache_evicted"] == 2
    assert (folder / f"{piece.name}.piece").exists()
    assert watch.reasons() == []


def test_a_full_disk_is_bypassed_aloud_and_tried_again(opened, store, made_up, folder, watch, monkeypatch):
    cache, kept = opened(), made_up.piece(0)
    _all(cache, kept)
    monkeypatch.setattr(CacheFolder, "shrink", lambda self, size, foreseen: 0)
    failed = _fail_writes(monkeypatch, errno.ENOSPC, times=10**6)
    for block in (1, 2, 1):
        assert _all(cache, made_up.piece(block)) == _stored(store, made_up.piece(block))
    assert len(failed) == 2
    assert watch.counts()["cache_bypassed"] == 3
    assert watch.counts()["cache_outages"] == 1
    ((reason, _),) = watch.reasons()
    assert "cache folder" in reason
    assert os.strerror(errno.ENOSPC) in reason
    assert _all(cache, kept) == _stored(store, kept)
    assert sorted(path.name for path in folder.iterdir()) == sorted([cache_folder.MARK, f"{kept.name}.piece"])
    failed.extend([0] * 10**6)
    monkeypatch.setattr(cache_module.time, "monotonic", lambda real=time.monotonic: real() + cache_module.PAUSE_S)
    assert _all(cache, made_up.piece(1)) == _stored(store, made_up.piece(1))
    assert (folder / f"{made_up.piece(1).name}.piece").exists()
    assert watch.reasons() == []


def test_a_folder_that_cannot_be_written_still_gives_what_it_has(opened, store, made_up, watch, monkeypatch):
    cache = opened()
    _all(cache, made_up.piece(0))
    real = os.open

    def read_only(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(cache_folder.os, "open", read_only)
    cache = opened()
    for block in (0, 1):
        assert _all(cache, made_up.piece(block)) == _stored(store, made_up.piece(block))
    assert watch.counts()["cache_hits"] == 1
    assert watch.counts()["cache_bypassed"] == 1
    assert os.strerror(errno.EROFS) in watch.reasons()[0][0]


def test_a_folder_of_other_files_is_refused(opened, folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a cache's") as raised:
        opened()
    assert raised.value.next_step == "name a folder of its own: --set stream.cache_dir=FOLDER"


def test_a_folder_whose_disk_knows_no_locks_is_bypassed(opened, store, made_up, watch, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(cache_folder, "flock", no_locks)
    cache, piece = opened(), made_up.piece()
    assert _all(cache, piece) == _stored(store, piece)
    assert watch.counts()["cache_bypassed"] == 1
    assert os.strerror(errno.ENOLCK) in watch.reasons()[0][0]


@pytest.mark.parametrize("place", ["/proc/no-such-place/cache", "file/cache", "file"])
def test_a_folder_that_can_be_neither_made_nor_read_is_refused(store, watch, tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="neither made nor read") as raised:
        Cache(tmp_path / place, MUCH, store, watch)
    assert raised.value.found in (os.strerror(errno.ENOENT), os.strerror(errno.ENOTDIR), os.strerror(errno.EEXIST))


def test_only_files_of_its_own_naming_are_ever_deleted(opened, store, made_up, folder):
    cache = opened(8000)
    others = ["shard.tar", "x.piece", f"{'a' * 64}.tar", f"{'A' * 64}.index"]
    for name in others:
        (folder / name).write_bytes(bytes(9000))
    for block in range(8):
        _all(cache, made_up.piece(block))
    assert {name for name in others if (folder / name).stat().st_size == 9000} == set(others)
