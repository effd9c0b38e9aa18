"""Tiny packed collections and run folders, made without the packer and the trainer."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import xxhash
from PIL import Image
from safetensors.torch import save_file

from mermed import tar
from mermed.config import AugmentConfig, ModelConfig, QueueConfig, RunConfig, StreamConfig, TrainConfig, to_mapping
from mermed.contract import Manifest, SampleMeta, ShardRow, load_manifest

SIDE_PX = 32
CLASSES = ("dark", "light")


def sample_meta(modality, dataset, split, number, label, group=None):
    key = f"{dataset}_{split}_{number}"
    return SampleMeta(
        key=key,
        modality=modality,
        dataset=dataset,
        split=split,
        group=group or f"g{split}{number // 2}",
        width=SIDE_PX,
        height=SIDE_PX,
        source_bits=8,
        labels={} if label is None else {"class": label},
    )


def image_of(meta, rng):
    """A noisy image whose class is a patch of another brightness."""
    pixels = rng.normal(110, 30, (SIDE_PX, SIDE_PX))
    pixels[6:26, 6:26] += 50.0 if meta.labels.get("class") == "light" else 0.0
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(folder: Path, name: str, metas, rng) -> ShardRow:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for meta in metas:
            image = image_of(meta, rng)
            for extension, content in (("png", image), ("json", meta.encode(image))):
                info = tarfile.TarInfo(f"{meta.key}.{extension}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    content = path.read_bytes()
    index = tar.format_index(tar.scan(lambda offset, size: content[offset : offset + size], len(content), name))
    path.with_suffix(".idx").write_text(index)
    first = metas[0]
    return ShardRow(
        name=name,
        modality=first.modality,
        dataset=first.dataset,
        split=first.split,
        samples=len(metas),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        index_sha256=hashlib.sha256(index.encode()).hexdigest(),
    )


def write_collection(folder: Path, sources, labels) -> Manifest:
    """`sources` maps (modality, dataset, split) to metas; one shard each."""
    rng = np.random.default_rng(0)
    rows = [
        write_shard(folder, f"{modality}/{split}/{modality}-{dataset}-{split}-000000.tar", metas, rng)
        for (modality, dataset, split), metas in sources.items()
    ]
    grey = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    manifest = Manifest(shards=tuple(rows), labels=labels, stats={row.modality: grey for row in rows})
    (folder / "manifest.json").write_bytes(manifest.encode())
    return manifest


def brightness_sources(sizes, modality="us", dataset="blobs"):
    return {
        (modality, dataset, split): [
            sample_meta(modality, dataset, split, number, CLASSES[number // 2 % 2]) for number in range(size)
        ]
        for split, size in sizes.items()
    }


SPACE = {"kind": "multi-class", "classes": list(CLASSES)}


def small_sources():
    """us/blobs can be scored, oct/few has no test split, cxr/plain has no labels."""
    sources = brightness_sources({"train": 40, "val": 16, "test": 24})
    sources |= brightness_sources({"train": 6}, "oct", "few")
    sources[("cxr", "plain", "train")] = [sample_meta("cxr", "plain", "train", n, None) for n in range(3)]
    return sources


@pytest.fixture(scope="session")
def small_collection(tmp_path_factory) -> Path:
    """The small sources, packed. Tests must not change it: copy it first."""
    folder = tmp_path_factory.mktemp("small") / "packed"
    write_collection(folder, small_sources(), {"us/blobs": SPACE, "oct/few": SPACE})
    return folder


@pytest.fixture
def make_run(small_collection, tmp_path):
    """A function that writes another run folder: make_run(name, splits=..., modalities=..., seed=...)."""

    def make(name, **choices):
        return write_run(tmp_path / name, load_manifest(small_collection), **choices)

    return make


def write_run(folder: Path, manifest: Manifest, *, splits=("train",), modalities=None, seed=0) -> Path:
    """A run folder as training leaves it, with a teacher nobody trained."""
    from mermed.model.encoder import build_encoder

    config = RunConfig(
        preset="smoke",
        seed=seed,
        stream=StreamConfig(canvas_px=SIDE_PX, splits=splits),
        model=ModelConfig(encoder="test_vit"),
        augment=AugmentConfig(policy="medical", global_px=SIDE_PX, local_px=16),
        queue=QueueConfig(rows=56, blocks=2),
        train=TrainConfig(steps=4, batch=14),
    )
    step = folder / "checkpoints" / "step-000000004"
    step.mkdir(parents=True)
    (folder / "config.toml").write_text(tomli_w.dumps(to_mapping(config)))
    constants = {name: {"mean": [0.4] * 3, "std": [0.2] * 3} for name in modalities or manifest.modalities}
    data = {"manifest_digest": manifest.digest, "modalities": list(constants), "normalisation": constants}
    (folder / "data.json").write_text(json.dumps(data))
    weights = {
        which: build_encoder(config.model, SIDE_PX, drop_path=0.0, seed=100 + number + seed).state_dict()
        for number, which in enumerate(("initial", "teacher"))
    }
    save_file(weights["initial"], folder / "initial.safetensors")
    save_file({f"encoder.{name}": tensor for name, tensor in weights["teacher"].items()}, step / "teacher.safetensors")
    content = (step / "teacher.safetensors").read_bytes()
    files = {"teacher.safetensors": {"bytes": len(content), "xxh3": xxhash.xxh3_64(content).hexdigest()}}
    state = {"step": 4, "slots": 56, "audit": 0, "manifest_digest": manifest.digest, "files": files}
    (step / "state.json").write_text(json.dumps(state))
    return folder


@pytest.fixture(scope="session")
def small_run(small_collection, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", load_manifest(small_collection))


@pytest.fixture
def meta_of():
    """A function that makes the metadata of some image of a modality."""
    return lambda modality: sample_meta(modality, "x", "train", 0, "dark")
