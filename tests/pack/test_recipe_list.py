"""A recipe over a folder: tables, labels, groups and splits, in whatever dialect they are written."""

import time
import zipfile
from functools import partial

import numpy as np
import pytest
from small_recipes import CLASS, HEAD, TABLE, classes, reasons, recipe, write_root

from mermed.errors import ConfigError
from mermed.pack.recipes.lister import list_recipe, list_sources
from mermed.pack.recipes.parse import parse
from mermed.pack.recipes.recipe import Recipe


@pytest.fixture
def root(tmp_path):
    """A writer of files below tmp_path/root."""
    return partial(write_root, tmp_path / "root")


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
    folder = root(labels="id,dx,p\n" + "".join(f"{n:05d},c{n % 7},{n // 3}\n" for n in range(10_000)))
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number in range(10_000):
            archive.writestr(f"{number // 1000}/{number:05d}.png", b"")
    begin_s = time.process_time()
    listing = list_recipe(folder, CLASS)
    assert len(listing.images) == 10_000
    assert time.process_time() - begin_s < 3.0
