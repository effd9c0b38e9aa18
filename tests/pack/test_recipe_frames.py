"""Frames of arrays and rows of JSON: every frame has its own label and group, every list its row numbers."""

import json
import tomllib

import numpy as np
import pytest

from mermed.errors import ConfigError
from mermed.pack.readers.raw import RawImage
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.parse import parse
from mermed.pack.recipes.recipe import Recipe

HEAD = {
    "name": "set",
    "modality": "us",
    "title": "Set",
    "fingerprint": "x",
    "card": {"licence": "CC0", "access": "open"},
}
ARRAY = '[[arrays]]\nfile = "m.npz"\nimages = "images.npy"\nlabels = "labels.npy"\n'


def recipe(text):
    return parse(Recipe, {**HEAD, **tomllib.loads(text)})


def write_npz(root, labels, name="m.npz"):
    np.savez(root / name, images=np.zeros((len(labels), 4, 4), np.uint8), labels=np.asarray(labels))


def test_several_findings_per_frame_are_three_valued(tmp_path):
    write_npz(tmp_path, np.array([[1, 0], [0, 0], [-1, 1]], np.int8))
    (image,) = list_recipe(tmp_path, recipe(ARRAY + 'findings = ["Mass", "Edema"]\n')).images
    assert image.frame_labels == ("10", "00", "?1")
    assert image.labels_of(2) == {"findings": {"Mass": None, "Edema": 1}}
    assert image.labels_of(None) == {}


@pytest.mark.parametrize(
    ("labels", "rule", "match"),
    [
        ([[1, 0], [0, 0]], "", "another shape"),
        ([[1, 0], [0, 0]], 'findings = ["Mass", "Edema", "Nodule"]\n', "another shape"),
        ([[1, 0], [7, 0]], 'findings = ["Mass", "Edema"]\n', "does not explain"),
        ([0, 7], 'names = { 0 = "a" }\n', "does not explain"),
    ],
)
def test_labels_of_another_shape_or_value_are_refused(tmp_path, labels, rule, match):
    write_npz(tmp_path, labels)
    with pytest.raises(ConfigError, match=match):
        list_recipe(tmp_path, recipe(ARRAY + rule))


def test_frames_of_one_slide_stay_together(tmp_path):
    write_npz(tmp_path, [0, 1, 0])
    (tmp_path / "meta.csv").write_text(",x,wsi\n0,5,slide_a\n1,6,slide_b\n2,7,slide_a\n")
    rule = recipe(ARRAY + 'groups_file = "{stem}eta.csv"\ngroups = "wsi"\n')
    listing = list_recipe(tmp_path, rule)
    assert listing.images[0].frame_groups == ("slide_a", "slide_b", "slide_a")
    assert not listing.rejected, "the table of groups is used, not left over"
    (tmp_path / "meta.csv").write_text(",x,wsi\n0,5,slide_a\n")
    with pytest.raises(ConfigError, match="another number of rows"):
        list_recipe(tmp_path, rule)
    (tmp_path / "meta.csv").write_text(",x,slide\n0,5,slide_a\n")
    with pytest.raises(ConfigError, match="lacks a column"):
        list_recipe(tmp_path, rule)
    (tmp_path / "meta.csv").unlink()
    with pytest.raises(ConfigError, match="groups is not there"):
        list_recipe(tmp_path, rule)


def test_frames_are_packed_with_their_own_findings_and_the_group_of_their_slide(tmp_path, monkeypatch):
    from mermed.pack.listing import ListedImage
    from mermed.pack.options import PackOptions
    from mermed.pack.split import Placement
    from mermed.pack.work.sample import MadeSample, Task, make_samples

    rng = np.random.default_rng(0)
    frames = [
        RawImage(pixels=rng.integers(0, 256, (40, 40), np.uint8), scale="display", source_bits=8, frame=number)
        for number in range(3)
    ]
    monkeypatch.setattr("mermed.pack.work.sample.read_frames", lambda *_: iter(frames))
    image = ListedImage(
        modality="us",
        dataset="set",
        file="m.npz/images.npy",
        place="set/m.npz/images.npy",
        path=tmp_path / "m.npz",
        frame_labels=("10", "0?", "11"),
        frame_findings=("Mass", "Edema"),
        frame_groups=("slide_a", "slide_b", "slide_a"),
    )
    task = Task(image=image, key="us-set-" + "0" * 32, placement=Placement("train", "0" * 16))
    made = [step.meta for step in make_samples(task, PackOptions()) if isinstance(step, MadeSample)]
    assert [meta.labels["findings"] for meta in made] == [
        {"Mass": 1, "Edema": 0}, {"Mass": 0, "Edema": None}, {"Mass": 1, "Edema": 1},
    ]  # fmt: skip
    assert made[0].group == made[2].group != made[1].group


