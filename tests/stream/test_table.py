"""The table of a shard: the same answers as the strict parser, a fifth of its time, and no looser in what it takes."""

import hashlib
import random
from dataclasses import replace

import numpy as np
import pytest

from mermed import tar
from mermed.contract import ShardRow, load_manifest
from mermed.errors import ContractError, IntegrityError
from mermed.stream.index.table import parse_table

BLOCK = tar.BLOCK_BYTES


def spans_of(keys, rng, extensions=("jpg", "png")):
    """Spans of made-up sizes, lying in a shard as the contract says."""
    spans, at = [], 0
    for key in keys:
        image = tar.Member(rng.choice(extensions), at + BLOCK, rng.randint(1, 5000))
        meta = tar.Member("json", image.end + BLOCK, rng.randint(1, 900))
        spans.append(tar.Span(key, image, meta))
        at = meta.end
    return spans


def row_of(text, spans, **changes):
    size = (spans[-1].meta.end if spans else 0) + 2 * BLOCK
    row = ShardRow(
        name="us/train/us-train-000000.tar",
        modality="us",
        dataset="d",
        split="train",
        samples=len(spans),
        bytes=size,
        sha256="0" * 64,
        index_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    return replace(row, **changes)


def _indexed(count=5, seed=0):
    rng = random.Random(seed)
    spans = spans_of([f"a-{number:03d}" for number in range(count)], rng)
    return spans, tar.format_index(spans)


def test_a_table_says_of_every_packed_shard_what_the_strict_parser_says(collection):
    rows = load_manifest(collection).shards
    assert rows
    for row in rows:
        content = (collection / row.index_name).read_bytes()
        table, spans = parse_table(content, row), tar.check_index(content.decode(), row)
        assert [table.span(index) for index in range(len(table))] == spans
        assert [table.key(index) for index in range(len(table))] == [span.key for span in spans]
        assert table.extent(range(len(spans))) == (0, spans[-1].meta.end)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_keys_of_any_length_and_any_number_of_samples_fit(count):
    rng = random.Random(count)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    keys = {rng.choice(letters) + "".join(rng.choices(letters + "_-", k=rng.randint(0, 63))) for _ in range(count)}
    spans = spans_of(sorted(keys), rng)
    text = tar.format_index(spans)
    table = parse_table(text.encode(), row_of(text, spans))
    assert [table.span(index) for index in range(len(table))] == spans
    assert len(table) == len(keys)


def test_a_table_takes_less_than_a_hundred_bytes_a_sample():
    rng = random.Random(0)
    spans = spans_of([f"chestxray-nih-{number:020x}" for number in range(2000)], rng)
    text = tar.format_index(spans)
    assert parse_table(text.encode(), row_of(text, spans)).nbytes == 2000 * (8 + 4 + 4 + 1 + 34)


def test_offsets_beyond_four_gibibytes_are_kept():
    image = tar.Member("jpg", 512, 200 * 2**20)
    spans, at = [], 0
    for number in range(30):
        image = tar.Member("jpg", at + BLOCK, 200 * 2**20)
        meta = tar.Member("json", image.end + BLOCK, 400)
        spans.append(tar.Span(f"k{number:02d}", image, meta))
        at = meta.end
    text = tar.format_index(spans)
    table = parse_table(text.encode(), row_of(text, spans))
    assert table.span(29) == spans[29]
    assert table.extent(range(28, 30)) == (spans[28].image.offset - BLOCK, spans[29].meta.end)
    assert table.span(29).image.offset > 2**32


def test_a_stale_index_is_refused():
    spans, text = _indexed()
    with pytest.raises(IntegrityError, match="stale") as caught:
        parse_table(text.encode() + b"\n", row_of(text, spans))
    assert "mermed-shard index DATA" in str(caught.value)


DAMAGE = {
    "another version": lambda text: text.replace("v1.2", "v1.1"),
    "a count that is wrong": lambda text: text.replace("v1.2 5", "v1.2 6"),
    "a line that is missing": lambda text: "".join(text.splitlines(True)[:-1]),
    "a last line that is cut": lambda text: text[:-9],
    "no end of the last line": lambda text: text[:-1],
    "nothing at all": lambda text: "",
    "an extension of another kind": lambda text: text.replace("json", "pyd_"),
    "a pickle": lambda text: text.replace("jpg", "pkl").replace("png", "pkl"),
    "a key with a dot": lambda text: text.replace("a-003", "a.003"),
    "an upper-case key": lambda text: text.replace("a-003", "A-003"),
    "a key of 65 characters": lambda text: text.replace("a-003", "a" * 65),
    "two names in one sample": lambda text: text.replace("a-003.json", "a-004.json"),
    "a member twice": lambda text: text.replace(" json ", " jpg ", 1),
    "an extra word": lambda text: text.replace("\n", " x\n", 2),
    "a sign": lambda text: text.replace(" 512 ", " +512 ", 1),
    "a number of 400 digits": lambda text: text.replace(" 512 ", f" {'9' * 400} ", 1),
    "a letter of another script": lambda text: text.replace("a-003", "а-003"),
    "a digit of another script": lambda text: text.replace(" 512 ", " ٥12 ", 1),
    "a blank line": lambda text: text.replace("\n", "\n\n", 2),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_index_is_refused_although_its_digest_is_right(name):
    spans, text = _indexed()
    damaged = DAMAGE[name](text)
    assert damaged != text
    with pytest.raises(IntegrityError, match=r"damaged|points outside"):
        parse_table(damaged.encode(), row_of(damaged, spans))


def _moved(spans, number, **changes):
    changed = spans[number]
    for member, shift in changes.items():
        old = getattr(changed, member)
        changed = changed._replace(**{member: old._replace(offset=old.offset + shift)})
    return [*spans[:number], changed, *spans[number + 1 :]]


@pytest.mark.parametrize(
    "change",
    [
        lambda spans: _moved(spans, 0, image=512),
        lambda spans: _moved(spans, 2, image=512),
        lambda spans: _moved(spans, 2, meta=1),
        lambda spans: _moved(spans, 4, meta=-512),
        lambda spans: _moved(spans, 3, image=-512, meta=-512),
        lambda spans: [*spans[:2], spans[3], spans[2], spans[4]],
    ],
)
def test_an_index_whose_samples_do_not_lie_next_to_each_other_is_refused(change):
    spans, _ = _indexed()
    text = tar.format_index(change(spans))
    with pytest.raises(IntegrityError, match="points outside its shard, or between its blocks"):
        parse_table(text.encode(), row_of(text, spans))


def test_an_index_that_points_behind_the_end_of_its_shard_is_refused():
    spans, text = _indexed()
    row = row_of(text, spans)
    parse_table(text.encode(), row)
    for size in (row.bytes - 1, spans[3].meta.end, 0):
        with pytest.raises(IntegrityError, match="points outside its shard"):
            parse_table(text.encode(), replace(row, bytes=size))


def test_an_index_of_more_or_fewer_samples_than_the_manifest_says_is_refused():
    spans, text = _indexed()
    for samples in (4, 6):
        with pytest.raises(IntegrityError, match="counts other samples"):
            parse_table(text.encode(), row_of(text, spans, samples=samples))


def test_a_key_that_occurs_twice_is_refused_wherever_it_stands():
    rng = random.Random(0)
    for keys in (["a", "a", "b"], ["a", "b", "a"]):
        spans = spans_of(keys, rng)
        text = tar.format_index(spans)
        with pytest.raises(ContractError, match="keys occur twice"):
            parse_table(text.encode(), row_of(text, spans))
    unsorted = spans_of(["c", "a", "b"], rng)
    text = tar.format_index(unsorted)
    assert [parse_table(text.encode(), row_of(text, unsorted)).key(index) for index in range(3)] == ["c", "a", "b"]


def test_whatever_byte_is_changed_the_table_is_never_looser_than_the_strict_parser():
    """Bytes of an index are changed at random: what the table takes, `tar.parse_index` takes and reads alike."""
    spans, text = _indexed(count=4)
    rng = np.random.default_rng(7)
    taken = 0
    for _ in range(2000):
        changed = bytearray(text.encode())
        changed[rng.integers(len(changed))] = rng.choice(np.frombuffer(b"019 .\na-jsongpv\x00\r\x0b\x85", np.uint8))
        damaged = changed.decode("latin-1")
        row = replace(row_of(text, spans), index_sha256=hashlib.sha256(bytes(changed)).hexdigest())
        try:
            table = parse_table(bytes(changed), row)
        except (IntegrityError, ContractError):
            continue
        taken += 1
        assert [table.span(index) for index in range(4)] == tar.parse_index(damaged, row.name)
    assert taken > 0
