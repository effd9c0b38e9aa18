"""The cards of a collection: read back by the tools they are made for, with nothing in them that tells who it is of."""

import csv
import io
import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mermed.contract import SampleMeta, load_manifest
from mermed.pack.checks.verify import verify
from mermed.pack.pages.card import HUB_SPLITS, card_files, write_card
from mermed.pack.pages.croissant import SplitList, croissant

# Deprecations and open files of the foreign libraries are not ours to mend.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
needs_datasets = pytest.mark.skipif(not find_spec("datasets"), reason="datasets is not installed")
GOLDEN = Path(__file__).resolve().parents[2] / "shards" / "golden" / "v1"
CARDS = {
    "one": {"licence": "CC-BY-4.0", "access": "open", "redistribution": True, "citation": "Doe | al, 2020"},
    "ct/two": {
        "licence": "CC0-1.0",
        "access": "agreement",
        "redistribution": False,
        "flaws": ["text <b>burned</b> in"],
    },
}


def picture(seed, mode="L"):
    shape = (24, 32, 3) if mode == "RGB" else (24, 32)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8), mode)


def sample(number, **changes):
    fields = {"modality": "us", "dataset": "one", "split": "train", "labels": {"class": "benign"}, **changes}
    fields = {"key": f"{fields['dataset']}-{number}", "group": f"{number:020x}", **fields}
    return SampleMeta(width=32, height=24, source_bits=8, **fields)


