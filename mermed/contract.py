"""The shard contract in code: key grammar, samples, shard rows, manifest. `shards/README.md` is the text."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import msgspec
import xxhash

from mermed.errors import ContractError, IntegrityError

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
KEY_GRAMMAR = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
SLUG_GRAMMAR = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
DATASET_GRAMMAR = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MODALITIES = ("cfp", "ct", "cxr", "derm", "oct", "path", "us")
SPLITS = ("train", "val", "test")
IMAGE_EXTENSIONS = ("jpg", "png")
META_EXTENSION = "json"
MAX_MEMBER_BYTES = 256 * 2**20


def check_name(name: str, grammar: re.Pattern[str], noun: str) -> str:
    """Return `name` if it follows `grammar`, else raise ContractError without showing it: a name may identify."""
    if not grammar.fullmatch(name):
        raise ContractError(
            f"a {noun} breaks the grammar of names",
            expected=grammar.pattern,
            found=f"{len(name)} characters with {name.count('.')} dots",
            next_step="tar readers cut a key at its first dot; use lower case, digits, '_' and '-'",
        )
    return name


def canonical_json(value: object) -> bytes:
    """The one serialisation of `value`: sorted names, no spaces, ASCII, so equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


class SampleMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a sample's JSON may say: an allow-list, nothing else is ever copied from a header.

    `group` is a salted HMAC of the patient, lesion or volume; what shares it never crosses splits. `labels` is empty
    for an unlabelled image, else `{"class": name}` or `{"findings": {name: 1 | 0 | None}}`. `window` is (centre, width)
    in the units of the source (HU for CT), `crop` is (top, left, height, width) of the source in pixels. `rescale` is
    (slope, intercept) from stored 16-bit values to those units, None for 8-bit images. `steps` names what was done to
    the pixels, in order.
    """

    key: str
    modality: str
    dataset: str
    split: str
    group: str
    width: int
    height: int
    source_bits: int
    labels: dict[str, Any] = msgspec.field(default_factory=dict)
    window: tuple[float, float] | None = None
    spacing_mm: tuple[float, float] | None = None
    frame: int | None = None
    crop: tuple[int, int, int, int] | None = None
    rescale: tuple[float, float] | None = None
    steps: tuple[str, ...] = ()
    licence: str | None = None

    def __post_init__(self) -> None:
        check_name(self.key, KEY_GRAMMAR, "sample key")
        _check_source(self.modality, self.dataset, self.split)

    def encode(self, image: bytes) -> bytes:
        """The bytes of the sample's JSON member, sealed with the xxh3 of `image` and of every other field."""
        content = msgspec.structs.asdict(self)
        return canonical_json({**content, "xxh3": _digest(image, canonical_json(content))})

    @classmethod
    def decode(cls, encoded: bytes, image: bytes) -> "SampleMeta":
        """Read a JSON member and check its seal.

        Raises IntegrityError when the bytes changed since packing, ContractError for what the allow-list does not hold.
        """
        # The seal's name sorts last, so what it covers is the JSON without its end: no need to write it out again.
        body = encoded[:-_SEAL_BYTES] + b"}"
        if encoded[-_SEAL_BYTES:] != b',"xxh3":"%s"}' % _digest(image, body).encode():
            body = _unsealed(encoded, image)
        try:
            return _META_JSON.decode(body)
        except msgspec.ValidationError as error:
            raise ContractError(
                "a sample's JSON holds what is not in the allow-list of fields", found=str(error)
            ) from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise _unreadable(error) from None


@lru_cache(maxsize=1024)
def _check_source(modality: str, dataset: str, split: str) -> None:
    check_name(modality, SLUG_GRAMMAR, "modality")
    check_name(dataset, DATASET_GRAMMAR, "dataset name")
    if split not in SPLITS:
        raise ContractError("unknown split", expected=SPLITS, found=split)


_META_JSON = msgspec.json.Decoder(SampleMeta)
_SEAL_BYTES = len(',"xxh3":"0123456789abcdef"}')


def _unsealed(encoded: bytes, image: bytes) -> bytes:
    """The JSON that the seal covers, of a member written with other spaces or in another order than ours."""
    try:
        content = json.loads(encoded.decode("ascii"))
        seal = content.pop("xxh3")
        body = canonical_json(content)
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(error) from None
    if _digest(image, body) != seal:
        raise IntegrityError(
            "a sample's bytes changed since they were packed", expected=f"xxh3 {seal}", found="another"
        )
    return body


def _unreadable(error: Exception) -> IntegrityError:
    return IntegrityError("a sample's JSON cannot be read", found=type(error).__name__)


def _digest(image: bytes, json_bytes: bytes) -> str:
    digest = xxhash.xxh3_64(image)
    digest.update(json_bytes)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """One sample as stored: its metadata and the bytes of its image member (`extension` is jpg or png)."""

    meta: SampleMeta
    image: bytes
    extension: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRow:
    """One finished shard; a shard exists only if its row does. `name` is its path below the manifest."""

    name: str
    modality: str
    dataset: str
    split: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str

    def __post_init__(self) -> None:
        if self.name.startswith("/") or ".." in self.name.split("/"):
            raise ContractError("a shard lies outside its collection", where={"shard": self.name})

    @property
    def index_name(self) -> str:
        """Path of the shard's index below the manifest."""
        return self.name.removesuffix(".tar") + ".idx"

    @property
    def source(self) -> str:
        """The source a training mixture draws from: modality/dataset/split."""
        return f"{self.modality}/{self.dataset}/{self.split}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a packed collection holds: the commit marker, written last.

    `labels` maps "modality/dataset" to its label space, `recipes` names to digests, `stats` a modality to the mean and
    standard deviation of its training images per channel in [0, 1], `totals` counts inputs and where they went.
    """

    shards: tuple[ShardRow, ...]
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    recipes: dict[str, str] = field(default_factory=dict)
    stats: dict[str, dict[str, Any]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    tool: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities present, sorted; a sample's modality number is its place here."""
        return tuple(sorted({row.modality for row in self.shards}))

    @property
    def digest(self) -> str:
        """The sha256 of the manifest's content: equal digests mean equal samples in equal order."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """The bytes of manifest.json."""
        content = _shallow(self) | {"shards": [_shallow(row) for row in self.shards]}
        return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Read manifest.json; raises ContractError for a newer format or unknown content."""
        try:
            content = json.loads(encoded)
            version = content["format_version"]
        except (ValueError, KeyError, TypeError):
            raise ContractError(f"{MANIFEST_NAME} is not a manifest", next_step="pack the collection again") from None
        if version != FORMAT_VERSION:
            raise ContractError(
                "this collection has another format version",
                expected=FORMAT_VERSION,
                found=version,
                next_step="install the mermed version that packed it, or pack it again",
            )
        try:
            rows = tuple(ShardRow(**row) for row in content.pop("shards"))
            return cls(shards=rows, **content)
        except (TypeError, KeyError) as error:
            raise ContractError(f"{MANIFEST_NAME} has unknown or missing fields", found=str(error)) from None


def _shallow(value: ShardRow | Manifest) -> dict[str, Any]:
    """The fields of `value` by name, as they are: `asdict` copies each of them, which takes seconds for 10^5 rows."""
    return {name: getattr(value, name) for name in value.__slots__}


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest of a local collection; raises ContractError when the folder holds none."""
    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        raise ContractError(
            "no packed collection here",
            where={"folder": folder},
            expected=MANIFEST_NAME,
            found="nothing of that name",
            next_step=f"mermed-shard pack SRC --out {folder}",
        )
    return Manifest.decode(path.read_bytes())
