"""Measure the perceptual hash on real images: what changes it survives, and how near distinct images come.

    python tools/measure_duplicates.py FOLDER     FOLDER/<modality>/<dataset>/labels.csv, as the plain layout

Prints the tables of docs/duplicates.md. Images that share a patient or group are no distinct pair.
"""

import argparse
import io
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mermed.pack.checks.near import as_words, near_pairs
from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.pixels.perceptual import MIRROR_MASK, distance_of, perceptual_hash
from mermed.pack.plain import walk
from mermed.pack.readers.raw import RawFile, RawImage, RejectedInput
from mermed.pack.readers.reading import read_frames

MOST_CHANGED = 150


def stored_again(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def resized(image, share):
    size = [max(8, round(side * share)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


def toned(image, gain, offset=0.0):
    pixels = np.asarray(image).astype(float) * gain + offset
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def cropped(image, share):
    width, height = image.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return image.crop((left, top, width - left, height - top))


CHANGES = {
    "q95": lambda image: stored_again(image, 95),
    "q75": lambda image: stored_again(image, 75),
    "0.8x": lambda image: resized(image, 0.8),
    "0.5x": lambda image: resized(image, 0.5),
    "lighter": lambda image: toned(image, 1.1),
    "darker": lambda image: toned(image, 0.9),
    "contrast+": lambda image: toned(image, 1.1, -12.8),
    "contrast-": lambda image: toned(image, 0.9, 12.8),
    "mirror": ImageOps.mirror,
    "crop 98%": lambda image: cropped(image, 0.98),
    "crop 90%": lambda image: cropped(image, 0.90),
}


def read_images(folder):
    """(image, patient, group) of every still image that can be packed, by modality."""
    found, options = defaultdict(list), PackOptions()
    for listed in walk(folder).images:
        try:
            items = read_frames(RawFile(listed.path, listed.member), options.bounds, listed.treatment)
            for item in items:
                if isinstance(item, RawImage) and item.frame is None:
                    image = make_canonical(item, listed.modality, options, listed.treatment).image
                    known = [
                        f"{listed.dataset}/{name}" if name else "" for name in (listed.patient_id, listed.group_id)
                    ]
                    found[listed.modality].append((image, *known))
        except RejectedInput:
            continue
    return found


def bits_between(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print("| modality | " + " | ".join(CHANGES) + " |")
    distinct = []
    for modality, entries in sorted(read_images(folder).items()):
        hashes = [perceptual_hash(np.asarray(image)) for image, *_ in entries]
        cells = [modality]
        step = max(1, len(entries) // MOST_CHANGED)
        for name, change in CHANGES.items():
            changed = [perceptual_hash(np.asarray(change(image))) for image, *_ in entries[::step]]
            if name == "mirror":
                changed = [bytes(a ^ b for a, b in zip(code, MIRROR_MASK, strict=True)) for code in changed]
            bits = [bits_between(a, b) for a, b in zip(hashes[::step], changed, strict=True)]
            recall = np.mean([value <= distance_of(modality) for value in bits])
            cells.append(f"{np.median(bits):.0f} / {np.percentile(bits, 95):.0f} / {max(bits)} ({recall:.1%})")
        print("| " + " | ".join(cells) + " |")
        distinct.append(describe_distinct(modality, entries, hashes))
    print("\n".join(["", "| modality | images | pairs | nearest | <= limit | <= 31 | <= 47 |", *distinct]))


def describe_distinct(modality, entries, hashes):
    words = as_words(b"".join(hashes))
    bits = np.bitwise_count(words[:, None] ^ words[None]).sum(-1)
    one, other = np.triu_indices(len(entries), 1)
    related = np.array(
        [any(entries[a][n] and entries[a][n] == entries[b][n] for n in (1, 2)) for a, b in zip(one, other, strict=True)]
    )
    apart = bits[one, other][~related]
    limit = distance_of(modality)
    counts = [f"{(apart <= most).sum()}" for most in (limit, 31, 47)]
    assert len(near_pairs(words, limit)) == (bits[one, other] <= limit).sum()
    return "| " + " | ".join([modality, str(len(entries)), f"{len(apart):,}", str(apart.min()), *counts]) + " |"


if __name__ == "__main__":
    main()
