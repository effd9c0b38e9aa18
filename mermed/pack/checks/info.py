"""Info: what a collection holds, as plain values for a table or for JSON."""

from collections import defaultdict
from typing import Any

from mermed.contract import Manifest, ShardRow


def describe(manifest: Manifest) -> dict[str, Any]:
    """Everything worth knowing of a collection: sources with samples, shards, bytes and patterns; labels; totals."""
    by_source: defaultdict[str, list[ShardRow]] = defaultdict(list)
    for row in manifest.shards:
        by_source[row.source].append(row)
    return {
        "digest": manifest.digest,
        "format_version": manifest.format_version,
        "tool": manifest.tool,
        "recipes": manifest.recipes,
        "totals": manifest.totals,
        "modalities": list(manifest.modalities),
        "sources": [_describe_source(rows) for _, rows in sorted(by_source.items())],
        "labels": manifest.labels,
        "stats": manifest.stats,
    }


def _describe_source(rows: list[ShardRow]) -> dict[str, Any]:
    first = rows[0]
    return {
        "modality": first.modality,
        "dataset": first.dataset,
        "split": first.split,
        "samples": sum(row.samples for row in rows),
        "shards": len(rows),
        "bytes": sum(row.bytes for row in rows),
        "pattern": brace_pattern([row.name for row in rows]),
    }


def brace_pattern(names: list[str]) -> str:
    """Consecutive shard names in one, as webdataset and the shell expand it: `cxr-train-{000000..000003}.tar`."""
    numbers = sorted(name.removesuffix(".tar")[-6:] for name in names)
    stem = names[0].removesuffix(".tar")[:-6]
    return f"{stem}{numbers[0]}.tar" if len(names) == 1 else f"{stem}{{{numbers[0]}..{numbers[-1]}}}.tar"
