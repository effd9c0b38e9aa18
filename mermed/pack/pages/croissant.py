"""Croissant: croissant.json of a collection, the description of data sets that search engines and loaders read.

Version 1.0 of the format of MLCommons: a file object per shard with its sha256, and per modality a file set of the
images inside and a record set that joins them with splits.csv by key. The JSON members are not described: readers of
Croissant do not look into JSON inside of archives.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from typing import Any, Self

from mermed.contract import IMAGE_EXTENSIONS, Manifest, ShardRow

NAME, SPLITS_NAME = "croissant.json", "splits.csv"
_COLUMNS = ("split", "group", "dataset", "label")
"""What is taken out of splits.csv beside the key, where it has it."""
_CROISSANT_WORDS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
"""The words of the standard context that mean what they mean in Croissant's own vocabulary."""
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {name: f"cr:{name}" for name in _CROISSANT_WORDS}


@dataclass(frozen=True, slots=True)
class SplitList:
    """What describes the splits.csv of a collection: its columns, bytes and sha256."""

    columns: tuple[str, ...]
    bytes: int
    sha256: str

    @classmethod
    def of(cls, file: BufferedReader | BytesIO) -> Self:
        """Measure an open splits.csv; it is read in pieces."""
        columns = tuple(file.readline().decode("ascii", "replace").strip().split(","))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(columns, file.tell(), digest)


def croissant(
    manifest: Manifest,
    *,
    title: str,
    description: str,
    licences: Sequence[str] = (),
    citations: Sequence[str] = (),
    splits: SplitList | None = None,
) -> bytes:
    """The bytes of croissant.json. It carries no date and no place: equal collections give equal bytes.

    Without `splits` the records hold keys and images only.
    """
    content: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": title,
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": "1.0.0",
        "keywords": [*manifest.modalities, "medical imaging", "webdataset"],
    }
    if licences:
        content["license"] = list(licences)
    if citations:
        content["citeAs"] = "; ".join(citations)
    files = [_file(row.name, "application/x-tar", row.bytes, row.sha256) for row in manifest.shards]
    if splits:
        files.append(_file(SPLITS_NAME, "text/csv", splits.bytes, splits.sha256))
    content["distribution"] = files + [_images(modality, manifest.shards) for modality in manifest.modalities]
    content["recordSet"] = [_record_set(modality, splits) for modality in manifest.modalities]
    return json.dumps(content, indent=1, ensure_ascii=True).encode() + b"\n"


def _file(name: str, kind: str, size_bytes: int, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size_bytes} B",
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _images(modality: str, shards: Sequence[ShardRow]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{modality}-images",
        "name": f"{modality}-images",
        "containedIn": [{"@id": row.name} for row in shards if row.modality == modality],
        "encodingFormat": ["image/jpeg", "image/png"],
        "includes": [f"*.{extension}" for extension in IMAGE_EXTENSIONS],
    }


def _record_set(modality: str, splits: SplitList | None) -> dict[str, Any]:
    inside = {"fileSet": {"@id": f"{modality}-images"}}
    name = {**inside, "extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]+)"}}
    key = _field(modality, "key", "sc:Text", name)
    fields = [key, _field(modality, "image", "sc:ImageObject", {**inside, "extract": {"fileProperty": "content"}})]
    if splits:
        key["references"] = _column("key")
        columns = [column for column in _COLUMNS if column in splits.columns]
        fields += [_field(modality, column, "sc:Text", _column(column)) for column in columns]
    return {
        "@type": "cr:RecordSet",
        "@id": modality,
        "name": modality,
        "key": {"@id": f"{modality}/key"},
        "field": fields,
    }


def _column(name: str) -> dict[str, Any]:
    return {"fileObject": {"@id": SPLITS_NAME}, "extract": {"column": name}}


def _field(modality: str, name: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"{modality}/{name}", "name": name, "dataType": kind, "source": source}
