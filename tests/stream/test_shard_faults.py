"""Damaged, foreign and hostile shards: whatever is wrong is an error with a name, never bytes of another place."""

import gzip
import hashlib
import io
import os
import random
import tarfile
from dataclasses import replace

import pytest

from mermed import tar
from mermed.config import StreamConfig
from mermed.contract import MANIFEST_NAME, load_manifest
from mermed.errors import ContractError, IntegrityError
from mermed.mix_config import MixConfig
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.order.plan import Plan, Reference
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore

BLOCK = tar.BLOCK_BYTES
SAMPLES = 8


@pytest.fixture
def shard(tiny_world):
    """A collection of one shard: its folder, its row, its bytes, its spans."""
    folder = tiny_world({"us/busi": [SAMPLES]})
    (row,) = load_manifest(folder).shards
    content = (folder / row.name).read_bytes()
    return folder, row, content, tar.check_index((folder / row.index_name).read_text(), row)


def _put(folder, row, content, *, index=None):
    """Write the bytes of a shard as if they had been packed so: a row of their size, and its index with its digest."""
    (folder / row.name).write_bytes(content)
    row = replace(row, bytes=len(content))
    if index is not None:
        (folder / row.index_name).write_bytes(index)
        row = replace(row, index_sha256=hashlib.sha256(index).hexdigest())
    return row


def _read(folder, row, index):
    return SampleReader(LocalStore(folder)).read(Reference(index, 0, row, index, range(row.samples)))


def _outcomes(folder, row):
    """For each sample its key, or the kind of error, which must name the shard."""
    found = []
    for index in range(row.samples):
        try:
            found.append(_read(folder, row, index).meta.key)
        except (IntegrityError, ContractError) as error:
            assert row.name in str(error)
            found.append(type(error).__name__)
    return found


def test_a_shard_cut_anywhere_is_refused_whole_by_its_size(shard):
    folder, row, content, spans = shard
    at = spans[3].image.offset
    cuts = [spans[3].meta.end, at - 100, at + 40, len(content) - BLOCK, len(content) - 1, 0]
    cuts += random.Random(0).sample(range(len(content)), 10)
    for cut in cuts:
        (folder / row.name).write_bytes(content[:cut])
        with pytest.raises(IntegrityError, match="another size") as caught:
            _read(folder, row, 0)
        assert f"{len(content)} bytes" in str(caught.value)
        assert f"{cut} bytes" in str(caught.value)


def test_a_shard_that_is_cut_once_it_is_open_fails_sample_by_sample_from_the_cut_on(shard):
    folder, row, content, spans = shard
    reader = SampleReader(LocalStore(folder))
    reader.read(Reference(0, 0, row, 0, range(row.samples)))
    for cut in random.Random(1).sample(range(len(content)), 40):
        (folder / row.name).write_bytes(content[:cut])
        for index, span in enumerate(spans):
            reference = Reference(index, 0, row, index, range(row.samples))
            if span.meta.offset + span.meta.size <= cut:
                assert reader.read(reference).meta.key == span.key
            else:
                with pytest.raises(IntegrityError, match=span.key):
                    reader.read(reference)


def test_a_shard_whose_tail_was_lost_and_filled_with_zeros_is_noticed(shard):
    folder, row, content, spans = shard
    cut = spans[5].image.offset + 10
    (folder / row.name).write_bytes(content[:cut] + bytes(len(content) - cut))
    assert _outcomes(folder, row) == [span.key for span in spans[:5]] + ["IntegrityError"] * 3


def test_bits_flipped_in_contents_are_noticed_and_in_headers_or_padding_harmless_to_a_reader(shard):
    folder, row, content, spans = shard
    rng = random.Random(2)
    for _ in range(60):
        number = rng.randrange(SAMPLES)
        span = spans[number]
        member = rng.choice([span.image, span.meta])
        where = rng.choice(["header", "content", "padding"])
        begin, end = {
            "header": (member.offset - BLOCK, member.offset - BLOCK + 265),
            "content": (member.offset, member.offset + member.size),
            "padding": (member.offset + member.size, member.end),
        }[where]
        if begin == end:
            continue
        changed = bytearray(content)
        changed[rng.randrange(begin, end)] ^= 1 << rng.randrange(8)
        (folder / row.name).write_bytes(changed)
        found, keys = _outcomes(folder, row), [each.key for each in spans]
        if where == "content":
            assert found[number] in ("IntegrityError", "ContractError")
            assert found[:number] + found[number + 1 :] == keys[:number] + keys[number + 1 :]
        else:
            assert found == keys
        if where != "padding":
            with pytest.raises((IntegrityError, ContractError)):
                list(tar.check_shard(folder / row.name, row))