@pytest.fixture
def folder(build_collection):
    """Fields that are null in the first samples and not in later ones, both codecs, classes and findings."""
    late = {"window": (40.0, 400.0), "spacing_mm": (0.5, 0.25), "frame": 3, "crop": (0, 0, 8, 8), "licence": "CC0-1.0"}
    samples = [(sample(number), picture(number, "RGB"), "jpg") for number in range(7)]
    samples += [(sample(7, steps=("crop", "resize"), labels={}, **late), picture(7), "png")]
    samples += [(sample(8, split="val"), picture(8), "jpg"), (sample(9, split="test"), picture(9), "jpg")]
    findings = {"findings": {"Pleural Effusion": 1, "mass": None}}
    samples += [(sample(10, modality="ct", dataset="two", labels=findings, **late), picture(10), "jpg")]
    made = build_collection(samples)
    with (made / "splits.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "split", "group", "modality", "dataset", "label"))
        for meta, _, _ in samples:
            label = meta.labels.get("class", "")
            writer.writerow((meta.key, meta.split, meta.group, meta.modality, meta.dataset, label))
    return made


def front_matter(folder):
    yaml = pytest.importorskip("yaml")
    text = (folder / "README.md").read_text("utf-8")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_built_collection_is_one(folder):
    assert verify(folder).problems == ()


def test_the_front_matter_names_a_configuration_per_modality_and_its_splits(folder):
    write_card(load_manifest(folder), CARDS, folder)
    front = front_matter(folder)
    assert front["configs"] == [
        {"config_name": "ct", "data_files": [{"split": "train", "path": "ct/train/ct-train-*.tar"}]},
        {
            "config_name": "us",
            "data_files": [
                {"split": "train", "path": "us/train/us-train-*.tar"},
                {"split": "validation", "path": "us/val/us-val-*.tar"},
                {"split": "test", "path": "us/test/us-test-*.tar"},
            ],
        },
    ]
    assert front["license"] == ["cc-by-4.0", "cc0-1.0"]
    assert front["size_categories"] == ["n<1K"]
    assert {"medical", "ct", "us"} <= set(front["tags"])
    for config in front["configs"]:
        assert all(list(folder.glob(entry["path"])) for entry in config["data_files"])


def test_a_licence_that_is_unknown_or_not_stated_is_never_called_open(folder):
    manifest = load_manifest(folder)
    for cards in ({}, {"one": CARDS["one"]}, {**CARDS, "ct/two": {"licence": "ask the hospital"}}):
        write_card(manifest, cards, folder)
        assert front_matter(folder)["license"] == ["other"]


def test_the_declared_types_are_exactly_those_of_a_sample(folder):
    write_card(load_manifest(folder), CARDS, folder)
    infos = {
        info["config_name"]: {f["name"]: f for f in info["features"]} for info in front_matter(folder)["dataset_info"]
    }
    assert set(infos["us"]) == {"jpg", "png", "json", "__key__", "__url__"}
    assert set(infos["ct"]) == {"jpg", "json", "__key__", "__url__"}
    declared = {field["name"] for field in infos["us"]["json"]["struct"]}
    assert declared == set(json.loads(sample(1).encode(b"")))
    labels = next(field for field in infos["ct"]["json"]["struct"] if field["name"] == "labels")["struct"]
    assert [field["name"] for field in labels[1]["struct"]] == ["Pleural Effusion", "mass"]


def test_a_licence_of_the_samples_counts_where_no_card_has_one(folder):
    manifest, files = load_manifest(folder), {"us/one": "MIT", "ct/two": "MIT", "gone/x": "MIT"}
    texts = [
        card_files(manifest, cards, read=lambda name: (folder / name).read_bytes(), licences=files)[
            "README.md"
        ].decode()
        for cards in ({}, CARDS)
    ]
    assert "| us/one | 8 | 1 | 1 | MIT |" in texts[0]
    assert '- "mit"' in texts[0]
    assert "| us/one | 8 | 1 | 1 | CC-BY-4.0 |" in texts[1]
    assert "MIT" not in texts[1]


def test_words_of_a_card_cannot_become_markup_or_break_its_table(folder):
    cards = {"one": {**CARDS["one"], "licence": "a | b\n# <script>", "flaws": ["*x*\n---\n"]}}
    write_card(load_manifest(folder), cards, folder)
    text = (folder / "README.md").read_text("utf-8")
    assert text.splitlines().count("---") == 2
    assert "a \\| b # \\<script\\>" in text
    assert "- us/one: \\*x\\* ---" in text
    assert "| us/one | 8 | 1 | 1 |" in text


def test_equal_collections_have_equal_cards_wherever_they_lie(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    for place in (folder, tmp_path / "elsewhere"):
        write_card(load_manifest(place), CARDS, place)
    for name in ("README.md", "croissant.json"):
        assert (folder / name).read_bytes() == (tmp_path / "elsewhere" / name).read_bytes()
        assert str(tmp_path).encode() not in (folder / name).read_bytes()


def test_the_cards_of_a_collection_in_any_place_are_made_from_its_indices(folder):
    asked = []

    def read(name):
        asked.append(name)
        return (folder / name).read_bytes()

    files = card_files(load_manifest(folder), CARDS, read=read)
    assert sorted(files) == ["README.md", "croissant.json"]
    assert asked
    assert all(name.endswith(".idx") for name in asked)


def mlcroissant_dataset(folder, monkeypatch, tmp_path):
    mlc = pytest.importorskip("mlcroissant")
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    # Its cache lies in the home folder, by the path of an archive and not by its content.
    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "extracted"))
    return mlc.Dataset(str(folder / "croissant.json"))


def test_croissant_is_valid_for_its_own_library(folder, monkeypatch, tmp_path):
    write_card(load_manifest(folder), CARDS, folder)
    dataset = mlcroissant_dataset(folder, monkeypatch, tmp_path)
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert [warning for warning in issues.warnings if "datePublished" not in str(warning)] == []
    assert dataset.metadata.license == ["CC-BY-4.0", "CC0-1.0"]


