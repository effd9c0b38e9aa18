"""Show: one sample of a packed collection by its key, found over the indices without opening a shard."""

import heapq
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from mermed.contract import KEY_GRAMMAR, META_EXTENSION, EncodedSample, Manifest, ShardRow, check_name, load_manifest
from mermed.errors import ConfigError, IntegrityError
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.pixels.display import to_display
from mermed.pack.pixels.encode import decode_image
from mermed.tar import REINDEX, Span, check_index, read_sample

MAX_NEAR_KEYS = 5


@dataclass(frozen=True, slots=True)
class FoundSample:
    """A sample and the shard that holds it, named below the collection."""

    shard: str
    sample: EncodedSample

    def describe(self) -> dict[str, Any]:
        """The sample's metadata, its shard, and the extension and size of its image, as plain values."""
        image = {"shard": self.shard, "extension": self.sample.extension, "image_bytes": len(self.sample.image)}
        return {**msgspec.structs.asdict(self.sample.meta), **image}

    def picture(self) -> Image.Image:
        """The image as a screen shows it, 8-bit grey or RGB; 16 bits go through the window of the sample.

        Raises IntegrityError, naming shard and key, when it cannot be decoded.
        """
        try:
            return to_display(decode_image(self.sample.image, self.sample.extension), self.sample.meta)
        except IntegrityError as error:
            error.add_place(shard=self.shard, key=self.sample.meta.key)
            raise


def find_sample(folder: Path, key: str) -> FoundSample:
    """The sample `key` of a local collection, its seal checked.

    Raises ConfigError when the collection has no such key, ContractError for text that cannot be a key, and
    IntegrityError for a stale index or changed bytes.
    """
    check_name(key, KEY_GRAMMAR, "sample key")
    manifest = load_manifest(folder)
    for row in manifest.shards:
        text = read_index(folder, row)
        # A search of the text first: parsing every index of a large collection would take minutes.
        if f" {key}." in text:
            for span in check_index(text, row):
                if span.key == key:
                    return FoundSample(row.name, read_one(folder, row, span))
    raise ConfigError(
        "no sample has this key",
        where={"key": key},
        expected="a key of the collection",
        found=_near_words(folder, manifest, key),
        next_step=f"mermed-shard preview {folder} --out sheet.png shows samples with their keys",
    )


def read_index(folder: Path, row: ShardRow) -> str:
    """The text of a shard's index; raises IntegrityError when it is not there."""
    try:
        return (Path(folder) / row.index_name).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        raise IntegrityError(
            "the index of a shard cannot be read", where={"shard": row.name}, next_step=REINDEX
        ) from None


def read_one(folder: Path, row: ShardRow, span: Span) -> EncodedSample:
    """One sample of a shard; raises IntegrityError when the shard is not there or its bytes changed."""
    path = Path(folder) / row.name
    if not path.is_file():
        raise IntegrityError("a shard is missing", where={"shard": row.name}, next_step="mermed-shard verify DIR")
    with ShardFile(path) as shard:
        return read_sample(shard.read_at, span, row.name)


def _near_words(folder: Path, manifest: Manifest, key: str) -> str:
    """Keys that begin as `key` does, for one that was cut or mistyped at its end."""
    stem = key[: max(len(key) // 2, 1)]
    pattern = re.compile(rf" ({re.escape(stem)}[a-z0-9_-]*)\.{META_EXTENSION}$", re.MULTILINE)
    near: list[str] = []
    for row in manifest.shards:
        found = [*near, *pattern.findall(read_index(folder, row))]
        near = heapq.nsmallest(MAX_NEAR_KEYS, found, lambda other: (-_common(other, key), other))
    return f"others that begin alike: {', '.join(near)}" if near else "none that begins alike"


def _common(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
