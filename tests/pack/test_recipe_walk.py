"""A recipe over a folder: every file is an image or a row with a reason, whatever names, links, archives it meets."""

import gzip
import os
import tarfile
import unicodedata
import zipfile
from functools import partial

import pytest
from small_recipes import CLASS, TABLE, classes, reasons, recipe, write_root

from mermed.contract import DATASET_GRAMMAR
from mermed.errors import ConfigError
from mermed.pack.recipes.lister import list_recipe


@pytest.fixture
def root(tmp_path):
    """A writer of files below tmp_path/root."""
    return partial(write_root, tmp_path / "root")


def test_rows_without_file_and_files_without_row_are_counted_and_the_sum_closes(root):
    folder = root("1.png", "2.png", "notes.txt", "b/1.jpg", ".hidden", labels="id,dx\n1,x\n3,y\n4,z\n")
    listing = list_recipe(folder, CLASS)
    assert classes(listing) == {"1.png": "x"}
    assert reasons(listing) == {
        "set/2.png": "no_row",
        "set/notes.txt": "not_listed",
        "set/b/1.jpg": "not_listed",
        "set/labels.csv:3": "missing",
        "set/labels.csv:4": "missing",
    }
    assert listing.num_inputs == 1 + 5
    assert {row.bin for row in listing.rejected} == {"excluded"}


def test_equal_base_names_in_two_folders_are_two_images_with_their_own_labels(root):
    by_path = recipe('[images]\ninclude = "*/*.png"\npath = "^(?P<part>[^/]+)/"\n[labels]\nclass = "{part}"\n')
    listing = list_recipe(root("a/x.png", "b/x.png"), by_path)
    assert classes(listing) == {"a/x.png": "a", "b/x.png": "b"}


@pytest.mark.parametrize(
    "name",
    [
        "benign (1).png", "[a] {b}.png", "a.b.c.png", "-rf.png", "line\nbreak.png", "a,b;c.png", 'quote".png',
        "\u200fabc\u200e.png", "x" * 251 + ".png", unicodedata.normalize("NFD", "Größe.png"), "Größe.png",
    ],
)  # fmt: skip
def test_a_name_with_odd_characters_is_listed_and_found_in_its_table(name, root):
    cell = unicodedata.normalize("NFC", name.removesuffix(".png")).replace('"', '""')
    listing = list_recipe(root(name, labels=f'id,dx\n"{cell}",x\n'), CLASS)
    assert classes(listing) == {name: "x"}
    assert DATASET_GRAMMAR.fullmatch(listing.images[0].dataset)
    assert listing.images[0].path.read_bytes() == b"no image"


def test_links_out_loops_pipes_and_closed_folders_are_rejected_and_never_block(root, tmp_path, monkeypatch):
    folder = root("1.png", "sub/2.png", "closed/3.png", labels="id,dx\n1,x\n2,x\n")
    scandir = os.scandir

    def closed(path):
        # Permissions would not stop the super-user that tests may run as.
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "closed")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "inside.png").symlink_to(folder / "1.png")
    os.mkfifo(folder / "pipe.png")
    listing = list_recipe(folder, recipe(f"[[tables]]\n{TABLE}"))
    assert sorted(classes(listing)) == ["1.png", "inside.png", "sub/2.png"]
    assert reasons(listing) == {
        "set/out.png": "path_escape",
        "set/up": "path_escape",
        "set/sub/loop/": "symlink_loop",
        "set/gone.png": "not_a_file",
        "set/self.png": "unreadable",
        "set/pipe.png": "not_a_file",
        "set/closed/": "unreadable",
    }


def test_a_tree_of_too_many_folders_is_rejected_where_it_goes_too_deep(root):
    folder = root("1.png")
    deep = folder.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "2.png").touch()
    listing = list_recipe(folder, recipe(""))
    assert sorted(classes(listing)) == ["1.png"]
    assert reasons(listing) == {"set/" + "d/" * 100: "name_limit"}


def test_an_archive_is_the_folder_it_was_made_of(root):
    folder = root("a/1.png", labels="id,dx\n1,x\n2,y\n3,z\n")
    with zipfile.ZipFile(folder / "part.zip", "w") as archive:
        archive.writestr("in/2.png", b"two")
        archive.writestr("in/2_mask.png", b"mask")
        archive.writestr("../4.png", b"out")
        archive.writestr("__MACOSX/._2.png", b"")
    (folder / "3.png").write_bytes(b"three")
    with tarfile.open(folder / "b.tar", "w") as archive:
        archive.add(folder / "3.png", "3.png")
    (folder / "3.png").unlink()
    (folder / "rest.tar.gz").write_bytes(gzip.compress(b"left over"))
    (folder / "bad.zip").write_bytes(b"PK not")
    masks = recipe(
        '[images]\ninclude = ["{a,b}/*.png", "part/in/*.png"]\n'
        'exclude = [{ pattern = "**/*_mask.png", reason = "mask" }]\n'
        f'[[tables]]\n{TABLE}[labels]\nclass = "{{dx}}"\n'
    )
    listing = list_recipe(folder, masks)
    assert classes(listing) == {"a/1.png": "x", "part.zip/in/2.png": "y", "b.tar/3.png": "z"}
    assert {image.file: image.member for image in listing.images}["part.zip/in/2.png"] == "in/2.png"
    assert reasons(listing) == {
        "set/part.zip/in/2_mask.png": "mask",
        "set/part.zip/../4.png": "path_escape",
        "set/rest.tar.gz": "compressed_tar",
        "set/bad.zip": "corrupt",
    }


def test_tables_are_read_inside_archives_and_gzip_and_a_cut_one_is_an_error(root):
    folder = root("1.png")
    with zipfile.ZipFile(folder / "meta.zip", "w") as archive:
        archive.writestr("labels.csv.gz", gzip.compress(b"id,dx\n1,x\n"))
    inside = recipe(f'[[tables]]\n{TABLE.replace("labels.csv", "meta/labels.csv.gz")}[labels]\nclass = "{{dx}}"\n')
    assert classes(list_recipe(folder, inside)) == {"1.png": "x"}
    with zipfile.ZipFile(folder / "meta.zip", "w") as archive:
        archive.writestr("labels.csv.gz", gzip.compress(b"id,dx\n1,x\n" * 100)[:-9])
    with pytest.raises(ConfigError, match="a table cannot be read") as caught:
        list_recipe(folder, inside)
    assert caught.value.where["file"] == "meta.zip/labels.csv.gz"
