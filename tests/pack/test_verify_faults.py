"""The fault catalogue of shards and indices: every kind of damage is named, nothing is opened, nothing is shortened.

Each test says which entry (C1 to C11) it holds. Readers of damaged shards are in tests/stream.
"""

import gzip
import hashlib
import io
import shutil
import tarfile
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from mermed.contract import MAX_MEMBER_BYTES, Manifest, ShardRow, load_manifest
from mermed.errors import ConfigError, ContractError, IntegrityError
from mermed.pack.checks.repair import repair, repair_manifest
from mermed.pack.checks.verify import verify
from mermed.pack.checks.verify_quick import verify_quick
from mermed.tar import check_index, scan


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 27), dtype=np.uint8)


@pytest.fixture
def made(write_collection, tmp_path):
    """A collection of one training shard with six samples, and one test shard with a single sample."""
    samples = [{"key": f"k{n}", "pixels": noise(n), "label": "ab"[n % 2]} for n in range(6)]
    return write_collection(tmp_path / "made", [*samples, {"key": "t", "pixels": noise(9), "split": "test"}])


@pytest.fixture
def row(made):
    return next(row for row in load_manifest(made).shards if row.split == "train")


def change_bytes(folder, row, change):
    path = folder / row.name
    path.write_bytes(change(path.read_bytes()))


def accept(folder, row):
    """Make size and sha256 of the row those of the shard as it is now: a foreign packer would have written them so."""
    content = (folder / row.name).read_bytes()
    fresh = replace(row, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest = load_manifest(folder)
    rows = tuple(fresh if other.name == row.name else other for other in manifest.shards)
    (folder / "manifest.json").write_bytes(replace(manifest, shards=rows).encode())


def whats(folder):
    return [problem.what for problem in verify(folder).problems]


def members_of(path):
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


def write_members(path, members, form=tarfile.USTAR_FORMAT, **pax):
    with tarfile.open(path, "w", format=form, **pax) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("kept", "count"), [(lambda c: c[: -(len(c) % 10240 or 10240)], 0), (lambda c: c[:0], 0)], ids=["no end", "nothing"]
)
def test_c1_a_shard_without_its_end_is_reported_even_when_its_row_agrees(kept, count, made, row):
    change_bytes(made, row, kept)
    accept(made, row)
    assert any("cut" in what or "end of the shard" in what or "damaged" in what for what in whats(made))


def test_c1_a_cut_at_a_member_boundary_tells_expected_and_found_counts(made, row):
    spans = check_index((made / row.index_name).read_text(), row)
    change_bytes(made, row, lambda c: c[: spans[-2].image.offset - 512] + bytes(1024))
    accept(made, row)
    assert any("another number of samples (expected 6, found 4)" in what for what in whats(made))


def test_c2_a_bit_in_the_padding_changes_no_sample_but_is_reported(made, row):
    spans = check_index((made / row.index_name).read_text(), row)
    place = spans[0].image.offset + spans[0].image.size
    assert place % 512, "the test needs padding behind the first image"
    change_bytes(made, row, lambda c: c[:place] + b"\1" + c[place + 1 :])
    assert whats(made) == ["the shard's sha256 is not that of its row"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c + b"trailing garbage", "end of the shard is damaged"),
        (lambda c: c + c, "end of the shard is damaged"),
        (gzip.compress, "a tar header is damaged"),
        (lambda c: b"\x28\xb5\x2f\xfd" + c, "a tar header is damaged"),
    ],
    ids=["garbage", "two tars", "gzip", "zstd"],
)
def test_c3_what_is_no_single_plain_tar_is_reported_even_when_its_row_agrees(change, message, made, row):
    change_bytes(made, row, change)
    accept(made, row)
    assert any(message in what for what in whats(made))


@pytest.mark.parametrize(
    "change",
    [
        lambda text, other: other,
        lambda text, other: text.replace("v1.2", "v1.1", 1),
        lambda text, other: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text, other: text[:-9],
        lambda text, other: "",
    ],
    ids=["foreign", "other version", "a line less", "cut", "empty"],
)
def test_c4_a_wrong_index_is_detected_quickly_and_rebuilt(change, made, row):
    index = made / row.index_name
    packed = index.read_text()
    other = next(r for r in load_manifest(made).shards if r.split == "test")
    index.write_text(change(packed, (made / other.index_name).read_text()))
    (problem,) = verify_quick(made).problems
    assert problem.shard == row.name and "mermed-shard index" in problem.what
    assert repair(made).indices == 1
    assert index.read_text() == packed
    assert verify(made).problems == () == verify_quick(made).problems


