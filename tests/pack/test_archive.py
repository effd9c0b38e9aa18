"""Archives: members are inputs like files, nothing is extracted, and what is no plain file is told apart."""

import contextlib
import io
import os
import struct
import tarfile
import time
import zipfile

import numpy as np
import pytest

from mermed.pack.readers.archive import list_members, open_raw, open_stream, read_contents, split_archive
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput

CONTENT = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()


def write_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tar_member(name, size=0, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def plain_tar(path, names, mode="w"):
    return write_tar(path, [(tar_member(name, len(CONTENT)), CONTENT) for name in names], mode)


def read(path, member, **bounds):
    return open_raw(RawFile(path, member), Bounds(**bounds)).read()


def reason_of(path, member="a", **bounds):
    with pytest.raises(RejectedInput) as caught:
        read(path, member, **bounds)
    return caught.value.reason_slug


def rejections(path):
    return {member.name: member.reason for member in read_contents(path).rejected}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_of_a_zip_is_read_as_it_was_written(method, tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a/b.png", CONTENT), ("a/", b""), ("c.png", b"c")], method)
    assert list_members(path) == {"a/b.png": 5000, "c.png": 1}
    assert read(path, "a/b.png") == CONTENT


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_of_a_tar_is_read_as_it_was_written(format, tmp_path):
    long_name = "./" + "x" * 90 + "/" + "y" * 90 + ".png"
    with tarfile.open(tmp_path / "x.tar", "w", format=format) as archive:
        archive.addfile(tar_member("folder", kind=tarfile.DIRTYPE))
        archive.addfile(tar_member(long_name, 5000), io.BytesIO(CONTENT))
    name = long_name.removeprefix("./")
    assert list_members(tmp_path / "x.tar") == {name: 5000}
    assert read(tmp_path / "x.tar", name) == read(tmp_path / "x.tar", long_name) == CONTENT


def test_a_stream_of_a_member_gives_its_bytes_in_order(tmp_path):
    for path in (write_zip(tmp_path / "x.zip", [("a", CONTENT)]), plain_tar(tmp_path / "x.tar", ["z", "a"])):
        with open_stream(RawFile(path, "a"), Bounds()) as stream:
            assert stream.read(7) + stream.read(4000) + stream.read() == CONTENT


@pytest.mark.parametrize("name", ["../up.png", "/etc/passwd", "a/../../b.png", "a\\..\\b.png", "a/.."])
def test_a_name_that_leads_outside_is_refused(name, tmp_path):
    paths = write_zip(tmp_path / "x.zip", [(name, CONTENT)]), plain_tar(tmp_path / "x.tar", [name])
    for path in paths:
        assert list_members(path) == {}
        assert set(rejections(path).values()) == {"path_escape"}
    assert reason_of(paths[0], name) == reason_of(paths[1], name) == "path_escape"


def test_links_and_devices_are_no_files_and_are_never_followed(tmp_path):
    kinds = {
        "s": tarfile.SYMTYPE,
        "h": tarfile.LNKTYPE,
        "c": tarfile.CHRTYPE,
        "b": tarfile.BLKTYPE,
        "f": tarfile.FIFOTYPE,
    }
    members = [(tar_member(name, kind=kind, link="/etc/passwd"), b"") for name, kind in kinds.items()]
    path = write_tar(tmp_path / "x.tar", [*members, (tar_member("a", 5000), CONTENT)])
    assert list_members(path) == {"a": 5000}
    assert rejections(path) == dict.fromkeys(kinds, "not_a_file")
    assert reason_of(path, "s") == "not_a_file"

    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    zipped = write_zip(tmp_path / "x.zip", [(link, "/etc/passwd"), ("a", CONTENT)])
    assert (list_members(zipped), rejections(zipped)) == ({"a": 5000}, {"link.png": "not_a_file"})


def encrypt_flags(content):
    """Set the bit of encryption in every header of a ZIP."""
    changed = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + offset] |= 1
            at = changed.find(mark, at + 4)
    return bytes(changed)


def test_an_encrypted_member_is_named(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", b"text")], zipfile.ZIP_STORED)
    path.write_bytes(encrypt_flags(path.read_bytes()))
    assert rejections(path) == {"a": "encrypted"}
    assert reason_of(path) == "encrypted"


def test_a_method_that_can_hide_bombs_is_not_unfolded(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", CONTENT)], zipfile.ZIP_BZIP2)
    assert reason_of(path) == "no_decoder"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_of_one_name_the_last_counts_and_both_are_listed(tmp_path):
    zipped = write_zip(tmp_path / "x.zip", [("a", b"first"), ("a", CONTENT)])
    tarred = write_tar(tmp_path / "x.tar", [(tar_member("./a", 5), b"first"), (tar_member("a", 5000), CONTENT)])
    for path in (zipped, tarred):
        assert read(path, "a") == CONTENT
        assert list(rejections(path).values()) == ["listed_twice"]


def test_a_bomb_is_refused_before_it_unfolds(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", bytes(70 * 2**20)), ("b", bytes(2**20))])
    assert path.stat().st_size < 2**17
    assert reason_of(path) == "limits"
    assert reason_of(path, max_bytes=2**20) == "file_limit"
    assert read(path, "b") == bytes(2**20)


def test_a_member_never_gives_more_bytes_than_its_header_claims(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", bytes(100_000))])
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.find(mark) + offset, 1000)
    path.write_bytes(content)
    assert reason_of(path) == "corrupt"


def test_members_that_share_bytes_are_refused(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", CONTENT), ("b", CONTENT)], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    struct.pack_into("<I", content, second + 42, 10)
    path.write_bytes(content)
    assert reason_of(path) == "limits"


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz"), (".tar", "w:bz2")]
)
def test_a_compressed_tar_asks_to_be_unpacked(suffix, mode, tmp_path):
    path = plain_tar(tmp_path / f"x{suffix}", ["a"], mode)
    with pytest.raises(RejectedInput, match="gunzip it") as caught:
        list_members(path)
    assert caught.value.reason_slug == "compressed_tar"


def test_a_flipped_byte_in_a_member_of_a_zip_is_noticed(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", CONTENT)], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert reason_of(path) == "corrupt"


def test_a_cut_tar_keeps_its_whole_members_and_says_that_some_are_missing(tmp_path):
    path = plain_tar(tmp_path / "x.tar", ["a", "b"])
    path.write_bytes(path.read_bytes()[: 512 + 5120 + 512 + 3000])
    assert read(path, "a") == CONTENT
    assert rejections(path) == {"": "truncated"}


def test_a_damaged_header_does_not_shorten_a_tar_in_silence(tmp_path):
    path = plain_tar(tmp_path / "x.tar", ["a", "b", "c"])
    content = bytearray(path.read_bytes())
    content[512 + 5120 + 3] ^= 255
    path.write_bytes(content)
    assert list_members(path) == {"a": 5000}
    assert rejections(path) == {"": "corrupt"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"text" * 300])
def test_what_is_no_archive_is_reported(content, tmp_path):
    (tmp_path / "x.zip").write_bytes(content)
    assert reason_of(tmp_path / "x.zip") == "corrupt"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_whatever_byte_is_damaged_the_archive_or_its_members_have_a_reason(kind, tmp_path):
    members = [(f"d/{number}.png", CONTENT[:300]) for number in range(4)]
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        write_zip(path, members)
    else:
        write_tar(path, [(tar_member(name, len(content)), content) for name, content in members])
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 20)):
            damaged[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, 2 * len(content))])
        try:
            for name in list_members(path):
                with contextlib.suppress(RejectedInput):
                    read(path, name)
        except RejectedInput as rejected:
            assert rejected.reason_slug in {"corrupt", "limits", "compressed_tar"}


