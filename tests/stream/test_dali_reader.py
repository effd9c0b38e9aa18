"""DALI's own WebDataset reader over our shards: every sample once, with the bytes that we read."""

import json
from collections import Counter

import numpy as np
import pytest

from mermed import tar
from mermed.contract import load_manifest

dali = pytest.importorskip("nvidia.dali")
fn = pytest.importorskip("nvidia.dali.fn")

BATCH = 8


def _by_dali(folder, rows, **options):
    """The (image bytes, JSON) of one epoch of DALI's reader, in its order."""
    pipeline = dali.Pipeline(batch_size=BATCH, num_threads=1, device_id=None, seed=0)
    with pipeline:
        outputs = fn.readers.webdataset(
            paths=[str(folder / row.name) for row in rows],
            index_paths=[str(folder / row.index_name) for row in rows],
            ext=["jpg;png", "json"],
            missing_component_behavior="error",
            name="shards",
            **options,
        )
        pipeline.set_outputs(*outputs)
    pipeline.build()
    count = pipeline.epoch_size("shards")
    samples = []
    while len(samples) < count:
        images, metas = pipeline.run()
        for at in range(len(images)):
            samples.append((np.asarray(images.at(at)).tobytes(), json.loads(np.asarray(metas.at(at)).tobytes())))
    return samples[:count]


def _by_us(folder, rows):
    """Key and image bytes of every sample, read through our index."""
    samples = []
    for row in rows:
        content = (folder / row.name).read_bytes()
        for span in tar.parse_index((folder / row.index_name).read_text(), row.name):
            samples.append((span.key, content[span.image.offset : span.image.offset + span.image.size]))
    return samples


def test_an_epoch_is_every_sample_once_in_stored_order_with_its_bytes(collection):
    rows = load_manifest(collection).shards
    theirs, ours = _by_dali(collection, rows), _by_us(collection, rows)
    assert [(meta["key"], image) for image, meta in theirs] == ours
    assert len(ours) == sum(row.samples for row in rows)


def test_its_shuffle_loses_and_repeats_nothing(collection):
    rows = load_manifest(collection).shards
    shuffled = _by_dali(collection, rows, random_shuffle=True, initial_fill=16)
    ours = _by_us(collection, rows)
    assert [meta["key"] for _, meta in shuffled] != [key for key, _ in ours]
    assert Counter((meta["key"], image) for image, meta in shuffled) == Counter(ours)
