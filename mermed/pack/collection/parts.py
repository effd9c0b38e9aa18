"""Parts: finished shards without a number: each is named by its sha256 until it is published."""

from collections.abc import Iterable
from pathlib import Path

from mermed.contract import EncodedSample
from mermed.pack.collection.depot import Depot
from mermed.pack.collection.writer import ShardWriter
from mermed.pack.work.bucket import Source
from mermed.pack.work.ledger import PartShard

FOLDER = ".parts"
EXTENSIONS = ("tar", "idx")


def part_name(sha256: str, extension: str) -> str:
    """Where a part, or its index, lies in its collection."""
    return f"{FOLDER}/{sha256}.{extension}"


def write_parts(
    samples: Iterable[EncodedSample], source: Source, depot: Depot, workroom: Path, shard_bytes: int
) -> tuple[PartShard, ...]:
    """Write samples, in the order of their keys, as parts of at most `shard_bytes` (or one sample); all read back."""
    modality, dataset, split = source
    writer = ShardWriter(folder=workroom, modality=modality, dataset=dataset, split=split, shard_bytes=shard_bytes)
    parts: list[PartShard] = []

    def hand_over() -> None:
        for row in writer.rows[len(parts) :]:
            path = workroom / row.name
            depot.take(path.with_suffix(".idx"), part_name(row.sha256, "idx"))
            depot.take(path, part_name(row.sha256, "tar"))
            part = PartShard(samples=row.samples, bytes=row.bytes, sha256=row.sha256, index_sha256=row.index_sha256)
            parts.append(part)

    try:
        for sample in samples:
            writer.add(sample)
            hand_over()
        writer.close()
        hand_over()
    finally:
        writer.abandon()
    return tuple(parts)
