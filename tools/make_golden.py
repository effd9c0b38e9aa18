"""Rebuild what shards/ holds of code: manifest.schema.json and the golden collection of the current format version.

    python tools/make_golden.py            write what is missing, refuse to change golden bytes
    python tools/make_golden.py --check    write nothing, exit 1 where something is missing or differs

Golden shards are read for ever, never made again: JPEG bytes depend on the Pillow build, so a fresh pack may differ
where nothing is wrong. Other samples, labels or pixels need a new format_version, and with it a new folder.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from mermed.contract import FORMAT_VERSION, MANIFEST_NAME, load_manifest
from mermed.pack.collection.schema import contract_schema
from mermed.pack.identity import load_identity
from mermed.pack.options import PackOptions
from mermed.pack.packing import pack
from mermed.pack.phantoms.source import make_phantoms
from mermed.pack.pixels.encode import decode_image
from mermed.pack.plain import walk
from mermed.pack.treating import treat
from mermed.tar import check_shard

SHARDS = Path(__file__).resolve().parent.parent / "shards"
IMAGES_PER_MODALITY = 5
SIDE_PX = 64
EXPECTED_NAME = "expected.json"
MAX_BYTES = 300_000
# Pixels may move by rounding between decoders; a sum over an image moves by less than this share.
PIXEL_TOLERANCE = 0.002


def build(folder: Path) -> None:
    """Pack a few small phantoms per modality into `folder`, with an expected.json beside the manifest."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "phantoms"
        make_phantoms(source, images_per_modality=IMAGES_PER_MODALITY, seed=1)
        identity, _ = load_identity(source / "salt")
        listing = treat(walk(source), ["crop=none"])  # version 1 was packed before crops were known
        pack(listing, folder, options=PackOptions(side_px=SIDE_PX), identity=identity)
    shutil.rmtree(folder / "ledger")
    for path in folder.glob("*.*"):
        if path.name != MANIFEST_NAME:
            path.unlink()
    (folder / EXPECTED_NAME).write_text(json.dumps(describe(folder), indent=1) + "\n", "ascii")


def describe(folder: Path) -> dict:
    """What every reader must find in a golden collection."""
    manifest = load_manifest(folder)
    samples = {}
    for row in manifest.shards:
        for sample in check_shard(folder / row.name, row):
            image = decode_image(sample.image, sample.extension)
            samples[sample.meta.key] = {
                "shard": row.name,
                "group": sample.meta.group,
                "labels": sample.meta.labels,
                "mode": image.mode,
                "size": list(image.size),
                "pixel_sum": sum(level % 256 * count for level, count in enumerate(image.histogram())),
            }
    return {
        "format_version": manifest.format_version,
        "shards": {row.name: row.sha256 for row in manifest.shards},
        "samples": samples,
    }


def differences(stored: dict, fresh: dict) -> list[str]:
    """What a fresh build says otherwise than the stored golden collection, beyond the rounding of codecs."""
    if stored["samples"].keys() != fresh["samples"].keys():
        return ["the set of sample keys differs"]
    found = []
    for key, sample in stored["samples"].items():
        other = fresh["samples"][key]
        found += [f"{key}: {name} differs" for name in sample if name != "pixel_sum" and sample[name] != other[name]]
        if abs(sample["pixel_sum"] - other["pixel_sum"]) > PIXEL_TOLERANCE * sample["pixel_sum"]:
            found.append(f"{key}: pixels differ")
    return found


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    problems = []
    schema_path = SHARDS / "manifest.schema.json"
    schema = json.dumps(contract_schema(), indent=1) + "\n"
    if not schema_path.is_file() or schema_path.read_text("ascii") != schema:
        problems += [f"{schema_path.name} is not that of contract.py"] if check else []
        if not check:
            schema_path.write_text(schema, "ascii")
            print(f"wrote {schema_path}")
    folder = SHARDS / "golden" / f"v{FORMAT_VERSION}"
    if (folder / EXPECTED_NAME).is_file():
        with tempfile.TemporaryDirectory() as temporary:
            build(Path(temporary))
            fresh = json.loads((Path(temporary) / EXPECTED_NAME).read_text("ascii"))
        problems += differences(json.loads((folder / EXPECTED_NAME).read_text("ascii")), fresh)
    elif check:
        problems.append(f"{folder} holds no golden collection")
    else:
        build(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"wrote {folder}: {size:,} bytes")
        problems += [f"larger than {MAX_BYTES:,} bytes"] if size > MAX_BYTES else []
    for problem in problems:
        print(f"golden: {problem}", file=sys.stderr)
    if problems:
        print("changed samples need a new FORMAT_VERSION in mermed/contract.py", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
