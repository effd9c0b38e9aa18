"""Features: equal to the encoder called by hand, made once, made again when anything they depend on changes."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from mermed.augment.policy import Normalisation
from mermed.eval import features as features_module
from mermed.eval.collection import open_collection
from mermed.eval.features import FeatureCache, Transform, extract, load_features, parts_of, weights_digest
from mermed.model.weights import encoder_from_run
from mermed.stream.reader import SampleReader
from mermed.stream.scan import ManifestOrder
from mermed.stream.store import open_store

QUIET = Console(file=io.StringIO())
CPU = torch.device("cpu")


@pytest.fixture
def collection(small_collection):
    return open_collection(small_collection)


@pytest.fixture
def encoders(small_run):
    return {name: encoder_from_run(small_run, name, 0)[0] for name in ("teacher", "random")}


def transform_of(collection, mean=0.4):
    shape = (len(collection.modalities), 3)
    constants = Normalisation(mean=np.full(shape, mean, np.float32), std=np.full(shape, 0.2, np.float32))
    return Transform(canvas_px=32, side_px=32, modalities=collection.modalities, normalisation=constants)


def caches_of(folder, encoders, transform, collection):
    digests = {name: weights_digest(encoder, "test_vit") for name, encoder in encoders.items()}
    return {name: FeatureCache(folder, digest, transform, collection) for name, digest in digests.items()}


def make(folder, encoders, collection, transform=None):
    transform = transform or transform_of(collection)
    caches = caches_of(folder, encoders, transform, collection)
    extract(encoders, caches, collection, transform, device=CPU, num_threads=1, console=QUIET)
    return caches


def test_features_equal_the_encoder_called_by_hand_in_manifest_order(collection, encoders, tmp_path):
    cache = make(tmp_path, encoders, collection)["teacher"]
    table = load_features(cache, collection, "both")
    reader = SampleReader(open_store(collection.folder))
    order = ManifestOrder(collection.rows, collection.manifest.modalities)
    for place in (0, 47, 85):
        sample = reader.read(order.batch(range(place, place + 1))[0])
        assert sample.meta == collection.metas[place]
        grey = np.asarray(Image.open(io.BytesIO(sample.image)), np.float32) / 255
        image = torch.from_numpy((grey - 0.4) / 0.2).expand(1, 3, 32, 32)
        with torch.no_grad():
            tokens = encoders["teacher"].forward_features(image)
        by_hand = torch.cat([tokens[0, 0], tokens[0, encoders["teacher"].num_prefix_tokens :].mean(0)])
        torch.testing.assert_close(table[place], by_hand, atol=2e-3, rtol=1e-3)


def test_only_labelled_datasets_are_read(collection):
    assert {row.dataset for row in collection.rows} == {"blobs", "few"}
    assert len(collection.metas) == 86


def test_features_are_made_once(collection, encoders, tmp_path, monkeypatch):
    make(tmp_path, encoders, collection)

    def fail(*_, **__):
        raise AssertionError("images were read again")

    monkeypatch.setattr(features_module, "canvases_in_order", fail)
    make(tmp_path, encoders, collection)


def test_a_restart_makes_the_missing_parts_and_no_others(collection, encoders, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "parts_of", lambda rows: parts_of(rows, 20))
    caches = make(tmp_path, encoders, collection)
    before = {name: load_features(cache, collection, "cls") for name, cache in caches.items()}
    assert len(list(caches["teacher"].folder.glob("*.safetensors"))) == 3
    (caches["teacher"].folder / "part-00001.json").unlink()
    damaged = caches["random"].folder / "part-00002.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    read = []
    real = features_module.canvases_in_order
    monkeypatch.setattr(
        features_module,
        "canvases_in_order",
        lambda folder, rows, *a, **k: read.append(rows) or real(folder, rows, *a, **k),
    )
    again = make(tmp_path, encoders, collection)
    assert [[row.name for row in rows] for rows in read] == [
        [row.name for row in rows] for rows in parts_of(collection.rows, 20)[1:]
    ]
    for name, table in before.items():
        assert torch.equal(table, load_features(again[name], collection, "cls"))


def test_other_weights_transform_or_data_have_features_of_their_own(collection, encoders, tmp_path):
    transform = transform_of(collection)
    base = caches_of(tmp_path, encoders, transform, collection)
    other_manifest = replace(collection, manifest=replace(collection.manifest, totals={"inputs": 1}))
    folders = {
        base["teacher"].folder,
        base["random"].folder,
        caches_of(tmp_path, encoders, transform_of(collection, mean=0.5), collection)["teacher"].folder,
        caches_of(tmp_path, encoders, replace(transform, side_px=16), collection)["teacher"].folder,
        caches_of(tmp_path, encoders, transform, other_manifest)["teacher"].folder,
        FeatureCache(tmp_path, weights_digest(encoders["teacher"], "another_vit"), transform, collection).folder,
    }
    assert len(folders) == 6


def test_a_seal_of_other_weights_is_not_believed(collection, encoders, tmp_path):
    caches = make(tmp_path, encoders, collection)
    shutil.rmtree(caches["random"].folder)
    shutil.copytree(caches["teacher"].folder, caches["random"].folder)
    assert caches["random"].load(0, len(collection.metas)) is None
    seal = json.loads((caches["teacher"].folder / "part-00000.json").read_text())
    assert set(seal["about"]) == {"weights", "transform", "data"}


def test_batch_and_threads_change_nothing_that_matters(collection, encoders, tmp_path, monkeypatch):
    one = load_features(make(tmp_path / "a", encoders, collection)["teacher"], collection, "cls")
    monkeypatch.setitem(features_module._BATCH, "cpu", 7)
    two = load_features(make(tmp_path / "b", encoders, collection)["teacher"], collection, "cls")
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_parts_are_whole_shards(collection):
    parts = parts_of(collection.rows, 20)
    assert [row for part in parts for row in part] == list(collection.rows)
    assert [sum(row.samples for row in part) for part in parts] == [40, 40, 6]
