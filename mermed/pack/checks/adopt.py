"""Adopt: third-party WebDataset shards become a collection of ours, the compressed pixels untouched.

Foreign tars break our contract (keys, JSON, seals), so they are written again: our keys, our JSON, the same image data.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import PIL
from PIL import Image

from mermed import __version__
from mermed.contract import MANIFEST_NAME, EncodedSample, Manifest, SampleMeta
from mermed.errors import ConfigError, IntegrityError, SampleError
from mermed.pack.checks.foreign import ForeignSample, expand, local_copy, read_foreign, shown
from mermed.pack.checks.holdings import pixel_digest
from mermed.pack.collection.claim import claim
from mermed.pack.collection.depot import LocalDepot
from mermed.pack.collection.writer import ShardWriter, write_atomically
from mermed.pack.identity import Identity
from mermed.pack.pixels.encode import decode_image
from mermed.pack.pixels.moments import MomentTable, image_moments
from mermed.pack.pixels.perceptual import perceptual_hash
from mermed.pack.readers.bare_image import strip_metadata
from mermed.pack.readers.raw import RejectedInput

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png")
TEXT_EXTENSIONS = ("json", "cls", "txt")
_MAX_TEXT_BYTES = 2**20
_MAX_LABEL_CHARACTERS = 200
_SPLIT_COLUMNS = ("key", "split", "group", "modality", "dataset", "label", "pixels", "perceptual")
_REASON_COLUMNS = ("file", "reason", "detail", "images")
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What foreign shards are taken for.

    `label_field` and `group_field` are names in a sample's .json. Where no field is named, a .cls member is the label
    and every sample is a group of its own.
    """

    modality: str
    dataset: str
    split: str = "train"
    licence: str = ""
    label_field: str = ""
    group_field: str = ""
    shard_mb: int = 256


@dataclass(slots=True)
class Adopted:
    """A finished adoption: its manifest, quarantined samples per reason, members left out per extension."""

    manifest: Manifest
    reasons: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def adopt(
    patterns: Sequence[str],
    out: Path,
    adoption: Adoption,
    identity: Identity,
    *,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Adopted:
    """Write the samples of the shards that `patterns` name into the new collection `out`; the manifest is written last.

    Image data is not encoded again; only metadata around it is dropped. What is no 8-bit grey or RGB image goes to
    quarantine.csv. Raises ConfigError for places that make no sense, IntegrityError for a shard that is no whole tar,
    SampleError when nothing could be adopted.
    """
    places = expand(patterns)
    if (out / MANIFEST_NAME).exists():
        raise ConfigError("the output folder holds a finished collection", where={"folder": out})
    with claim(LocalDepot(out)):
        _sweep(out)
        with _Rewriter(out, adoption, identity) as rewriter:
            for done, place in enumerate(places, start=1):
                with local_copy(place) as path:
                    for sample in read_foreign(path, shown(place)):
                        rewriter.take(Path(shown(place)).name, sample)
                watch(done, len(places))
            return rewriter.finish()


def _sweep(out: Path) -> None:
    """Delete what an earlier adoption, which died here, has written; the claim keeps all other files out."""
    for path in [*out.rglob("*.tar"), *out.rglob("*.idx")]:
        path.unlink()


class _Rewriter:
    """Takes foreign samples one by one; ends as a collection. A context: an error leaves no shard open."""

    def __init__(self, out: Path, adoption: Adoption, identity: Identity) -> None:
        self._out = out
        self._adoption = adoption
        self._identity = identity
        self._writer = ShardWriter(
            folder=out,
            modality=adoption.modality,
            dataset=adoption.dataset,
            split=adoption.split,
            shard_bytes=adoption.shard_mb * 2**20,
        )
        self._seen: set[str] = set()
        self._classes: set[str] = set()
        self._moments = MomentTable()
        self._split_rows: list[tuple[str, ...]] = []
        self._rejected: list[tuple[object, ...]] = []
        self._reasons: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.abandon()

    def take(self, shard: str, foreign: ForeignSample) -> None:
        """Write one sample, or note why not."""
        file = f"{shard}/{foreign.name}"
        others = [
            name for name in foreign.members if name.rpartition(".")[2] not in (*IMAGE_EXTENSIONS, *TEXT_EXTENSIONS)
        ]
        self._left_out.update(name.rpartition(".")[2] or "none" for name in others)
        self._left_out["no plain file"] += foreign.skipped
        try:
            sample, image = self._make(file, foreign)
        except RejectedInput as rejected:
            self._reasons[rejected.reason_slug] += 1
            self._rejected.append((file, rejected.reason_slug, rejected.detail, 1))
            return
        meta = sample.meta
        self._writer.add(sample)
        self._moments.add(image_moments(image))
        label = meta.labels.get("class", "")
        if label:
            self._classes.add(label)
        pixels = np.asarray(image)
        known = (meta.key, meta.split, meta.group, meta.modality, meta.dataset, label)
        self._split_rows.append((*known, pixel_digest(pixels), perceptual_hash(pixels).hex()))

    def _make(self, file: str, foreign: ForeignSample) -> tuple[EncodedSample, Image.Image]:
        adoption = self._adoption
        key = self._identity.sample_key(adoption.modality, adoption.dataset, file)
        if key in self._seen:
            raise RejectedInput("listed_twice", "the shard holds this key in two places")
        encoded, extension = strip_metadata(_image_of(foreign))
        image = _decode(encoded, extension, _image_of(foreign))
        facts = _facts_of(foreign)
        member = str(facts.get(adoption.group_field, "")) if adoption.group_field else ""
        label = _label_of(foreign, facts, adoption.label_field)
        meta = SampleMeta(
            key=key,
            modality=adoption.modality,
            dataset=adoption.dataset,
            split=adoption.split,
            group=self._identity.group_id(adoption.modality, adoption.dataset, f"p{member}" if member else f"f{file}"),
            width=image.width,
            height=image.height,
            source_bits=8,
            labels={"class": label} if label else {},
            steps=("adopted",),
            licence=adoption.licence or None,
        )
        self._seen.add(key)
        return EncodedSample(meta, encoded, extension), image

    def finish(self) -> Adopted:
        """Close the last shard, write the lists and the manifest."""
        self._writer.close()
        adoption, packed = self._adoption, len(self._split_rows)
        _write_list(self._out / "splits.csv", _SPLIT_COLUMNS, self._split_rows)
        _write_list(self._out / "quarantine.csv", _REASON_COLUMNS, self._rejected)
        if not packed:
            raise SampleError(
                "no sample could be adopted",
                found=", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common(3)) or "no samples",
                next_step=f"see {self._out / 'quarantine.csv'}",
            )
        space = {"kind": "multi-class", "classes": sorted(self._classes)}
        manifest = Manifest(
            shards=tuple(self._writer.rows),
            labels={f"{adoption.modality}/{adoption.dataset}": space} if self._classes else {},
            recipes={"adopted": self._identity.mark},
            stats={adoption.modality: self._moments.summary()} if adoption.split == "train" else {},
            totals={
                "inputs": packed + len(self._rejected),
                "packed": packed,
                "duplicates": 0,
                "excluded": 0,
                "quarantined": len(self._rejected),
            },
            tool={"mermed": __version__, "pillow": PIL.__version__},
        )
        write_atomically(self._out / MANIFEST_NAME, manifest.encode())
        return Adopted(manifest, self._reasons, +self._left_out)


def _write_list(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))