def test_c5_a_missing_manifest_is_made_again_from_the_shards(made):
    before = load_manifest(made)
    (made / "manifest.json").unlink()
    for row in before.shards:
        (made / row.index_name).unlink()
    with pytest.raises(ContractError, match="no packed collection"):
        verify(made)
    after = repair_manifest(made)
    assert (after.shards, after.labels, after.stats, after.totals) == (
        before.shards,
        before.labels,
        before.stats,
        before.totals,
    )
    assert verify(made).problems == ()


def test_c5_a_manifest_made_again_counts_what_the_lists_account_for(made):
    (made / "manifest.json").unlink()
    (made / "quarantine.csv").write_text("file,reason,detail,images\na,empty,,1\nb,corrupt,,12\n")
    (made / "duplicates.csv").write_text("file,reason,detail\nc,same_pixels,\n")
    totals = repair_manifest(made).totals
    assert totals == {"inputs": 21, "packed": 7, "duplicates": 1, "excluded": 0, "quarantined": 13}


def test_c5_a_manifest_is_never_made_over_one_or_over_an_unfinished_pack(made):
    with pytest.raises(ConfigError, match="the manifest is there"):
        repair_manifest(made)
    (made / "manifest.json").unlink()
    (made / ".packing").touch()
    with pytest.raises(ConfigError, match="unfinished pack"):
        repair_manifest(made)


def test_c5_a_manifest_is_never_made_from_damaged_or_misplaced_shards(made, row):
    (made / "manifest.json").unlink()
    content = (made / row.name).read_bytes()
    (made / row.name).write_bytes(content[:700] + bytes([content[700] ^ 1]) + content[701:])
    with pytest.raises(IntegrityError, match=row.name):
        repair_manifest(made)
    (made / row.name).unlink()
    (made / "cxr" / "val").mkdir()
    (made / "cxr" / "val" / "cxr-val-000000.tar").write_bytes(content)
    with pytest.raises(ContractError, match="wrong folder"):
        repair_manifest(made)
    assert not (made / "manifest.json").exists()


def test_c5_an_extra_shard_is_reported_and_moved_aside_only_when_asked(made, row, tmp_path):
    extra = made / "cxr" / "train" / "cxr-train-000007.tar"
    shutil.copy(made / row.name, extra)
    shutil.copy(made / row.index_name, extra.with_suffix(".idx"))
    assert [problem.shard for problem in verify_quick(made).problems] == ["cxr/train/cxr-train-000007.tar"]
    assert repair(made).strays == () and extra.exists()
    with pytest.raises(ConfigError, match="inside the collection"):
        repair(made, strays_to=made / "aside")
    assert repair(made, strays_to=tmp_path / "aside").strays == ("cxr/train/cxr-train-000007.tar",)
    assert (tmp_path / "aside" / "cxr/train/cxr-train-000007.tar").is_file() and not extra.exists()
    assert verify(made).problems == ()
    shutil.copy(made / row.name, extra)
    with pytest.raises(ConfigError, match="put aside before"):
        repair(made, strays_to=tmp_path / "aside")


def test_c5_sizes_and_missing_shards_are_found_without_reading_one(made, row):
    with (made / row.name).open("ab") as file:
        file.write(bytes(512))
    other = next(r for r in load_manifest(made).shards if r.split == "test")
    (made / other.name).unlink()
    found = {problem.shard: problem.what for problem in verify_quick(made).problems}
    assert "another size" in found[row.name] and found[other.name] == "the shard is missing"
    with pytest.raises(IntegrityError):
        repair(made)


@pytest.mark.parametrize("name", ["/etc/passwd.tar", "../x.tar", "a/../../x.tar"])
def test_c5_a_row_that_points_out_of_its_collection_is_refused(name, row):
    with pytest.raises(ContractError, match="outside its collection"):
        replace(row, name=name)


def test_c6_a_key_twice_in_one_shard_is_reported(made, row):
    members = members_of(made / row.name)
    write_members(made / row.name, [*members, *members[:2]])
    accept(made, row)
    assert any("keys occur twice" in what for what in whats(made))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: [m[0], *m[2:]], "no JSON member"),
        (lambda m: m[:-1], "ends inside a sample"),
        (lambda m: [m[1], m[0], *m[2:]], "comes before its image"),
        (lambda m: [("k0.JPG", m[0][1]), *m[1:]], "breaks the contract"),
        (lambda m: [("k0.left.jpg", m[0][1]), *m[1:]], "breaks the contract"),
        (lambda m: [("k" * 95 + ".png", m[0][1]), *m[1:]], "breaks the contract"),
    ],
    ids=["no json", "last json gone", "json first", "capitals", "dots", "a long key"],
)
def test_c6_members_that_break_the_rules_are_reported(change, message, made, row):
    write_members(made / row.name, change(members_of(made / row.name)))
    accept(made, row)
    assert any(message in what for what in whats(made))


