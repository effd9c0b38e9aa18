"""What a recipe must make of its miniature tree, and the small writers that trees are made with."""

import csv
import gzip
from dataclasses import dataclass, field

import numpy as np
from PIL import Image


@dataclass(kw_only=True)
class Expected:
    """`images` maps the file of EVERY listed image to what must be true of it: any of modality, labels, patient_id,
    group_id, split, member, frame_labels, "treatment.window" and the like, or "positive" for the set of findings that
    are 1. `rejected` maps every place (without the dataset's name) to its reason.
    """

    images: dict[str, dict]
    rejected: dict[str, str] = field(default_factory=dict)
    modality: str = ""


def write_image(path, *, mode="L", size=(8, 8), seed=0):
    """A tiny image of noise in the format of the path's suffix; mode L, RGB, RGBA or I;16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "I;16": (), "RGB": (3,), "RGBA": (4,)}[mode]
    dtype = np.uint16 if mode == "I;16" else np.uint8
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (*size, *channels), dtype=dtype)
    Image.fromarray(pixels).save(path)


def write_bytes(path, content=b"\0"):
    """A file that no listing opens, such as a DICOM slice or a volume: only its name counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_table(path, header, rows, *, delimiter=",", encoding="utf-8", newline="\n", compressed=False):
    """A table as text; no header when `header` is empty; gzip when asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(path.name + ".plain") if compressed else path
    with plain.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=newline)
        writer.writerows([header, *rows] if header else rows)
    if compressed:
        path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
        plain.unlink()
