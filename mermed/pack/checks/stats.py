"""Stats: the mean and standard deviation of each modality's training images, read from the shards again."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from mermed.contract import Manifest
from mermed.errors import IntegrityError
from mermed.pack.pixels.display import to_display
from mermed.pack.pixels.encode import decode_image
from mermed.pack.pixels.moments import MomentTable, image_moments
from mermed.tar import check_shard

TOLERANCE = 1e-3
"""How far a constant may lie from the manifest's: decoders of other builds round JPEG by less than this."""


def compute_stats(folder: Path, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """`{modality: {"mean", "std", "images"}}` over the train split, in [0, 1].

    Raises IntegrityError or ContractError for a shard that is not as it was packed.
    """
    tables: defaultdict[str, MomentTable] = defaultdict(MomentTable)
    for row in manifest.shards:
        if row.split == "train":
            for sample in check_shard(folder / row.name, row):
                shown = to_display(decode_image(sample.image, sample.extension), sample.meta)
                tables[row.modality].add(image_moments(shown))
    return {modality: table.summary() for modality, table in sorted(tables.items())}


def check_stats(computed: dict[str, dict[str, Any]], manifest: Manifest) -> None:
    """Raise IntegrityError when the manifest's constants are not those of its shards."""
    for modality in sorted({*computed, *manifest.stats}):
        stated, found = manifest.stats.get(modality), computed.get(modality)
        if stated is None or found is None or not _close(stated, found):
            raise IntegrityError(
                "the manifest's constants are not those of its shards",
                where={"modality": modality},
                expected=stated,
                found=found,
                next_step="pack the collection again",
            )


def _close(stated: dict[str, Any], found: dict[str, Any]) -> bool:
    pairs = zip([*stated["mean"], *stated["std"]], [*found["mean"], *found["std"]], strict=True)
    return stated["images"] == found["images"] and all(abs(one - other) <= TOLERANCE for one, other in pairs)
