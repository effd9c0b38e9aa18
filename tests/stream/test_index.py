"""The shelf of indexes: read once for all threads, held by their bytes, kept on disk, and never trusted blindly."""

import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mermed import tar
from mermed.contract import load_manifest
from mermed.errors import EnvironmentError_, IntegrityError
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.meters.watch import Watch
from mermed.stream.store import LocalStore


class CountingStore(LocalStore):
    """A local store that counts what it is asked for and may take its time."""

    def __init__(self, folder, pause_s=0.0):
        super().__init__(folder)
        self.reads = []
        self.sizes = []
        self.pause_s = pause_s

    def read(self, name):
        self.reads.append(name)
        time.sleep(self.pause_s)
        return super().read(name)

    def size(self, name):
        if name.endswith(".tar"):
            self.sizes.append(name)
        return super().size(name)


def _rows(folder):
    return [row for row in load_manifest(folder).shards if row.samples]


def _spans(folder, row):
    return tar.parse_index((folder / row.index_name).read_text(), row.name)


def test_an_index_is_read_once_however_many_threads_ask_at_the_same_time(collection):
    store, row = CountingStore(collection, pause_s=0.05), _rows(collection)[0]
    shelf, gate = IndexShelf(store), threading.Barrier(8)

    def ask(index):
        gate.wait()
        return shelf.span(row, index % row.samples)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert found == [_spans(collection, row)[index % row.samples] for index in range(8)]
    assert store.reads == [row.index_name]


def test_threads_that_wait_for_a_failing_read_all_hear_of_it_and_the_next_one_tries_again(collection):
    class Failing(CountingStore):
        def read(self, name):
            self.reads.append(name)
            time.sleep(0.05)
            raise EnvironmentError_("the store does not answer", where={"store": "x"})

    store, row = Failing(collection), _rows(collection)[0]
    shelf, gate, errors = IndexShelf(store), threading.Barrier(4), []

    def ask():
        gate.wait()
        with pytest.raises(EnvironmentError_, match="does not answer") as caught:
            shelf.table(row)
        errors.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.reads) == 1
    assert len({id(error) for error in errors}) == 4
    assert {str(error) for error in errors} == {"the store does not answer\n  where     store x"}
    with pytest.raises(EnvironmentError_):
        shelf.table(row)
    assert len(store.reads) == 2


def test_the_shelf_holds_no_more_than_its_bytes_and_lets_the_oldest_go(collection):
    store, rows = CountingStore(collection), _rows(collection)[:6]
    sizes = [IndexShelf(store).table(row).nbytes for row in rows]
    store.reads.clear()
    shelf = IndexShelf(store, capacity_bytes=sum(sizes[:3]))
    for row in rows[:3]:
        shelf.table(row)
    shelf.table(rows[0])
    assert len(store.reads) == 3
    shelf.table(rows[3])
    shelf.table(rows[0])
    assert store.reads.count(rows[0].index_name) == 1, "used lately, so still held"
    shelf.table(rows[1])
    assert store.reads.count(rows[1].index_name) == 2, "the least lately used had to go"
    for row in rows:
        shelf.table(row)
        assert shelf.held_bytes <= sum(sizes[:3])


def test_a_table_larger_than_the_shelf_is_still_held_until_the_next(collection):
    store, rows = CountingStore(collection), _rows(collection)[:2]
    shelf = IndexShelf(store, capacity_bytes=1)
    for _ in range(3):
        shelf.span(rows[0], 0)
    assert store.reads == [rows[0].index_name]
    shelf.span(rows[1], 0)
    assert shelf.held_bytes == shelf.table(rows[1]).nbytes


def test_a_second_run_opens_every_shard_without_asking_the_store(collection, tmp_path):
    first, second, rows = CountingStore(collection), CountingStore(collection), _rows(collection)
    watch = Watch()
    written = [IndexShelf(first, folder=tmp_path / "tables").table(row) for row in rows]
    shelf = IndexShelf(second, folder=tmp_path / "tables", watch=watch)
    for row, table in zip(rows, written, strict=True):
        again = shelf.table(row)
        assert again.entries.tobytes() == table.entries.tobytes()
        assert [again.span(index) for index in range(row.samples)] == _spans(collection, row)
    assert (len(first.reads), second.reads, second.sizes) == (len(rows), [], [])
    assert watch.counts() == {"tables_loaded": len(rows)}


