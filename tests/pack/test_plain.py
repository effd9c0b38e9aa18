"""The plain layout: what a labels.csv may look like, and what must not get past it."""

import os
import zipfile

import pytest

from mermed.errors import ConfigError
from mermed.pack.plain import read_rows, walk
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Treatment


def reasons(listing):
    return {row.place: (row.bin, row.reason) for row in listing.rejected}


@pytest.mark.parametrize(
    "text",
    [
        "file,label,patient_id\nimages/a.png,benign,0042\n",
        "\ufefffile,label,patient_id\r\nimages/a.png,benign,0042\r\n",
        "file;label;patient_id\nimages/a.png;benign;0042\n",
        "patient_id\tFile\tLabel\n0042\t images/a.png \tbenign\n",
        'file,label,patient_id,age\n"images/a.png","benign",0042,"1,5"\n\n',
    ],
)
def test_every_dialect_gives_the_same_row_and_ids_keep_their_zeros(text, tmp_path):
    (tmp_path / "labels.csv").write_bytes(text.encode())
    (row,) = read_rows(tmp_path / "labels.csv", "us/set")
    assert (row["file"], row["label"], row["patient_id"], row["split"]) == ("images/a.png", "benign", "0042", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name,label\na.png,x\n", "lacks a column"),
        (b"file,label,split\na.png,x,train\nb.png,x,holdout\n", "unknown split"),
        (b"file,label\na.png,x\n,y\n", "names no file"),
        (b"file,label\na.png,x\nb.png,\xe9\n", "not UTF-8"),
        (b"file,label\na.png,x\nb.png,y,z\n", "more values"),
        (b'file,label\na.png,x\nb.png,"' + b"y" * 200_000 + b'"\n', "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_with_its_line(text, message, tmp_path):
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(ConfigError, match=message) as caught:
        list(read_rows(tmp_path / "labels.csv", "us/set"))
    assert caught.value.where["dataset"] == "us/set"
    assert "lacks" in message or caught.value.where["line"] == 3
    assert caught.value.exit_code == 2


def test_files_without_a_row_are_counted_and_hidden_ones_are_not(write_source):
    source = write_source([{"file": "images/a.png", "label": "x"}])
    folder = source / "us" / "set"
    for name in ("images/b.png", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(b"x")
    listing = walk(source)
    assert listing.num_inputs == 3
    assert reasons(listing) == {
        "us/set/images/b.png": ("excluded", "not_listed"),
        "us/set/notes.txt": ("excluded", "not_listed"),
    }


@pytest.mark.parametrize("file", ["../other/a.png", "/etc/passwd", "images/../../a.png", "..\\a.png", "a\0.png"])
def test_a_row_cannot_lead_out_of_its_dataset(file, write_source):
    source = write_source([{"file": "a.png", "label": "x"}])
    (source / "us" / "set" / "labels.csv").write_text(f'file,label\na.png,x\n"{file}",x\n')
    listing = walk(source)
    assert [row.reason for row in listing.rejected] == ["path_escape"]
    assert len(listing.images) == 1


def test_a_link_out_of_the_source_is_an_escape_and_one_inside_is_not(write_source, tmp_path):
    source = write_source([{"file": "a.png", "label": "x"}])
    (tmp_path / "outside.png").write_bytes(b"x")
    folder = source / "us" / "set"
    os.symlink(tmp_path / "outside.png", folder / "out.png")
    os.symlink(folder / "a.png", folder / "in.png")
    os.symlink(folder / "loop.png", folder / "loop.png")
    (folder / "labels.csv").write_text("file,label\na.png,x\nout.png,x\nin.png,x\nloop.png,x\n")
    listing = walk(source)
    assert reasons(listing)["us/set/out.png"] == ("quarantined", "path_escape")
    assert [image.file for image in listing.images if image.file != "loop.png"] == ["a.png", "in.png"]


def test_a_file_listed_twice_counts_once(write_source):
    rows = [{"file": "a.png", "label": "x"}, {"file": "a.png", "label": "x"}, {"file": "./a.png", "label": "y"}]
    listing = walk(write_source(rows))
    assert len(listing.images) == 1
    assert sorted((row.bin, row.reason) for row in listing.rejected) == [
        ("excluded", "listed_twice"),
        ("quarantined", "listed_twice"),
    ]


def zipped_source(write_source, tmp_path, rows, *, name="part1.zip"):
    """A dataset with the archive `name` of three images, a hidden file and a link, and a plain image beside it."""
    source = write_source([{"file": "plain.png", "label": "a"}], dataset="set")
    folder = source / "us" / "set"
    image = (folder / "plain.png").read_bytes()
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member in ("a/1.png", "a/2.png", "3.png", ".DS_Store", link):
            archive.writestr(member, image)
    with (folder / "labels.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{row},a\n" for row in rows)
    return source


def test_rows_may_name_members_of_an_archive(write_source, tmp_path):
    listing = walk(zipped_source(write_source, tmp_path, ["part1.zip/a/1.png", "part1.zip/./3.png"]))
    found = {image.file: (image.path.name, image.member) for image in listing.images}
    assert found == {
        "part1.zip/3.png": ("part1.zip", "3.png"),
        "part1.zip/a/1.png": ("part1.zip", "a/1.png"),
        "plain.png": ("plain.png", ""),
    }
    assert sorted((row.place, row.reason, row.bin) for row in listing.rejected) == [
        ("us/set/part1.zip/a/2.png", "not_listed", "excluded"),
        ("us/set/part1.zip/link.png", "not_a_file", "quarantined"),
    ]


def test_an_archive_of_no_row_is_one_file_that_is_not_listed(write_source, tmp_path):
    listing = walk(zipped_source(write_source, tmp_path, []))
    assert [(row.place, row.reason) for row in listing.rejected] == [("us/set/part1.zip", "not_listed")]


def test_a_member_that_a_row_names_is_counted_once_whatever_is_wrong_with_it(write_source, tmp_path):
    rows = ["part1.zip/link.png", "part1.zip/gone.png", "part1.zip/../plain.png"]
    listing = walk(zipped_source(write_source, tmp_path, rows))
    assert {image.file for image in listing.images} == {"plain.png", "part1.zip/link.png", "part1.zip/gone.png"}
    reasons = sorted(row.reason for row in listing.rejected)
    assert reasons == ["not_listed"] * 3 + ["path_escape"]
    for member, reason in (("link.png", "not_a_file"), ("gone.png", "missing")):
        (image,) = (image for image in listing.images if image.member == member)
        with pytest.raises(RejectedInput) as caught:
            list(read_frames(RawFile(image.path, image.member), Bounds(), Treatment()))
        assert caught.value.reason_slug == reason


def test_every_row_of_an_archive_that_cannot_be_listed_has_its_reason(write_source, tmp_path):
    source = zipped_source(write_source, tmp_path, ["part1.zip/a/1.png", "part1.zip/a/2.png", "x.tar.gz/b.png"])
    (source / "us/set/part1.zip").write_bytes(b"PK\x03\x04 nothing else")
    (source / "us/set/x.tar.gz").write_bytes(b"\x1f\x8b\x08 nothing else")
    listing = walk(source)
    assert [image.file for image in listing.images] == ["plain.png"]
    assert sorted(row.reason for row in listing.rejected) == ["compressed_tar", "corrupt", "corrupt"]


def test_an_archive_that_is_a_link_out_of_the_source_or_a_pipe_is_never_opened(write_source, tmp_path):
    source = zipped_source(write_source, tmp_path, ["out.zip/a/1.png", "pipe.zip/a/1.png"])
    (tmp_path / "elsewhere.zip").write_bytes((source / "us/set/part1.zip").read_bytes())
    (source / "us/set/out.zip").symlink_to(tmp_path / "elsewhere.zip")
    os.mkfifo(source / "us/set/pipe.zip")
    listing = walk(source)
    reasons = {row.place: row.reason for row in listing.rejected}
    assert reasons["us/set/out.zip/a/1.png"] == "path_escape"
    (piped,) = (image for image in listing.images if image.file.startswith("pipe.zip"))
    with pytest.raises(RejectedInput) as caught:
        list(read_frames(RawFile(piped.path, piped.member), Bounds(), Treatment()))
    assert caught.value.reason_slug == "missing"


def test_a_folder_named_like_an_archive_is_a_folder(write_source, tmp_path):
    listing = walk(write_source([{"file": "part.zip/a.png", "label": "a"}]))
    assert [(image.path.name, image.member) for image in listing.images] == [("a.png", "")]


def test_names_of_folders_become_slugs_and_may_not_meet(write_source):
    rows = [{"file": "a.png", "label": "x"}]
    source = write_source(rows, modality="CXR", dataset="Pédiatric set (v1.2)")
    (image,) = walk(source).images
    assert (image.modality, image.dataset) == ("cxr", "pediatric_set_v1_2")
    assert image.place == "CXR/Pédiatric set (v1.2)/a.png"
    write_source(rows, modality="cxr", dataset="pediatric-set-v1_2")
    write_source(rows, modality="cxr", dataset="pediatric set v1.2")
    with pytest.raises(ConfigError, match="one dataset name"):
        walk(source)


def test_any_modality_is_accepted(write_source):
    (image,) = walk(write_source([{"file": "a.png", "label": "x"}], modality="mammography")).images
    assert image.modality == "mammography"


def test_awkward_file_names_are_only_names(write_source):
    names = ["benign (1).png", "-rf.png", "a,b;c.png", "naïve.png", "new\nline.png", "1.2.840.10008.png", "x" * 200]
    listing = walk(write_source([{"file": name, "label": "x"} for name in names]))
    assert sorted(image.file for image in listing.images) == sorted(names)
    assert not listing.rejected


def test_an_empty_source_says_what_it_should_hold(tmp_path):
    with pytest.raises(ConfigError, match=r"SRC/<modality>/<dataset>/labels.csv"):
        walk(tmp_path)
    with pytest.raises(ConfigError, match="not a folder"):
        walk(tmp_path / "nothing")
