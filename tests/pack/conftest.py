"""Small sources to pack: images of seeded noise with a chosen table beside them."""

import csv
import zlib
from collections import defaultdict

import numpy as np
import pytest
import xxhash
from PIL import Image

from mermed.contract import EncodedSample, Manifest, SampleMeta
from mermed.pack.collection.writer import ShardWriter
from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack.packing import pack
from mermed.pack.pixels.encode import encode_image
from mermed.pack.pixels.moments import MomentTable, image_moments
from mermed.pack.pixels.perceptual import perceptual_hash
from mermed.pack.work.engine import LocalEngine


def noise(seed, shape=(40, 48)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def identity():
    return Identity(b"a salt for tests, no secret")


@pytest.fixture
def write_source(tmp_path):
    """Write one dataset below tmp_path/src: a PNG of its own noise for each row whose file is not there yet."""

    def write(rows, *, modality="us", dataset="set", header=None):
        folder = tmp_path / "src" / modality / dataset
        folder.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows):
            path = folder / row["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() and row.get("make", True):
                Image.fromarray(noise(1000 * zlib.crc32(dataset.encode()) + number)).save(path, "PNG")
        names = header or sorted({"file", "label", *(name for row in rows for name in row)} - {"make"})
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "src"

    return write


@pytest.fixture
def pack_source(identity, tmp_path):
    """Pack a source in this process into tmp_path/out; returns the folder and the result."""

    def run(source, *, out=None, engine=None, plan=None, **options):
        out = out or tmp_path / "out"
        engine = engine or LocalEngine(hands=0)
        result = pack(source, out, options=PackOptions(**options), identity=identity, engine=engine, plan=plan)
        return out, result

    return run


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def listed():
    """Read one of the CSV lists of a pack."""
    return rows_of


@pytest.fixture
def write_collection():
    """Write a collection straight from pixels, whatever packing would say of them.

    Each sample is {"pixels", "key", "modality", "dataset", "split", "group", "label"}; only pixels and key are needed.
    `listed` gives splits.csv the columns of digests.
    """

    def write(folder, samples, *, listed=False):
        plain = {"modality": "cxr", "dataset": "set", "split": "train", "label": ""}
        full = [plain | {"group": sample["key"]} | sample for sample in samples]
        rows, classes, moments = [], defaultdict(set), defaultdict(MomentTable)
        numbers = defaultdict(int)
        for source in sorted({(s["modality"], s["dataset"], s["split"]) for s in full}):
            modality, dataset, split = source
            names = {"modality": modality, "dataset": dataset, "split": split}
            writer = ShardWriter(folder=folder, **names, shard_bytes=2**20, next_number=numbers[modality, split])
            for s in (s for s in full if (s["modality"], s["dataset"], s["split"]) == source):
                writer.add(_sample_of(s))
                if s["label"]:
                    classes[f"{modality}/{dataset}"].add(s["label"])
                if split == "train":
                    moments[modality].add(image_moments(Image.fromarray(s["pixels"])))
            writer.close()
            rows += writer.rows
            numbers[modality, split] = writer.next_number
        manifest = Manifest(
            shards=tuple(sorted(rows, key=lambda row: row.name)),
            labels={name: {"kind": "multi-class", "classes": sorted(of)} for name, of in sorted(classes.items())},
            stats={modality: table.summary() for modality, table in sorted(moments.items())},
            totals={"inputs": len(full), "packed": len(full), "duplicates": 0, "excluded": 0, "quarantined": 0},
            tool={"mermed": "test"},
            recipes={"plain": "0"},
        )
        header = ["key", "split", "group", "modality", "dataset"] + ["label", "pixels", "perceptual"] * listed
        with (folder / "splits.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, header, extrasaction="ignore")
            lines.writeheader()
            lines.writerows({**s, "pixels": _digest_of(s["pixels"]), "perceptual": _hash_of(s["pixels"])} for s in full)
        (folder / "manifest.json").write_bytes(manifest.encode())
        return folder

    return write


def _sample_of(s):
    image, extension = encode_image(Image.fromarray(s["pixels"]), "png")
    height, width = s["pixels"].shape[:2]
    meta = SampleMeta(
        **{name: s[name] for name in ("key", "modality", "dataset", "split", "group")},
        width=width,
        height=height,
        source_bits=8,
        labels={"class": s["label"]} if s["label"] else {},
    )
    return EncodedSample(meta, image, extension)


def _digest_of(pixels):
    digest = xxhash.xxh3_128(str((pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _hash_of(pixels):
    return perceptual_hash(pixels).hex()
