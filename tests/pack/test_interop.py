"""Our shards in other people's readers: tarfile, webdataset and DALI, all unchanged."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from mermed.contract import load_manifest
from mermed.tar import check_shard


@pytest.fixture(scope="module")
def shard(collection):
    """A colour shard with more than two samples: its path, its row and its samples as we read them."""
    row = next(row for row in load_manifest(collection).shards if row.modality == "path" and row.samples > 2)
    path = collection / row.name
    return path, list(check_shard(path, row))


def test_tarfile_reads_the_same_samples(shard):
    path, samples = shard
    with tarfile.open(path) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}
    assert list(content) == [f"{s.meta.key}.{e}" for s in samples for e in (s.extension, "json")]
    for sample in samples:
        assert content[f"{sample.meta.key}.jpg"] == sample.image
        assert json.loads(content[f"{sample.meta.key}.json"])["group"] == sample.meta.group


@pytest.mark.filterwarnings("ignore")  # webdataset leaves the shard open
def test_webdataset_reads_the_same_samples_without_its_pickle_decoders(shard):
    webdataset = pytest.importorskip("webdataset")
    path, samples = shard
    before = webdataset.utils.enforce_security
    webdataset.utils.enforce_security = True
    try:
        read = list(webdataset.WebDataset(str(path), shardshuffle=False))
    finally:
        webdataset.utils.enforce_security = before
    assert [item["__key__"] for item in read] == [sample.meta.key for sample in samples]
    assert [item["jpg"] for item in read] == [sample.image for sample in samples]
    assert [json.loads(item["json"])["labels"] for item in read] == [sample.meta.labels for sample in samples]


@pytest.mark.filterwarnings("ignore")
def test_dali_reads_the_same_samples_through_our_index(shard):
    pytest.importorskip("nvidia.dali")
    from nvidia.dali import fn, pipeline_def

    path, samples = shard

    @pipeline_def(batch_size=len(samples), num_threads=1, device_id=None)
    def read():
        image, meta = fn.readers.webdataset(
            paths=[str(path)], index_paths=[str(path.with_suffix(".idx"))], ext=["jpg", "json"]
        )
        return image, fn.decoders.image(image, device="cpu"), meta

    pipeline = read()
    pipeline.build()
    encoded, decoded, metas = pipeline.run()
    for place, sample in enumerate(samples):
        assert bytes(encoded.at(place)) == sample.image
        assert json.loads(bytes(metas.at(place)))["key"] == sample.meta.key
        expected = np.asarray(Image.open(io.BytesIO(sample.image)).convert("RGB"), int)
        assert np.abs(decoded.at(place).astype(int) - expected).max() <= 2