def test_two_tars_in_one_file_a_compressed_one_and_trailing_garbage_are_refused(shard):
    folder, row, content, _ = shard
    for other in (content + content, content + b"garbage" * 100, gzip.compress(content)):
        (folder / row.name).write_bytes(other)
        with pytest.raises(IntegrityError, match="another size"):
            _read(folder, row, 0)
    packed = gzip.compress(content)
    (folder / row.name).write_bytes(packed + bytes(len(content) - len(packed)))
    assert _outcomes(folder, row) == ["IntegrityError"] * SAMPLES


def test_the_shard_of_another_collection_under_the_same_name_and_size_is_noticed(shard, tiny_world):
    folder, row, content, _ = shard
    other = tiny_world({"us/clinic": [SAMPLES]}, name="other")
    (foreign,) = load_manifest(other).shards
    replaced = (other / foreign.name).read_bytes()[: len(content)]
    (folder / row.name).write_bytes(replaced + bytes(len(content) - len(replaced)))
    assert _outcomes(folder, row) == ["IntegrityError"] * SAMPLES


def test_a_shard_whose_samples_changed_places_is_noticed_although_every_one_is_whole(shard):
    folder, row, content, spans = shard
    sizes = {span.key: span.meta.end - span.image.offset + BLOCK for span in spans}
    one, two = next((a, b) for a in spans for b in spans if a.key < b.key and sizes[a.key] == sizes[b.key])
    changed = bytearray(content)
    for here, there in ((one, two), (two, one)):
        begin = there.image.offset - BLOCK
        changed[here.image.offset - BLOCK : here.meta.end] = content[begin : begin + sizes[here.key]]
    (folder / row.name).write_bytes(changed)
    found = _outcomes(folder, row)
    for index, span in enumerate(spans):
        assert found[index] == ("IntegrityError" if span in (one, two) else span.key)


