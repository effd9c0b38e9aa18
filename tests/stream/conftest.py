"""Manifests without shards, for the parts of the stream that are arithmetic."""

import pytest

from mermed.contract import Manifest, ShardRow


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