@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_c6_extended_headers_are_refused(form, made, row):
    members = members_of(made / row.name)
    if form == "pax":
        write_members(made / row.name, members, tarfile.PAX_FORMAT, pax_headers={"comment": "x"})
    else:
        write_members(made / row.name, [("k" * 150 + ".png", b"x"), *members], tarfile.GNU_FORMAT)
    accept(made, row)
    assert any("not a plain USTAR file" in what for what in whats(made))


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"7"]
)
def test_c7_a_member_that_is_no_plain_file_is_refused(kind, made, row):
    with tarfile.open(made / row.name, "w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("k0.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    accept(made, row)
    assert any("not a plain USTAR file" in what for what in whats(made))


@pytest.mark.parametrize("name", ["../k0.png", "/k0.png", "a/k0.png", "..png", "k0\n.png"])
def test_c7_a_name_that_leads_elsewhere_is_refused(name, made, row):
    write_members(made / row.name, [(name, b"x"), *members_of(made / row.name)])
    accept(made, row)
    assert any("breaks the contract" in what for what in whats(made))


@pytest.mark.parametrize("extension", ["pyd", "pkl", "pth", "npz", "npy", "py"])
def test_c8_a_member_that_others_would_run_is_never_opened(extension, made, row, tmp_path):
    canary = tmp_path / "canary"
    # What pickle would run on loading: open(canary, "w").
    code = b"cbuiltins\nopen\n(V" + str(canary).encode() + b"\nVw\ntR."
    write_members(made / row.name, [(f"k0.{extension}", code), *members_of(made / row.name)])
    accept(made, row)
    assert any("breaks the contract" in what for what in whats(made))
    assert not canary.exists()


@pytest.mark.parametrize("name", ["pipe:touch x", "$(touch x).tar", "file:///etc/passwd", "s3://bucket/x.tar"])
def test_c9_a_shard_name_is_a_path_and_nothing_else(name, made, row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = load_manifest(made)
    rows = tuple(replace(r, name=name) if r.name == row.name else r for r in manifest.shards)
    (made / "manifest.json").write_bytes(replace(manifest, shards=rows).encode())
    assert (name, "the shard is missing") in {(p.shard, p.what) for p in verify(made).problems}
    assert not (tmp_path / "x").exists()


def header_of(name, size_field):
    """A USTAR header with a size of any claim and a right checksum."""
    info = tarfile.TarInfo(name)
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT)[:512])
    block[124:136] = size_field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("field", [b"77777777777\0", b"\x80" + bytes(5) + b"\1" + bytes(5)], ids=["8 GiB", "1 TiB"])
def test_c10_a_member_that_claims_too_much_is_refused_before_it_is_read(field):
    content = header_of("k0.png", field) + bytes(2048)
    asked = []

    def read_at(offset, count):
        asked.append(count)
        return content[offset : offset + count]

    with pytest.raises(IntegrityError, match="header is damaged"):
        scan(read_at, len(content), "shard")
    assert max(asked) <= MAX_MEMBER_BYTES and sum(asked) <= len(content)


def test_c10_many_empty_members_cost_memory_in_proportion_to_samples_only(made):
    block = header_of("k0.png", b"00000000000\0")

    def endless(offset, count):
        return block[:count]

    tracemalloc.start()
    with pytest.raises(ContractError, match="no JSON member"):
        scan(endless, 512 * 10**7, "shard")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_c11_an_empty_shard_and_a_shard_of_one_sample_verify(made):
    assert load_manifest(made).shards[0].samples == 1
    write_members(made / "cxr/train/cxr-train-000001.tar", [])
    (made / "cxr/train/cxr-train-000001.idx").write_text("v1.2 0\n")
    content = (made / "cxr/train/cxr-train-000001.tar").read_bytes()
    manifest = load_manifest(made)
    empty = ShardRow(
        name="cxr/train/cxr-train-000001.tar",
        modality="cxr",
        dataset="set",
        split="train",
        samples=0,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        index_sha256=hashlib.sha256(b"v1.2 0\n").hexdigest(),
    )
    (made / "manifest.json").write_bytes(replace(manifest, shards=(*manifest.shards, empty)).encode())
    assert verify(made).problems == () == verify_quick(made).problems


def test_a_quick_check_does_not_see_a_flipped_byte_and_says_nothing_of_images(made, row):
    spans = check_index((made / row.index_name).read_text(), row)
    place = spans[0].image.offset + 40
    change_bytes(made, row, lambda c: c[:place] + bytes([c[place] ^ 1]) + c[place + 1 :])
    assert verify_quick(made).problems == ()
    assert whats(made) != []


def test_a_manifest_of_another_version_is_refused_by_every_mode(made):
    text = (made / "manifest.json").read_text().replace('"format_version": 1', '"format_version": 2')
    (made / "manifest.json").write_text(text)
    for check in (verify, verify_quick, repair):
        with pytest.raises(ContractError, match="another format version"):
            check(made)
    with pytest.raises(ContractError):
        Manifest.decode(text.encode())
