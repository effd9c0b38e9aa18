"""Adopt: foreign shards become a collection that verifies; nothing in them runs, names or identifies."""

import csv
import io
import json
import pickle
import tarfile

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mermed.cli.shard_adopt import adopt as adopt_command
from mermed.contract import load_manifest
from mermed.errors import ConfigError, ContractError, IntegrityError, SampleError
from mermed.pack.checks.adopt import Adoption, adopt
from mermed.pack.checks.adopt_whole import adopt_whole
from mermed.pack.checks.foreign import expand, local_copy, read_foreign, shown
from mermed.pack.checks.holdings import load_holdings
from mermed.pack.checks.leakage import find_leakage
from mermed.pack.checks.verify import verify
from mermed.pack.readers.bare_image import strip_metadata
from mermed.pack.readers.raw import RejectedInput
from mermed.tar import check_shard

PLANTED = b"DOE^JANE^19470301"


def noise(seed, shape=(30, 40, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, kind="JPEG", **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def foreign(tmp_path):
    """Two shards as people make them: folders, dots, capitals, labels in .cls or .json, a pickle beside."""
    exif = Image.Exif()
    exif[0x010E] = PLANTED.decode()
    members = [
        ("train/Patient 7.jpg", encoded(noise(1), exif=exif, comment=PLANTED, quality=90)),
        ("train/Patient 7.cls", b"melanoma\n"),
        ("train/Patient 7.json", json.dumps({"patient": "P7", "dx": "mel"}).encode()),
        ("train/b.seg.PNG", encoded(noise(2), "PNG")),
        ("train/b.cls", b"naevus"),
        ("train/b.pkl", pickle.dumps({"x": 1})),
        ("train/c.png", encoded(noise(3, (30, 40)), "PNG")),
    ]
    one = write_tar(tmp_path / "theirs-000.tar", members)
    two = write_tar(tmp_path / "theirs-001.tar", [("d.jpeg", encoded(noise(4))), ("d.cls", b"naevus")])
    return one, two


@pytest.fixture
def take(identity, tmp_path):
    def run(*patterns, **facts):
        adoption = Adoption(**{"modality": "derm", "dataset": "theirs"} | facts)
        return adopt([str(p) for p in patterns], tmp_path / "out", adoption, identity)

    return run


def samples_of(folder):
    manifest = load_manifest(folder)
    return [sample for row in manifest.shards for sample in check_shard(folder / row.name, row)]


def test_adopted_shards_verify_and_their_pixels_are_those_of_the_source(take, foreign, tmp_path):
    adopted = take(tmp_path / "theirs-{000..001}.tar")
    assert verify(tmp_path / "out").problems == ()
    assert adopted.manifest.totals["packed"] == 4
    assert adopted.manifest.labels == {"derm/theirs": {"kind": "multi-class", "classes": ["melanoma", "naevus"]}}
    stored = [np.asarray(Image.open(io.BytesIO(s.image))) for s in samples_of(tmp_path / "out")]
    with tarfile.open(foreign[0]) as tar:
        first = np.asarray(Image.open(io.BytesIO(tar.extractfile("train/Patient 7.jpg").read())))
    assert (stored[0] == first).all()
    assert (stored[1] == noise(2)).all()
    assert adopted.left_out == {"pkl": 1}


def test_no_name_and_no_header_of_the_source_is_in_a_shard(take, foreign, tmp_path):
    take(*foreign, group_field="patient")
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".tar", ".idx", ".json"):
            content = path.read_bytes()
            assert PLANTED not in content
            assert b"Patient" not in content and b"P7" not in content


def test_labels_and_groups_come_from_the_fields_that_are_named(take, foreign, tmp_path, identity):
    take(foreign[0], label_field="dx", group_field="patient")
    first, *others = samples_of(tmp_path / "out")
    assert first.meta.labels == {"class": "mel"}
    assert first.meta.group == identity.group_id("derm", "theirs", "pP7")
    assert len({sample.meta.group for sample in others} | {first.meta.group}) == 3


def test_an_adopted_collection_can_be_compared_without_decoding(take, foreign, tmp_path):
    take(*foreign)
    assert load_holdings([str(tmp_path / "out")]).decoded == ()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.jpg", b"<html>gone</html>")], "not_an_image"),
        ([("a.jpg", encoded(noise(1))[:300])], "truncated"),
        ([("a.png", encoded(noise(1, (9, 9, 4)), "PNG"))], "not_8_bit"),
        ([("a.png", encoded(Image.fromarray(np.zeros((9, 9), np.uint16) + 700), "PNG"))], "not_8_bit"),
        ([("a.jpg", encoded(Image.fromarray(noise(1)).convert("CMYK")))], "not_8_bit"),
        ([("a.cls", b"1")], "no_image"),
        ([("a.left.jpg", encoded(noise(1))), ("a.right.jpg", encoded(noise(2)))], "several_images"),
        ([("a.jpg", encoded(noise(1))), ("a.json", b"{")], "bad_json"),
        ([("a.jpg", encoded(noise(1))), ("a.cls", b"x" * 500)], "bad_label"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_quarantined_with_its_reason(members, reason, take, tmp_path):
    take(write_tar(tmp_path / "x.tar", [*members, ("good.jpg", encoded(noise(9)))]))
    lines = list(csv.DictReader((tmp_path / "out" / "quarantine.csv").read_text("utf-8").splitlines()))
    assert [(line["file"], line["reason"]) for line in lines] == [("x.tar/a", reason)]
    assert load_manifest(tmp_path / "out").totals == {
        "inputs": 2,
        "packed": 1,
        "duplicates": 0,
        "excluded": 0,
        "quarantined": 1,
    }
    assert verify(tmp_path / "out").problems == ()


def test_an_image_that_its_exif_turns_is_quarantined_not_turned_silently(take, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = ("a.jpg", encoded(noise(1), exif=exif))
    adopted = take(write_tar(tmp_path / "x.tar", [turned, ("b.jpg", encoded(noise(2)))]))
    assert adopted.reasons == {"orientation": 1}


def test_a_key_that_comes_back_later_in_the_shard_is_quarantined(take, tmp_path):
    members = [(f"{name}.jpg", encoded(noise(n))) for n, name in enumerate(("a", "b", "a"))]
    assert take(write_tar(tmp_path / "x.tar", members)).reasons == {"listed_twice": 1}


def test_links_devices_and_paths_out_of_the_shard_are_never_followed(take, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE), ("c.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        good = encoded(noise(1))
        info = tarfile.TarInfo("../../../tmp/escape.jpg")
        info.size = len(good)
        tar.addfile(info, io.BytesIO(good))
    adopted = take(tmp_path / "x.tar")
    assert adopted.left_out["no plain file"] == 3
    assert adopted.reasons == {"no_image": 3}
    assert adopted.manifest.totals["packed"] == 1


def test_shards_in_a_store_are_read_through_fsspec(take, foreign, tmp_path):
    fsspec.filesystem("memory").pipe_file("/bucket/s-0.tar", foreign[1].read_bytes())
    assert take("memory://bucket/s-{0..0}.tar").manifest.totals["packed"] == 1
    with pytest.raises(ConfigError, match="not there"), local_copy("memory://bucket/none.tar"):
        pass


@pytest.mark.parametrize(
    "pattern", ["pipe:curl http://x", "simplecache::memory://a.tar", "http://x/a.tar", "ftp://x/a.tar", "zip://a::b"]
)
def test_commands_and_other_schemes_are_refused(pattern):
    with pytest.raises(ConfigError, match="cannot be read from there"):
        expand([pattern])


@pytest.mark.parametrize("pattern", ["s{0..999999999}.tar", "{0..999}{0..999}.tar"])
def test_a_brace_bomb_is_refused_before_it_goes_off(pattern):
    with pytest.raises(ConfigError, match="too many shards"):
        expand([pattern])


def test_braces_and_stars_name_shards_in_order(foreign, tmp_path):
    assert expand(["a-{08..10}.tar"]) == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand(["{x,y}{1..2}"]) == ["x1", "x2", "y1", "y2"]
    assert expand([str(tmp_path / "theirs-*.tar")]) == [str(path) for path in foreign]
    assert expand(["$(touch x).tar"]) == ["$(touch x).tar"]
    with pytest.raises(ConfigError, match="no shard has such a name"):
        expand([str(tmp_path / "nothing-*.tar")])


def test_a_url_is_shown_without_its_secrets():
    assert shown("https://me:word@host/a/b.tar?token=planted") == "https://host/a/b.tar"


@pytest.mark.parametrize("damage", ["cut", "garbage", "gzip"])
def test_a_shard_that_is_no_whole_tar_stops_the_adoption(damage, take, foreign, tmp_path):
    content = foreign[0].read_bytes()
    broken = {"cut": content[:1500], "garbage": b"\x01" * 2048, "gzip": b"\x1f\x8b" + content}[damage]
    (tmp_path / "broken.tar").write_bytes(broken)
    with pytest.raises(IntegrityError, match=r"broken\.tar"):
        take(tmp_path / "broken.tar")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_adoption_that_died_is_begun_anew(take, foreign, tmp_path):
    (tmp_path / "broken.tar").write_bytes(b"\x01" * 2048)
    with pytest.raises(IntegrityError):
        take(foreign[0], tmp_path / "broken.tar")
    take(foreign[1])
    assert verify(tmp_path / "out").problems == ()
    with pytest.raises(ConfigError, match="finished collection"):
        take(foreign[1])


def test_nothing_usable_is_an_error(take, tmp_path):
    with pytest.raises(SampleError, match="no sample could be adopted"):
        take(write_tar(tmp_path / "x.tar", [("a.txt", b"x")]))


def test_without_rewrite_foreign_shards_are_refused_with_the_reason_and_the_way_out(foreign, tmp_path):
    result = CliRunner().invoke(adopt_command, [*map(str, foreign), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ContractError)
    assert "--rewrite" in str(result.exception) and "2 of 2 break it" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_without_rewrite_shards_of_ours_become_a_collection_as_they_are(collection, tmp_path):
    rows = load_manifest(collection).shards
    shards = [str(collection / row.name) for row in rows[::-1]]
    adopted = adopt_whole(shards, tmp_path / "out")
    assert sorted((row.sha256, row.index_sha256) for row in adopted.shards) == sorted(
        (row.sha256, row.index_sha256) for row in rows
    )
    assert verify(tmp_path / "out").problems == ()
    with pytest.raises(ConfigError, match="finished collection"):
        adopt_whole(shards, tmp_path / "out")


def test_the_command_rewrites_and_tells_what_it_left_out(foreign, tmp_path):
    (tmp_path / "salt").write_bytes(b"a salt for tests, no secret")
    command = [*map(str, foreign), "--out", str(tmp_path / "out"), "--salt-file", str(tmp_path / "salt"), "--rewrite"]
    assert CliRunner().invoke(adopt_command, command).exit_code == 2
    named = [*command, "--modality", "derm", "--dataset", "theirs"]
    result = CliRunner().invoke(adopt_command, named, catch_exceptions=False)
    assert "adopted 4 of 4 samples" in result.output
    assert "members left out, unopened: 1 pkl" in result.output


def test_training_images_of_an_adopted_collection_are_held_against_the_test_set_of_another(
    take, foreign, write_collection, tmp_path
):
    take(*foreign)
    ours = {"key": "t", "pixels": noise(2), "modality": "derm", "split": "test"}
    other = write_collection(tmp_path / "other", [ours], listed=True)
    leakage = find_leakage(load_holdings([str(tmp_path / "out"), str(other)]))
    assert [(leak.kind, leak.pairs) for leak in leakage.leaks] == [("exact", 1)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_stripping_keeps_every_pixel_and_no_metadata(kind):
    exif = Image.Exif()
    exif[0x010E] = PLANTED.decode()
    options = {"comment": PLANTED, "icc_profile": PLANTED} if kind == "JPEG" else {"icc_profile": PLANTED}
    before = encoded(noise(1), kind, exif=exif, **options) + PLANTED
    after, extension = strip_metadata(before)
    assert extension == {"JPEG": "jpg", "PNG": "png"}[kind]
    assert PLANTED not in after
    assert (np.asarray(Image.open(io.BytesIO(after))) == np.asarray(Image.open(io.BytesIO(before)))).all()
    assert strip_metadata(after)[0] == after


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_cut_image_never_passes_the_stripping(kind):
    whole = encoded(noise(1), kind)
    for size in range(8, len(whole) - 1, 97):
        with pytest.raises(RejectedInput):
            strip_metadata(whole[:size])


def test_many_empty_members_are_read_in_little_memory(tmp_path):
    import tracemalloc

    write_tar(tmp_path / "x.tar", [(f"m{n}.cls", b"") for n in range(5_000)], tarfile.USTAR_FORMAT)
    tracemalloc.start()
    count = sum(1 for _ in read_foreign(tmp_path / "x.tar", "x.tar"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5_000
    assert peak < 2**19