def test_of_several_sizes_only_the_preferred_one_is_listed(tmp_path):
    for name in ("m.npz", "m_64.npz", "m_224.npz"):
        write_npz(tmp_path, [0, 1], name)
    text = ARRAY.replace('"m.npz"', '["m_224.npz", "m_64.npz", "m.npz"]') + 'choose = "first"\n'
    listing = list_recipe(tmp_path, recipe(text))
    assert [image.file for image in listing.images] == ["m_224.npz/images.npy"]
    assert {row.place: row.reason for row in listing.rejected} == {
        "set/m.npz": "other_version", "set/m_64.npz": "other_version",
    }  # fmt: skip
    (tmp_path / "m_224.npz").unlink()
    assert [image.file for image in list_recipe(tmp_path, recipe(text)).images] == ["m_64.npz/images.npy"]


JSON = """[images]
include = "*.png"
[[tables]]
file = "{name}"
key = "{{name}}"
match = "{{name}}"
[labels]
class = "{{label}}"
"""


@pytest.mark.parametrize("name", ["labels.json", "labels.jsonl"])
def test_a_list_of_json_records_is_a_table(tmp_path, name):
    records = [{"name": "a.png", "label": 0}, {"label": "x", "name": "b.png", "extra": None}, {"name": "c.png"}]
    lines = "\n".join(json.dumps(record) for record in records)
    (tmp_path / name).write_text(lines if name.endswith("l") else json.dumps(records))
    for file in ("a.png", "b.png"):
        (tmp_path / file).write_bytes(b"no image")
    listing = list_recipe(tmp_path, recipe(JSON.format(name=name).replace('"{{', '"{').replace('}}"', '}"')))
    assert {image.file: image.labels for image in listing.images} == {"a.png": {"class": "0"}, "b.png": {"class": "x"}}
    assert [(row.place, row.reason) for row in listing.rejected] == [(f"set/{name}:4", "missing")]


@pytest.mark.parametrize(
    "text", ["{", '{"name": "a.png"}', "[1, 2]", '[{"name": ["a.png"], "label": 1}]', "[" * 100_000]
)
def test_json_that_is_no_list_of_flat_records_is_refused(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="JSON"):
        list_recipe(tmp_path, recipe(JSON.format(name="labels.json").replace("{{", "{").replace("}}", "}")))


def test_a_list_of_row_numbers_finds_its_rows(tmp_path):
    (tmp_path / "meta.csv").write_text("image,dx\na.png,x\nb.png,y\nc.png,x\n")
    (tmp_path / "train.csv").write_text("indexes\n2\n0\n")
    (tmp_path / "test.csv").write_text("indexes\n1\n")
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    text = """images = { include = "*.png" }
    tables = [{ file = "meta.csv", key = "{image}", match = "{name}", keep = ["#", "dx"] },
              { file = ["train.csv", "test.csv"], key = "{indexes}", match = "{#}", keep = ["table"] }]
    split = { field = "{table}" }"""
    listing = list_recipe(tmp_path, recipe(text))
    assert {image.file: image.split for image in listing.images} == {
        "a.png": "train",
        "b.png": "test",
        "c.png": "train",
    }
    assert not listing.rejected


def test_the_first_class_template_with_a_value_counts(tmp_path):
    (tmp_path / "truth.csv").write_text("id,truth\nc,tumour\nb,nan\n")
    for name in ("normal_a", "test_b", "test_c", "test_d"):
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    text = """images = { include = "*.png", path = "(?:(?P<kind>normal)|test)_(?P<id>.)" }
    tables = [{ file = "truth.csv", key = "{id}", match = "{id}" }]
    labels = { class = ["{truth}", "{kind}"] }"""
    listing = list_recipe(tmp_path, recipe(text))
    assert {image.file: image.labels.get("class") for image in listing.images} == {
        "normal_a.png": "normal", "test_b.png": None, "test_c.png": "tumour", "test_d.png": None,
    }  # fmt: skip


def test_the_first_split_template_with_a_value_counts(tmp_path):
    (tmp_path / "splits.csv").write_text("name,part\na.png,test\n")
    for name in ("train/a.png", "train/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    text = """images = { include = "*/*.png" }
    tables = [{ file = "splits.csv", key = "{name}", match = "{name}" }]
    split = { field = ["{part}", "{folder}"] }"""
    listing = list_recipe(tmp_path, recipe(text))
    assert {image.file: image.split for image in listing.images} == {"train/a.png": "test", "train/b.png": "train"}
