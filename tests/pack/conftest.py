"""Small sources to pack: images of seeded noise with a chosen table beside them."""

import csv
import zlib

import numpy as np
import pytest
from PIL import Image

from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack.packing import pack


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
