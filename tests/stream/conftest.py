"""Manifests without shards, for the parts of the stream that are arithmetic, and collections of tiny shards."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mermed import tar
from mermed.contract import Manifest, SampleMeta, ShardRow


def shard_row(modality, dataset, number, samples, split="train"):
    return ShardRow(
        name=f"{modality}/{split}/{modality}-{split}-{number:06d}.tar",
        modality=modality,
        dataset=dataset,
        split=split,
        samples=samples,
        bytes=samples * 1000,
        sha256="0" * 64,
        index_sha256="0" * 64,
    )


@pytest.fixture(name="shard_row")
def make_row():
    """Make a row: `shard_row(modality, dataset, number, samples, split="train")`."""
    return shard_row


@pytest.fixture
def manifest():
    """Three modalities, one with two datasets, one smaller than its share of a batch, one split held out."""
    return Manifest(
        shards=(
            shard_row("cxr", "nih", 0, 40),
            shard_row("cxr", "nih", 1, 23),
            shard_row("cxr", "pediatric", 2, 100),
            shard_row("oct", "few", 0, 3),
            shard_row("us", "busi", 0, 70),
            shard_row("us", "busi", 0, 9, split="test"),
        )
    )


@pytest.fixture
def tiny_world(tmp_path):
    """Write a collection of tiny JPEGs: `write({"us/busi": [5, 4], "oct/few": [3]})` makes shards of so many samples.

    `image_of(key)` may give other bytes, and their size, for some samples.
    """

    def write(sources, name="world", image_of=None):
        rows = []
        for source, sizes in sources.items():
            modality, dataset = source.split("/")
            for samples in sizes:
                number = sum(row.modality == modality for row in rows)
                rows.append(_write_tiny(tmp_path / name, (modality, dataset, number), samples, image_of))
        manifest = Manifest(shards=tuple(rows), totals={}, tool={"mermed": "test"})
        (tmp_path / name / "manifest.json").write_bytes(manifest.encode())
        return tmp_path / name

    return write


def _write_tiny(folder, source, samples, image_of):
    modality, dataset, number = source
    path = folder / modality / "train" / f"{modality}-train-{number:06d}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(samples):
            key = f"{dataset}-{number}-{index:03d}"
            encoded, extension, (width, height) = (image_of and image_of(key)) or _tiny_jpeg(key)
            facts = {"group": key, "width": width, "height": height, "source_bits": 8}
            meta = SampleMeta(key=key, modality=modality, dataset=dataset, split="train", **facts)
            for suffix, content in ((extension, encoded), ("json", meta.encode(encoded))):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    content = path.read_bytes()
    name = path.relative_to(folder).as_posix()
    index = tar.format_index(tar.scan(lambda at, size: content[at : at + size], len(content), name)).encode()
    path.with_suffix(".idx").write_bytes(index)
    row = shard_row(modality, dataset, number, samples)
    digests = {"sha256": hashlib.sha256(content).hexdigest(), "index_sha256": hashlib.sha256(index).hexdigest()}
    return replace(row, bytes=len(content), **digests)


def _tiny_jpeg(key):
    """A picture of 24 x 16 that is the key's own."""
    noise = np.frombuffer(hashlib.shake_128(key.encode()).digest(24 * 16), np.uint8).reshape(16, 24)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    return buffer.getvalue(), "jpg", (24, 16)