def test_croissant_gives_every_image_with_its_split_and_label(folder, monkeypatch, tmp_path):
    write_card(load_manifest(folder), CARDS, folder)
    dataset = mlcroissant_dataset(folder, monkeypatch, tmp_path)
    records = {record["us/key"].decode(): record for record in dataset.records("us")}
    assert set(records) == {f"one-{number}" for number in range(10)}
    assert [records[f"one-{number}"]["us/split"] for number in (0, 8, 9)] == [b"train", b"val", b"test"]
    assert (records["one-0"]["us/label"], records["one-7"]["us/label"]) == (b"benign", None)
    # The PNG is lossless.
    assert np.array_equal(np.asarray(records["one-7"]["us/image"]), np.asarray(picture(7)))


def test_without_a_split_list_croissant_gives_keys_and_images(folder, monkeypatch, tmp_path):
    (folder / "splits.csv").unlink()
    write_card(load_manifest(folder), CARDS, folder)
    dataset = mlcroissant_dataset(folder, monkeypatch, tmp_path)
    records = list(dataset.records("ct"))
    assert [sorted(record) for record in records] == [["ct/image", "ct/key"]]


def test_croissant_names_the_bytes_it_describes(folder):
    splits = SplitList.of(io.BytesIO((folder / "splits.csv").read_bytes()))
    manifest = load_manifest(folder)
    content = json.loads(croissant(manifest, title="t", description="d", splits=splits))
    shards = {entry["@id"]: entry for entry in content["distribution"] if entry["@type"] == "cr:FileObject"}
    for row in manifest.shards:
        assert shards[row.name]["sha256"] == row.sha256
        assert shards[row.name]["contentSize"] == f"{row.bytes} B"
    import hashlib

    assert shards["splits.csv"]["sha256"] == hashlib.sha256((folder / "splits.csv").read_bytes()).hexdigest()
    identifiers = [entry["@id"] for entry in (*content["distribution"], *content["recordSet"])]
    assert len(identifiers) == len(set(identifiers))


def load_with_datasets(folder, name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), name, cache_dir=str(tmp_path / "cache"))


@needs_datasets
def test_hugging_face_datasets_loads_every_configuration_with_its_splits(folder, tmp_path, monkeypatch):
    write_card(load_manifest(folder), CARDS, folder)
    loaded = load_with_datasets(folder, "us", tmp_path, monkeypatch)
    assert {name: len(split) for name, split in loaded.items()} == {"train": 8, "validation": 1, "test": 1}
    rows = {row["__key__"]: row for row in loaded["train"]}
    assert rows["one-0"]["json"]["labels"]["class"] == "benign"
    late = rows["one-7"]
    assert (late["json"]["window"], late["json"]["crop"], late["json"]["steps"]) == (
        [40.0, 400.0],
        [0, 0, 8, 8],
        ["crop", "resize"],
    )
    assert (late["jpg"], rows["one-0"]["png"]) == (None, None)
    assert np.array_equal(np.asarray(late["png"]), np.asarray(picture(7)))
    other = load_with_datasets(folder, "ct", tmp_path, monkeypatch)["train"][0]["json"]
    assert other["labels"]["findings"] == {"Pleural Effusion": 1, "mass": None}


def test_the_golden_collection_gets_a_card(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "golden")
    manifest = load_manifest(tmp_path / "golden")
    write_card(manifest, {}, tmp_path / "golden")
    assert [config["config_name"] for config in front_matter(tmp_path / "golden")["configs"]] == list(
        manifest.modalities
    )
    text = (tmp_path / "golden" / "README.md").read_text()
    assert f'"{HUB_SPLITS["train"]}"' in text
    assert manifest.digest in text


def test_a_large_collection_is_put_into_its_size(folder):
    manifest = load_manifest(folder)
    for samples, expected in ((10**3, "1K<n<10K"), (5 * 10**6, "1M<n<10M"), (10**7, "10M<n<100M")):
        many = replace(manifest, shards=(replace(manifest.shards[0], samples=samples),))
        text = card_files(many, {}, read=lambda name: (folder / name).read_bytes())["README.md"].decode()
        assert f'- "{expected}"' in text
