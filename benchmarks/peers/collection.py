"""Images to a packed collection: tar shards with indexes and a manifest, for us and for peers over our index."""

from pathlib import Path

from PIL import Image

from mermed.contract import MANIFEST_NAME, EncodedSample, Manifest, SampleMeta
from mermed.pack.collection.writer import ShardWriter
from peers.border import keyed_images

SHARD_BYTES = 1 << 26


def write_collection(images: Path, out: Path) -> None:
    """Tar shards with indexes and a manifest, by the writer of the packer."""
    out.mkdir(parents=True, exist_ok=True)
    writers: dict[str, ShardWriter] = {}
    for key, path in keyed_images(images):
        modality = key.partition("-")[0]
        if modality not in writers:
            writers[modality] = ShardWriter(
                folder=out, modality=modality, dataset="bench", split="train", shard_bytes=SHARD_BYTES
            )
        width, height = Image.open(path).size
        meta = SampleMeta(
            key=key,
            modality=modality,
            dataset="bench",
            split="train",
            group=key,
            width=width,
            height=height,
            source_bits=8,
        )
        writers[modality].add(EncodedSample(meta, path.read_bytes(), "jpg"))
    rows = []
    for writer in writers.values():
        writer.close()
        rows += writer.rows
    (out / MANIFEST_NAME).write_bytes(Manifest(shards=tuple(rows)).encode())