HOSTILE = {
    "a symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "a hard link": {"type": tarfile.LNKTYPE, "linkname": "other"},
    "a device": {"type": tarfile.CHRTYPE},
    "a pipe": {"type": tarfile.FIFOTYPE},
    "a folder": {"type": tarfile.DIRTYPE},
    "a sparse file": {"type": tarfile.GNUTYPE_SPARSE},
    "a pickle": {"name": "k-000.pkl"},
    "a module": {"name": "k-000.pyd"},
    "a path out of the archive": {"name": "../k-000.jpg"},
    "an absolute path": {"name": "/k-000.jpg"},
    "a dotted key": {"name": "1.2.840.113619.jpg"},
    "an upper-case extension": {"name": "k-000.JPG"},
    "a terabyte": {"size": 2**40 - 1},
    "a name in two parts": {"name": f"{'d' * 60}/{'k' * 60}.jpg"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_never_followed_and_refused_by_a_check(name, shard):
    """The index vouches for a plain image; the header in the shard says otherwise."""
    folder, row, content, spans = shard
    span = spans[2]
    info = tarfile.TarInfo(f"{span.key}.jpg")
    info.size = span.image.size
    for field, value in HOSTILE[name].items():
        setattr(info, field, value)
    header = info.tobuf(tarfile.USTAR_FORMAT if name != "a terabyte" else tarfile.GNU_FORMAT)
    changed = bytearray(content)
    changed[span.image.offset - BLOCK : span.image.offset] = header[:BLOCK]
    (folder / row.name).write_bytes(changed)
    before = sorted(folder.rglob("*"))
    assert _outcomes(folder, row) == [each.key for each in spans], "what is read is what was sealed"
    with pytest.raises((IntegrityError, ContractError)):
        list(tar.check_shard(folder / row.name, row))
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["PAX", "GNU"])
def test_shards_with_extended_headers_are_refused_however_large_these_are(tmp_path, shard, form):
    folder, row, _, _ = shard
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for key in ("a" * 200, "b"):
            for suffix in ("jpg", "json"):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = 20
                info.pax_headers = {"comment": "x" * 200_000} if form == tarfile.PAX_FORMAT else {}
                archive.addfile(info, io.BytesIO(bytes(20)))
    content = buffer.getvalue()
    with pytest.raises(ContractError, match="not a plain USTAR file"):
        tar.scan(lambda at, size: content[at : at + size], len(content), row.name)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        image, meta = (archive.getmember(name).offset_data for name in ("b.jpg", "b.json"))
    index = f"v1.2 1\njpg {image} 20 b.jpg json {meta} 20 b.json\n".encode()
    claimed = _put(folder, replace(row, samples=1), content, index=index)
    with pytest.raises(IntegrityError, match="points outside its shard, or between its blocks"):
        _read(folder, claimed, 0)


def test_millions_of_empty_members_cost_an_index_of_the_claimed_number_and_no_more(shard):
    """What an index may hold is bound to the manifest: the lines behind the claimed ones are never kept."""
    folder, row, content, _ = shard
    lines, at = [], 0
    for number in range(20_000):
        lines.append(f"jpg {at + BLOCK} 0 k{number}.jpg json {at + 2 * BLOCK} 0 k{number}.json\n")
        at += 2 * BLOCK
    index = "".join([f"v1.2 {len(lines)}\n", *lines]).encode()
    claimed = _put(folder, row, content, index=index)
    with pytest.raises(IntegrityError, match="points outside its shard"):
        _read(folder, claimed, 0)


@pytest.mark.parametrize("name", ["../outside.tar", "/etc/passwd", "us/../../outside.tar"])
def test_a_manifest_that_names_a_shard_outside_its_folder_is_refused(name, shard):
    with pytest.raises(ContractError, match="outside its collection"):
        replace(shard[1], name=name)


@pytest.mark.parametrize(
    "name",
    [
        "pipe:touch canary",
        "$(touch canary).tar",
        "`touch canary`.tar",
        "us-{000000..999999999}.tar",
        "x.tar; touch canary",
    ],
)
def test_a_shard_name_is_a_file_name_and_never_a_command_nor_a_pattern(shard, name, monkeypatch):
    folder, row, _, _ = shard
    monkeypatch.chdir(folder)
    before = sorted(os.listdir(folder))
    named = replace(row, name=name)
    with pytest.raises((IntegrityError, ContractError), match=r"cannot be opened|leaves its collection"):
        _read(folder, named, 0)
    assert sorted(os.listdir(folder)) == before


def test_a_manifest_field_that_is_unknown_or_missing_is_refused(shard):
    folder, _, _, _ = shard
    text = (folder / MANIFEST_NAME).read_text()
    for old, new in (('"samples"', '"sample_count"'), ('"index_sha256"', '"extra"')):
        (folder / MANIFEST_NAME).write_text(text.replace(old, new))
        with pytest.raises(ContractError, match="unknown or missing fields"):
            load_manifest(folder)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(ContractError, match="no packed collection here"):
        load_manifest(folder)


def test_a_manifest_of_another_sample_count_is_refused_by_the_index(shard):
    folder, row, _, _ = shard
    for samples in (SAMPLES - 1, SAMPLES + 1):
        with pytest.raises(IntegrityError, match="counts other samples"):
            _read(folder, replace(row, samples=samples), 0)


def test_an_index_of_another_shard_is_refused(tiny_world):
    folder = tiny_world({"us/busi": [4, 4]})
    one, two = load_manifest(folder).shards
    (folder / one.index_name).write_bytes((folder / two.index_name).read_bytes())
    with pytest.raises(IntegrityError, match="stale"):
        _read(folder, one, 0)
    assert _read(folder, two, 0).meta.key == "busi-1-000"


def test_a_lost_index_is_named_with_what_rebuilds_or_finds_it(shard):
    folder, row, _, _ = shard
    (folder / row.index_name).unlink()
    with pytest.raises(IntegrityError, match="cannot be opened") as caught:
        _read(folder, row, 0)
    assert row.index_name in str(caught.value)


def test_one_tar_that_is_rewritten_leaves_its_index_stale(shard):
    """A shard packed again under the same name: the manifest of before does not fit, whichever file is the newer."""
    folder, row, content, spans = shard
    smaller = content[spans[1].image.offset - BLOCK :]
    new_spans = tar.scan(lambda at, size: smaller[at : at + size], len(smaller), row.name)
    (folder / row.name).write_bytes(smaller + bytes(len(content) - len(smaller)))
    assert _outcomes(folder, row) == ["IntegrityError"] * SAMPLES
    (folder / row.index_name).write_text(tar.format_index(new_spans))
    with pytest.raises(IntegrityError, match="stale"):
        _read(folder, row, 0)


def test_empty_shards_single_samples_and_fewer_shards_than_threads_work(tiny_world):
    folder = tiny_world({"us/busi": [0, 1, 0], "oct/few": [2]})
    plan = Plan(load_manifest(folder), MixConfig(), StreamConfig(), 0)
    with Loader(plan, SampleReader(LocalStore(folder)).read, rank_shares(0, 4, range(4), 5), num_threads=8) as loader:
        keys = [meta.key for batch in loader for meta in batch.meta]
    assert len(keys) == 20
    assert set(keys) == {"busi-1-000", "few-0-000", "few-0-001"}
    empty = next(row for row in load_manifest(folder).shards if not row.samples)
    assert len(IndexShelf(LocalStore(folder)).table(empty)) == 0