def test_a_table_on_disk_is_named_by_its_index_so_another_collection_never_meets_it(collection, tmp_path):
    row = _rows(collection)[0]
    IndexShelf(LocalStore(collection), folder=tmp_path / "tables").table(row)
    assert [path.name for path in (tmp_path / "tables").iterdir()] == [f"{row.index_sha256}.v2.table"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other samples"])
def test_a_damaged_table_on_disk_is_read_anew(collection, tmp_path, damage):
    rows = _rows(collection)
    row, other = rows[0], next(row for row in rows if row.samples != rows[0].samples)
    for each in (row, other):
        IndexShelf(LocalStore(collection), folder=tmp_path).table(each)
    path = tmp_path / f"{row.index_sha256}.v2.table"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: random.Random(0).randrange(len(content))])
    elif damage == "flipped":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        shutil.copy(tmp_path / f"{other.index_sha256}.v2.table", path)
    store, watch = CountingStore(collection), Watch()
    shelf = IndexShelf(store, folder=tmp_path, watch=watch)
    assert [shelf.span(row, index) for index in range(row.samples)] == _spans(collection, row)
    assert store.reads == [row.index_name]
    assert watch.counts() == {"tables_damaged": 1, "indexes_parsed": 1}
    assert IndexShelf(CountingStore(collection), folder=tmp_path).table(row).key(0) == shelf.key(row, 0)


def test_a_folder_that_cannot_be_written_costs_a_count_and_nothing_else(collection, tmp_path):
    (tmp_path / "a file").write_text("in the way")
    watch, row = Watch(), _rows(collection)[0]
    shelf = IndexShelf(LocalStore(collection), folder=tmp_path / "a file" / "tables", watch=watch)
    assert shelf.span(row, 0) == _spans(collection, row)[0]
    assert watch.counts() == {"indexes_parsed": 1, "tables_unsaved": 1}


def test_a_disk_that_is_full_leaves_no_half_table(collection, tmp_path, monkeypatch):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    watch, row = Watch(), _rows(collection)[0]
    shelf = IndexShelf(LocalStore(collection), folder=tmp_path / "tables", watch=watch)
    assert shelf.span(row, 0) == _spans(collection, row)[0]
    assert list((tmp_path / "tables").iterdir()) == []
    assert watch.counts()["tables_unsaved"] == 1


def test_drafts_of_a_killed_process_are_swept_and_those_at_work_are_not(collection, tmp_path):
    import os

    old, new = tmp_path / "a.v2.table.1.draft", tmp_path / "b.v2.table.2.draft"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    IndexShelf(LocalStore(collection), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


def test_a_folder_at_its_bound_takes_no_more_tables(collection, tmp_path):
    from mermed.stream.index.folder import TableFolder

    rows, watch = _rows(collection)[:2], Watch()
    tables = [IndexShelf(LocalStore(collection)).table(row) for row in rows]
    folder = TableFolder(tmp_path, watch=watch, capacity_bytes=tables[0].nbytes + 10)
    for row, table in zip(rows, tables, strict=True):
        folder.save(row, table)
    assert folder.load(rows[0]) is not None
    assert folder.load(rows[1]) is None
    assert watch.counts() == {"tables_unsaved": 1}


def test_a_cut_shard_is_refused_by_its_size_before_its_index_is_read(collection, tmp_path):
    shutil.copytree(collection, tmp_path / "copy")
    row = _rows(collection)[0]
    path = tmp_path / "copy" / row.name
    path.write_bytes(path.read_bytes()[:-512])
    store = CountingStore(tmp_path / "copy")
    with pytest.raises(IntegrityError, match="another size") as caught:
        IndexShelf(store, folder=tmp_path / "tables").span(row, 0)
    assert row.name in str(caught.value)
    assert store.reads == []
    assert list((tmp_path / "tables").iterdir()) == []