def test_a_zip_whose_member_has_no_name_is_corrupt(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", CONTENT)], zipfile.ZIP_STORED)
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    nameless = content[: at + 28] + b"\0\0" + content[at + 30 : at + 46] + content[at + 47 :]
    end = nameless.index(b"PK\x05\x06")
    size = struct.unpack_from("<I", nameless, end + 12)[0] - 1
    path.write_bytes(nameless[: end + 12] + struct.pack("<I", size) + nameless[end + 16 :])
    assert reason_of(path) == "corrupt"


def test_a_member_or_an_archive_that_is_not_there_is_missing(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("b", CONTENT)])
    assert reason_of(path) == reason_of(tmp_path / "none.zip") == "missing"


def test_an_archive_that_was_replaced_is_read_anew(tmp_path):
    path = write_zip(tmp_path / "x.zip", [("a", b"old")])
    assert read(path, "a") == b"old"
    write_zip(path, [("a", CONTENT)])
    assert read(path, "a") == CONTENT


def test_a_forked_process_reads_beside_its_parent(tmp_path):
    """A descriptor that both share would have one place in the file, and give bytes of another member."""
    names = [f"{number}" for number in range(300)]
    path = write_zip(tmp_path / "x.zip", [(name, name.encode() * 1000) for name in names], zipfile.ZIP_STORED)
    assert read(path, "0") == b"0" * 1000
    child = os.fork()
    good = all(read(path, name) == name.encode() * 1000 for name in names)
    if child == 0:
        os._exit(0 if good else 1)
    assert good
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_directory_of_20_000_members_is_read_once(tmp_path):
    path = write_zip(tmp_path / "x.zip", [(f"{number}.png", b"") for number in range(20_000)], zipfile.ZIP_STORED)
    start = time.perf_counter()
    assert len(list_members(path)) == 20_000
    assert time.perf_counter() - start < 4.0
    start = time.perf_counter()
    assert all(read(path, f"{number}.png") == b"" for number in range(1000))
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("part1.zip/a.png", ("part1.zip", "a.png")),
        ("x/part.TAR/y/a.png", ("x/part.TAR", "y/a.png")),
        ("x/a.png", ("", "")),
        ("x/part1.zip", ("", "")),
        ("a.tar.gz/b.png", ("a.tar.gz", "b.png")),
    ],
)
def test_a_path_through_an_archive_is_parted(place, expected):
    assert split_archive(place) == expected
