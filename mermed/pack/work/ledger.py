"""Ledger: what became of every input of one bucket: its samples, its shards, its rejected inputs.

One JSON file per bucket under `ledger/`. With it a later pack knows a bucket without reading a pixel.
"""

import base64
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from mermed.contract import canonical_json
from mermed.errors import IntegrityError
from mermed.pack.pixels.moments import Moments
from mermed.pack.readers.raw import Bin

LEDGER_VERSION = 1
FOLDER = "ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """One sample of a bucket; `task` is the number of its input in the bucket."""

    key: str
    task: int
    group: str
    labels: dict[str, Any]
    licence: str | None
    pixel_digest: str
    perceptual: str
    moments: Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectRow:
    """Inputs of one task that were not packed, for one reason; the thumbnail is JPEG bytes or empty."""

    task: int
    reason: str
    detail: str
    bin: Bin
    count: int
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartShard:
    """One shard of a bucket, before it has a number: its sha256 is its name until then."""

    samples: int
    bytes: int
    sha256: str
    index_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One sample of the report: what it looked like raw and packed, as JPEG bytes."""

    key: str
    caption: str
    raw: bytes
    packed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A finished bucket. `fingerprint` names what it was made of, `dropped` the keys that were left out of its shards
    because the collection holds their pixels already."""

    bucket: str
    fingerprint: str
    options: str
    num_inputs: int
    source_bytes: int
    samples: tuple[SampleRow, ...]
    rejects: tuple[RejectRow, ...]
    shards: tuple[PartShard, ...]
    histogram: tuple[int, ...]
    exhibits: tuple[Exhibit, ...] = ()
    dropped: tuple[str, ...] = ()
    tool: dict[str, str]

    @property
    def name(self) -> str:
        """Where the ledger lies in its collection."""
        return ledger_name(self.bucket)

    def encode(self) -> bytes:
        """The bytes of the ledger's file."""
        content: dict[str, Any] = {"version": LEDGER_VERSION}
        for entry in fields(self):
            content[entry.name] = getattr(self, entry.name)
        content["samples"] = [_sample_values(row) for row in self.samples]
        content["rejects"] = [_reject_values(row) for row in self.rejects]
        content["shards"] = [asdict(shard) for shard in self.shards]
        content["exhibits"] = [
            [row.key, row.caption, *(_text(jpeg) for jpeg in (row.raw, row.packed))] for row in self.exhibits
        ]
        return canonical_json(content)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Read a ledger; raises IntegrityError when it is damaged or of another version: its bucket is made again."""
        try:
            content = json.loads(encoded)
            if content.pop("version") != LEDGER_VERSION:
                raise ValueError
            content["samples"] = tuple(_sample_row(values) for values in content["samples"])
            content["rejects"] = tuple(_reject_row(values) for values in content["rejects"])
            content["shards"] = tuple(PartShard(**shard) for shard in content["shards"])
            content["exhibits"] = tuple(
                Exhibit(key=key, caption=caption, raw=base64.b64decode(raw), packed=base64.b64decode(packed))
                for key, caption, raw, packed in content["exhibits"]
            )
            content["histogram"], content["dropped"] = tuple(content["histogram"]), tuple(content["dropped"])
            return cls(**content)
        except (ValueError, KeyError, TypeError):
            raise IntegrityError("a ledger is damaged or of another version") from None


def ledger_name(bucket: str) -> str:
    """Where the ledger of the bucket of that name lies in its collection."""
    return f"{FOLDER}/{bucket}.json"


def _text(jpeg: bytes) -> str:
    return base64.b64encode(jpeg).decode("ascii")


def _reject_values(row: RejectRow) -> list[Any]:
    return [row.task, row.reason, row.detail, row.bin, row.count, _text(row.thumbnail)]


def _reject_row(values: list[Any]) -> RejectRow:
    task, reason, detail, bin, count, thumbnail = values
    return RejectRow(
        task=task, reason=reason, detail=detail, bin=bin, count=count, thumbnail=base64.b64decode(thumbnail)
    )


def _sample_values(row: SampleRow) -> list[Any]:
    return [
        row.key,
        row.task,
        row.group,
        row.labels,
        row.licence,
        row.pixel_digest,
        row.perceptual,
        [*row.moments.mean, *row.moments.square],
    ]


def _sample_row(values: list[Any]) -> SampleRow:
    key, task, group, labels, licence, pixel_digest, perceptual, moments = values
    return SampleRow(
        key=key,
        task=task,
        group=group,
        labels=labels,
        licence=licence,
        pixel_digest=pixel_digest,
        perceptual=perceptual,
        moments=Moments(tuple(moments[:3]), tuple(moments[3:])),
    )