def _image_of(foreign: ForeignSample) -> bytes:
    images = [content for name, content in foreign.members.items() if name.rpartition(".")[2] in IMAGE_EXTENSIONS]
    if len(images) != 1:
        raise RejectedInput("no_image" if not images else "several_images", f"{len(images)} JPEG or PNG members")
    return images[0]


def _decode(encoded: bytes, extension: str, original: bytes) -> Image.Image:
    """The pixels of an image member; raises RejectedInput for one that would have to be encoded anew."""
    try:
        image = decode_image(encoded, extension)
    except IntegrityError as error:
        is_other_kind = "neither" in error.what
        raise RejectedInput("not_8_bit" if is_other_kind else "corrupt", str(error.found)) from None
    if image.mode not in ("L", "RGB") or "transparency" in image.info:
        raise RejectedInput("not_8_bit", "more than 8 bits, or transparency")
    if _orientation(original) != 1:
        raise RejectedInput("orientation", "the image is turned by its EXIF; pack the source instead")
    return image


def _orientation(original: bytes) -> int:
    try:
        with Image.open(io.BytesIO(original), formats=("JPEG", "PNG")) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        return 1  # the EXIF is unreadable, so no viewer turns the image either


def _facts_of(foreign: ForeignSample) -> dict[str, Any]:
    text = foreign.members.get("json", b"{}")
    try:
        facts = json.loads(text) if len(text) <= _MAX_TEXT_BYTES else None
    except (ValueError, RecursionError):
        facts = None
    if facts is None:
        raise RejectedInput("bad_json", "the .json member cannot be read")
    return facts if isinstance(facts, dict) else {}


def _label_of(foreign: ForeignSample, facts: dict[str, Any], label_field: str) -> str:
    if label_field:
        value = facts.get(label_field, "")
        label = str(value) if isinstance(value, str | int | float) else ""
    else:
        label = foreign.members.get("cls", b"").decode("utf-8", "replace").strip()
    if len(label) > _MAX_LABEL_CHARACTERS:
        raise RejectedInput("bad_label", f"{len(label)} characters")
    return label
