"""Holdings: what is known of every sample of some collections beside its pixels, a column each, for comparing them."""

import csv
import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from mermed.contract import MANIFEST_NAME, SPLITS, EncodedSample, Manifest, ShardRow
from mermed.errors import ContractError
from mermed.pack.checks.near import Hashes, as_words
from mermed.pack.collection.depot import Depot, open_depot
from mermed.pack.collection.duplicates import label_text
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.pixels.display import to_display
from mermed.pack.pixels.encode import decode_image
from mermed.pack.pixels.perceptual import perceptual_hash
from mermed.tar import read_sample, scan

INNER_SHARES = (0.95, 0.90, 0.85, 0.80)
"""Central parts of an image whose hashes find copies that were cropped to them."""
Codes = NDArray[np.int32]
Watch = Callable[[int, int], None]


class _Known(NamedTuple):
    """One sample: names, the hex of its pixel digest and perceptual hash, and the hashes of its inner parts."""

    key: str
    split: str
    group: str
    modality: str
    dataset: str
    label: str
    pixels: str
    perceptual: str
    inner: bytes = b""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Holdings:
    """The samples of `collections`, one row each. `words` are what the codes in the columns stand for.

    `group` is a 64-bit hash of the salted group. `pixels` [N 2] are equal where pixels are, `hashes` [N 4] are
    perceptual; `inner` [N 4 4] are those of the central parts (INNER_SHARES), or empty. `decoded` names the collections
    whose digests were made from stored images: they compare with each other, not with those made before the codec.
    """

    collections: tuple[str, ...]
    decoded: tuple[str, ...]
    words: tuple[str, ...]
    keys: NDArray[np.bytes_]
    collection: Codes
    split: Codes
    modality: Codes
    dataset: Codes
    label: Codes
    group: NDArray[np.uint64]
    pixels: NDArray[np.uint64]
    hashes: Hashes
    inner: Hashes

    def __len__(self) -> int:
        return len(self.keys)

    def rows_by_modality(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """The rows of each modality, by name."""
        for code in sorted(set(self.modality.tolist()), key=lambda code: self.words[code]):
            yield self.words[code], np.flatnonzero(self.modality == code)


def load_holdings(
    places: Sequence[str],
    *,
    decode: bool = False,
    crops: bool = False,
    num_workers: int = 1,
    watch: Watch | None = None,
) -> Holdings:
    """Read what is known of the samples of the collections at `places` (folders or URLs).

    It stands in their splits.csv. Where a column is missing or empty, or with `decode` or `crops`, the images are
    decoded instead (`watch` is called with shards done and all). Raises ContractError where there is no collection, or
    where a splits.csv does not list the samples of its manifest.
    """
    table, decoded = _Table(), []
    for number, place in enumerate(places):
        depot = open_depot(place)
        manifest = _manifest(depot)
        known = None if decode or crops else _from_list(depot, manifest)
        if known is None:
            decoded.append(str(place))
            known = _from_images(depot, manifest, crops, num_workers, watch or (lambda done, total: None))
        table.take(number, known)
    return table.close(tuple(str(place) for place in places), tuple(decoded))


def _manifest(depot: Depot) -> Manifest:
    try:
        return Manifest.decode(depot.read(MANIFEST_NAME))
    except FileNotFoundError:
        raise ContractError(
            "no packed collection here", where={"collection": depot.label}, expected=MANIFEST_NAME, found="none"
        ) from None


def _from_list(depot: Depot, manifest: Manifest) -> list[_Known] | None:
    """The rows of splits.csv; None where it is missing or does not say enough."""
    try:
        text = io.TextIOWrapper(io.BytesIO(depot.read("splits.csv")), "utf-8", newline="")
    except FileNotFoundError:
        return None
    reader = csv.reader(text)
    header = next(reader, [])
    names = _Known._fields[:-1]
    if not {*names} <= {*header}:
        return None
    places = [header.index(name) for name in names]
    known = [_Known._make((*(row[place] for place in places), b"")) for row in reader]
    if any(not row.pixels or not row.perceptual for row in known):
        return None
    if len(known) != sum(row.samples for row in manifest.shards):
        raise ContractError(
            "splits.csv lists other samples than the manifest counts",
            where={"collection": depot.label},
            expected=sum(row.samples for row in manifest.shards),
            found=len(known),
            next_step="look at the images themselves with --decode",
        )
    return known


def _from_images(depot: Depot, manifest: Manifest, crops: bool, num_workers: int, watch: Watch) -> Iterable[_Known]:
    def read(row: ShardRow) -> list[_Known]:
        with depot.local(row.name) as path, ShardFile(path) as file:
            spans = scan(file.read_at, file.size, row.name)
            return [_from_sample(read_sample(file.read_at, span, row.name), crops) for span in spans]

    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        for done, rows in enumerate(pool.map(read, manifest.shards), start=1):
            watch(done, len(manifest.shards))
            yield from rows


def _from_sample(sample: EncodedSample, crops: bool) -> _Known:
    meta = sample.meta
    stored = decode_image(sample.image, sample.extension)
    pixels = np.ascontiguousarray(stored)
    # "decoded" keeps these digests apart from those of the pixels before a lossy codec.
    digest = pixel_digest(pixels, "decoded")
    shown = to_display(stored, meta)
    return _Known(
        key=meta.key,
        split=meta.split,
        group=meta.group,
        modality=meta.modality,
        dataset=meta.dataset,
        label=label_text(meta.labels),
        pixels=digest,
        perceptual=perceptual_hash(np.asarray(shown)).hex(),
        inner=b"".join(perceptual_hash(_centre(shown, share)) for share in INNER_SHARES) if crops else b"",
    )


def pixel_digest(pixels: NDArray[Any], *marks: str) -> str:
    """Hex of the XXH3-128 that is equal for equal pixels, shapes, types and `marks`; as splits.csv lists it."""
    digest = xxhash.xxh3_128(str((*marks, pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _centre(image: Image.Image, share: float) -> NDArray[Any]:
    pixels = np.asarray(image)
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


class _Table:
    """Columns that grow row by row, without an object for each value."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {word: code for code, word in enumerate(("", *SPLITS))}
        self._columns = {name: array("i") for name in ("collection", "split", "modality", "dataset", "label")}
        self._groups = array("Q")
        self._keys = bytearray()
        self._pixels, self._hashes, self._inner = bytearray(), bytearray(), bytearray()

    def take(self, collection: int, known: Iterable[_Known]) -> None:
        for row in known:
            self._columns["collection"].append(collection)
            for name in ("split", "modality", "dataset", "label"):
                word = getattr(row, name)
                self._columns[name].append(self._codes.setdefault(word, len(self._codes)))
            self._groups.append(xxhash.xxh3_64_intdigest(row.group.encode()))
            self._keys += row.key.encode("ascii").ljust(64, b"\0")
            self._pixels += bytes.fromhex(row.pixels)
            self._hashes += bytes.fromhex(row.perceptual)
            self._inner += row.inner

    def close(self, collections: tuple[str, ...], decoded: tuple[str, ...]) -> Holdings:
        columns = {name: np.frombuffer(column, np.int32) for name, column in self._columns.items()}
        return Holdings(
            collections=collections,
            decoded=decoded,
            words=tuple(self._codes),
            keys=np.frombuffer(self._keys, "S64"),
            group=np.frombuffer(self._groups, np.uint64),
            pixels=np.frombuffer(self._pixels, np.uint64).reshape(-1, 2),
            hashes=as_words(bytes(self._hashes)),
            inner=as_words(bytes(self._inner)).reshape(-1, len(INNER_SHARES), 4),
            **columns,
        )
