"""Shards: plain deterministic USTAR, cut by size, complete before they have a name."""

import tarfile

import pytest

from mermed.contract import EncodedSample, SampleMeta
from mermed.pack.collection.writer import ShardWriter


def sample(number, size=3000):
    meta = SampleMeta(
        key=f"set-{number:04d}",
        modality="us",
        dataset="set",
        split="train",
        group="g",
        width=4,
        height=4,
        source_bits=8,
    )
    return EncodedSample(meta, bytes([number % 256]) * size, "jpg")


@pytest.fixture
def writer(tmp_path):
    return ShardWriter(folder=tmp_path, modality="us", dataset="set", split="train", shard_bytes=2**20)


def test_members_say_nothing_of_who_packed_where_or_when(writer, tmp_path):
    for number in range(3):
        writer.add(sample(number))
    writer.close()
    with tarfile.open(tmp_path / writer.rows[0].name) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == [f"set-{n:04d}.{e}" for n in range(3) for e in ("jpg", "json")]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    assert {len(m.pax_headers) for m in members} == {0}


def test_shards_are_cut_at_their_size_and_numbered_on(tmp_path):
    writer = ShardWriter(
        folder=tmp_path, modality="us", dataset="set", split="train", shard_bytes=20_000, next_number=4
    )
    for number in range(12):
        writer.add(sample(number))
    writer.close()
    assert [row.name for row in writer.rows] == [f"us/train/us-train-{n:06d}.tar" for n in (4, 5, 6)]
    assert sum(row.samples for row in writer.rows) == 12
    assert max(row.samples for row in writer.rows) == 4


def test_a_sample_larger_than_a_shard_has_one_of_its_own(tmp_path):
    writer = ShardWriter(folder=tmp_path, modality="us", dataset="set", split="train", shard_bytes=5000)
    for number, size in enumerate((100, 90_000, 100)):
        writer.add(sample(number, size))
    writer.close()
    assert [row.samples for row in writer.rows] == [1, 1, 1]


def test_an_open_shard_has_no_name_yet(writer, tmp_path):
    writer.add(sample(0))
    assert not list(tmp_path.rglob("us-train*"))
    writer.close()
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["us-train-000000.idx", "us-train-000000.tar"]


def test_a_row_states_what_lies_on_the_disk(writer, tmp_path):
    import hashlib

    writer.add(sample(0))
    writer.close()
    (row,) = writer.rows
    content = (tmp_path / row.name).read_bytes()
    assert (row.bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert row.index_sha256 == hashlib.sha256((tmp_path / row.index_name).read_bytes()).hexdigest()


def test_a_disk_that_returns_other_bytes_is_noticed_before_the_rename(writer, tmp_path, monkeypatch):
    from mermed.errors import IntegrityError
    from mermed.pack.collection.shard_file import ShardFile

    writer.add(sample(0))
    honest = ShardFile.read_at
    monkeypatch.setattr(ShardFile, "read_at", lambda self, o, n: honest(self, o, n).replace(b"\0\0\0", b"\0\1\0", 1))
    with pytest.raises(IntegrityError):
        writer.close()
    assert not list(tmp_path.rglob("us-train*"))
