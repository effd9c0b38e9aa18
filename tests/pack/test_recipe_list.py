"""A recipe over a folder: every file is an image or a row with a reason, whatever names and tables it meets."""

import gzip
import os
import tarfile
import time
import tomllib
import unicodedata
import zipfile

import numpy as np
import pytest

from mermed.contract import DATASET_GRAMMAR
from mermed.errors import ConfigError
from mermed.pack.recipe import Recipe
from mermed.pack.recipe_list import list_recipe, list_sources
from mermed.pack.recipe_parse import parse

HEAD = {
    "name": "set",
    "modality": "us",
    "title": "Set",
    "fingerprint": "x",
    "card": {"licence": "CC0", "access": "open"},
}
TABLE = 'file = "labels.csv"\nkey = "{id}"\nmatch = "{stem}"\n'


def recipe(text, **head):
    return parse(Recipe, {**HEAD, "images": {"include": "**/*.png"}, **tomllib.loads(text), **head})


@pytest.fixture
def root(tmp_path):
    """A writer of files below tmp_path/root; the content is never opened by a listing."""

    def write(*files, labels=None):
        for file in files:
            path = tmp_path / "root" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no image")
        if labels is not None:
            (tmp_path / "root" / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
        return tmp_path / "root"

    return write


def classes(listing):
    return {image.file: image.labels.get("class") for image in listing.images}


def reasons(listing):
    return {row.place: row.reason for row in listing.rejected}


CLASS = recipe(f'[[tables]]\n{TABLE}required = true\n[labels]\nclass = "{{dx}}"\n')


@pytest.mark.parametrize(
    "table",
    [
        "id,dx\n00000001,nev us\n",
        b"\xef\xbb\xbfid,dx\r\n00000001,nev us\r\n",
        "id;dx;note\n00000001;nev us;a,b,c\n",
        "id\tdx\n\n 00000001 \t nev us \n",
        'note,id,dx\n"a, ""b""\nc",00000001,"nev us"\n',
        "id,dx\n00000001,nev us\n00000001,nev us\n",
        "id,dx,\n00000001,nev us,\n",
    ],
)
def test_every_dialect_gives_the_same_label_and_ids_keep_their_zeros(table, root):
    listing = list_recipe(root("a/00000001.png", labels=table), CLASS)
    assert classes(listing) == {"a/00000001.png": "nev us"}


def test_a_latin_1_table_is_read_when_the_recipe_says_so(root):
    folder = root("1.png", labels="id,dx\n1,Bösartig\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not utf-8") as caught:
        list_recipe(folder, CLASS)
    assert (caught.value.where["line"], caught.value.where["file"]) == (2, "labels.csv")
    latin = recipe(f'[[tables]]\n{TABLE}encoding = "latin-1"\n[labels]\nclass = "{{dx}}"\n')
    assert classes(list_recipe(folder, latin)) == {"1.png": "Bösartig"}


@pytest.mark.parametrize(
    ("table", "what", "where"),
    [
        ("id,diagnosis\n1,x\n", "names a field that nothing gives", {}),
        ("image,dx\n1,x\n", "lacks a column", {"line": 1, "column": "id"}),
        ("id,dx\n1,x,y\n", "more values than the header", {"line": 2}),
        ("id,dx\n1,x\n1,y\n", "two rows of one key disagree", {"line": 3, "column": "dx"}),
        ("id,dx\n1,\0\n" + '2,"' + "x" * 140_000, "cannot be read", {"line": 3}),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_with_its_line_and_column(table, what, where, root):
    with pytest.raises(ConfigError, match=what) as caught:
        list_recipe(root("1.png", labels=table), CLASS)
    assert caught.value.exit_code == 2
    assert caught.value.where.items() >= {"recipe": "set", **where}.items()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1.0", 1), ("0", 0), ("0.0", 0), ("-1", None), ("", None), ("nan", None), ("N/A", None)],
)
def test_findings_are_three_valued(text, value, root):
    findings = recipe(f'[[tables]]\n{TABLE}[labels]\nfindings = ["Edema"]\n')
    listing = list_recipe(root("1.png", labels=f"id,Edema,b\n1,{text},x\n"), findings)
    assert listing.images[0].labels == {"findings": {"Edema": value}}


@pytest.mark.parametrize("text", ["2.0", "yes", "-2"])
def test_an_unknown_text_of_a_finding_is_an_error_with_its_line(text, root):
    findings = recipe(f'[[tables]]\n{TABLE}[labels]\nfindings = ["Edema"]\n')
    with pytest.raises(ConfigError, match="does not explain") as caught:
        list_recipe(root("1.png", labels=f"id,Edema\n0,1\n1,{text}\n"), findings)
    assert caught.value.where == {"recipe": "set", "table": "labels.csv", "line": 3, "column": "Edema"}
    assert caught.value.found == repr(text)


@pytest.mark.parametrize(("text", "value"), [("other", "'other'"), ("Edema|Mass", "'Mass'")])
def test_an_unknown_name_is_an_error_where_names_are_closed(text, value, root):
    closed = 'class = "{dx}"\nnames = ["x"]' if "|" not in text else 'list = { field = "dx", names = ["Edema"] }'
    with pytest.raises(ConfigError, match="does not explain") as caught:
        list_recipe(root("1.png", labels=f"id,dx\n1,{text}\n"), recipe(f"[[tables]]\n{TABLE}[labels]\n{closed}\n"))
    assert (caught.value.found, caught.value.where["line"]) == (value, 2)


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


@pytest.mark.parametrize(
    ("conflict", "expected", "rejected"),
    [("first", "x", {}), ("vote", "y", {}), ("blank", None, {}), ("drop", None, {"set/1.png": "label_conflict"})],
)
def test_rows_that_disagree_are_settled_as_the_recipe_says(conflict, expected, rejected, root):
    folder = root("1.png", "2.png", labels="id,dx\n1,x\n1,y\n1,y\n2,z\n")
    listing = list_recipe(folder, recipe(f'[[tables]]\n{TABLE}conflict = "{conflict}"\n[labels]\nclass = "{{dx}}"\n'))
    assert classes(listing).get("1.png") == expected
    assert classes(listing)["2.png"] == "z"
    assert reasons(listing) == rejected


def test_images_whose_table_says_so_are_treated_otherwise(root):
    variants = recipe(
        f'[[tables]]\n{TABLE}[treatment]\nbits = 12\n[[variants]]\nwhere = {{ dx = ["MONOCHROME1"] }}\n'
        "treatment = { bits = 12, is_inverted = true }\n"
    )
    listing = list_recipe(root("1.png", "2.png", labels="id,dx\n1,MONOCHROME1\n2,MONOCHROME2\n"), variants)
    assert [(i.treatment.bits, i.treatment.is_inverted) for i in listing.images] == [(12, True), (12, False)]


def test_rows_of_one_finding_each_fold_into_findings(root):
    table = "ID,Label\nID_1_any,1\nID_1_epidural,0\nID_2_any,0\nID_2_epidural,0\n"
    pivot = recipe(
        '[[tables]]\nfile = "labels.csv"\nextract = { ID = "^ID_(?P<id>[0-9]+)_(?P<finding>.*)$" }\nkey = "{id}"\n'
        'match = "{stem}"\npivot = { name = "{finding}", value = "{Label}" }\n'
        '[labels]\nfindings = ["any", "epidural"]\n'
    )
    listing = list_recipe(root("1.png", "2.png", labels=table), pivot)
    assert listing.images[0].labels == {"findings": {"any": 1, "epidural": 0}}
    assert listing.images[1].labels == {"findings": {"any": 0, "epidural": 0}}


def test_an_image_of_two_classes_at_once_is_excluded_and_of_none_unlabelled(root):
    one_hot = recipe(f'[[tables]]\n{TABLE}[labels]\none_hot = ["MEL", "NV"]\n')
    folder = root("1.png", "2.png", "3.png", labels="id,MEL,NV\n1,1.0,0.0\n2,1,1\n3,0,0\n")
    listing = list_recipe(folder, one_hot)
    assert classes(listing) == {"1.png": "MEL", "3.png": None}
    assert reasons(listing) == {"set/2.png": "label_conflict"}


def test_a_later_table_is_joined_by_a_field_of_an_earlier_one_and_paths_win_over_columns(root):
    folder = root("1.png", labels="id,patient,file\n1,p7,wrong\n")
    (folder / "patients.txt").write_text("p7 test x\np9 train y\n")
    chained = recipe(
        f'[[tables]]\n{TABLE}[[tables]]\nfile = "patients.txt"\ncolumns = ["who", "part", "dx"]\ndelimiter = "space"\n'
        'key = "{who}"\nmatch = "{patient}"\nexpect = false\n'
        '[labels]\nclass = "{file}:{dx}"\n[groups]\npatient = "{patient}"\n[split]\nfield = "{part}"\n'
    )
    (image,) = list_recipe(folder, chained).images
    assert (image.labels["class"], image.patient_id, image.split) == ("1.png:x", "p7", "test")


def test_of_the_unlabelled_images_of_one_group_only_so_many_are_kept_evenly_spaced(root):
    files = [f"s{series}/{number:03d}.png" for series in (1, 2) for number in range(40 // series**2)]
    folder = root(*files, "lone.png", labels="id,dx\n001,key\n")
    thinned = recipe(
        '[images]\ninclude = "**/*.png"\nmost_per_group = 4\npath = ["^(?P<series>s[12])/", "^"]\n'
        f'[[tables]]\n{TABLE}[labels]\nclass = "{{dx}}"\n[groups]\ngroup = "{{series}}"\n'
    )
    listing = list_recipe(folder, thinned)
    kept = [image.file for image in listing.images]
    assert [file for file in kept if file.startswith("s1")] == [f"s1/{n:03d}.png" for n in (1, 5, 15, 25, 35)]
    assert "s2/001.png" in kept and "lone.png" in kept
    assert listing.num_inputs == len(files) + 1
    assert set(reasons(listing).values()) == {"thinned"}


def test_an_unknown_split_is_an_error_and_a_patient_in_two_splits_can_be_held_out_whole(root):
    folder = root("train/p1_a.png", "test/p1_b.png", "train/p2_a.png", "train/p1_c.png")
    text = '[images]\ninclude = "*/*.png"\npath = "(?P<part>[a-z]+)/(?P<p>p[0-9])"\n[groups]\npatient = "{p}"\n'
    split = '[split]\nfield = "{part}"\nconflict = "hold_out"\n'
    listing = list_recipe(folder, recipe(text + split))
    assert {image.file: image.split for image in listing.images} == {
        "train/p1_a.png": "test", "test/p1_b.png": "test", "train/p1_c.png": "test", "train/p2_a.png": "train",
    }  # fmt: skip
    root("holdout/p3.png")
    with pytest.raises(ConfigError, match="a split has a value"):
        list_recipe(folder, recipe(text + split))


def test_the_frames_of_an_array_take_their_classes_from_the_array_of_labels(root):
    folder = root()
    folder.mkdir(exist_ok=True)
    pixels = np.zeros((3, 4, 4), np.uint8)
    np.savez(folder / "m.npz", train_images=pixels, train_labels=np.array([[0], [1], [0]], np.uint8))
    arrays = (
        'images = "train_images.npy"\nlabels = "train_labels.npy"\nsplit = "train"\nnames = { 0 = "benign", 1 = "bad" }'
    )
    listing = list_recipe(folder, recipe(f'[[arrays]]\nfile = "m.npz"\n{arrays}\n'))
    (image,) = listing.images
    assert (image.file, image.member, image.split) == ("m.npz/train_images.npy", "train_images.npy", "train")
    assert image.frame_labels == ("benign", "bad", "benign")
    with pytest.raises(ConfigError, match="does not explain"):
        list_recipe(folder, recipe(f'[[arrays]]\nfile = "m.npz"\n{arrays.replace("1 =", "2 =")}\n'))
    np.savez(folder / "m.npz", train_images=pixels, train_labels=np.array([None, {}, 1], object))
    with pytest.raises(ConfigError, match="cannot be read"):
        list_recipe(folder, recipe(f'[[arrays]]\nfile = "m.npz"\n{arrays}\n'))


def test_a_root_without_an_image_or_a_table_is_an_error_that_says_what_was_looked_for(root):
    with pytest.raises(ConfigError, match="finds no image") as caught:
        list_recipe(root("a.jpg"), recipe(""))
    assert (caught.value.expected, caught.value.found) == ("**/*.png", "1 other files")
    with pytest.raises(ConfigError, match="table of the recipe is not there"):
        list_recipe(root("a.png"), CLASS)
    with pytest.raises(ConfigError, match="not a folder"):
        list_recipe(root("a.png") / "nowhere", CLASS)


def test_several_sources_are_one_listing_and_two_of_one_name_are_refused(root):
    folder = root("1.png", labels="id,dx\n1,x\n")
    other = parse(Recipe, {**HEAD, "name": "other", "modality": "ct", "images": {"include": "*.png"}, "digest": "d"})
    listing = list_sources([(folder, CLASS), (folder, other)])
    assert [(image.modality, image.dataset) for image in listing.images] == [("ct", "other"), ("us", "set")]
    assert listing.recipes == {"ct/other": "d", "us/set": ""}
    with pytest.raises(ConfigError, match="two recipes give one dataset name"):
        list_sources([(folder, CLASS), (folder, CLASS)])


def test_a_listing_with_a_join_takes_a_moment_per_ten_thousand_files(root):
    folder = root("labels.csv")
    for part in range(10):
        (folder / f"{part}").mkdir(parents=True)
        for number in range(1000):
            (folder / f"{part}" / f"{1000 * part + number:05d}.png").touch()
    rows = "".join(f"{n:05d},c{n % 7},{n // 3}\n" for n in range(10_000))
    (folder / "labels.csv").write_text("id,dx,p\n" + rows)
    begin_s = time.process_time()
    listing = list_recipe(folder, CLASS)
    assert len(listing.images) == 10_000
    assert time.process_time() - begin_s < 3.0
