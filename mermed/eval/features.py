"""Frozen features: every image through every encoder once, cached by weights, transform and data, in restartable parts.

All encoders whose features are missing share one pass over the images, so each image is decoded once.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import xxhash
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mermed.augment.kornia_crops import centre_views
from mermed.augment.policy import Normalisation
from mermed.batch import CanvasBatch
from mermed.contract import SampleMeta, ShardRow, canonical_json
from mermed.errors import IntegrityError
from mermed.eval.collection import Collection
from mermed.model.encoder import features
from mermed.stream.scan import canvases_in_order

FEATURES_VERSION = 1
"""Names the arithmetic from pixels to features: change it whenever any number would change."""
Feature = Literal["cls", "patch_mean", "both"]
_PART_SAMPLES = 2048
_BATCH = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """How an image becomes an encoder's input: canvas and view side in pixels, constants per modality in order."""

    canvas_px: int
    side_px: int
    modalities: tuple[str, ...]
    normalisation: Normalisation

    @property
    def digest(self) -> str:
        """Equal digests mean equal inputs for equal images."""
        constants = [self.normalisation.mean.tolist(), self.normalisation.std.tolist()]
        described = [FEATURES_VERSION, self.canvas_px, self.side_px, list(self.modalities), constants]
        return hashlib.sha256(canonical_json(described)).hexdigest()


def weights_digest(encoder: nn.Module, architecture: str) -> str:
    """The xxh3 of an encoder's architecture name and of every tensor in it."""
    digest = xxhash.xxh3_128(architecture.encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class FeatureCache:
    """The features of one encoder below `folder`: a folder named by what they depend on, one file per part."""

    def __init__(self, folder: Path, weights: str, transform: Transform, collection: Collection) -> None:
        self.about = {"weights": weights, "transform": transform.digest, "data": collection.manifest.digest}
        name = hashlib.sha256(canonical_json(self.about)).hexdigest()[:16]
        self.folder = folder / name

    def save(self, part: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one part; its JSON comes last and makes it count."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(part)
        draft = path.with_suffix(".tmp")
        save_file(dict(tensors), draft)
        seal = {"about": self.about, "samples": len(next(iter(tensors.values()))), "xxh3": _xxh3(draft)}
        os.replace(draft, path)
        path.with_suffix(".json").write_text(json.dumps(seal, indent=1), "utf-8")

    def load(self, part: int, samples: int) -> dict[str, Tensor] | None:
        """One part as it was saved, or None where it is missing, unfinished or damaged: it is then made again."""
        path = self._path(part)
        try:
            seal = json.loads(path.with_suffix(".json").read_bytes())
            if seal != {"about": self.about, "samples": samples, "xxh3": _xxh3(path)}:
                return None
            return load_file(path)
        except (OSError, ValueError, SafetensorError):
            return None

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.safetensors"


def _xxh3(path: Path) -> str:
    with path.open("rb") as file:
        digest = xxhash.xxh3_64()
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def parts_of(rows: Sequence[ShardRow], part_samples: int = _PART_SAMPLES) -> list[tuple[ShardRow, ...]]:
    """Cut `rows` into runs of whole shards with `part_samples` samples or a little more: what a restart repeats."""
    parts: list[tuple[ShardRow, ...]] = []
    pending: list[ShardRow] = []
    for row in rows:
        pending.append(row)
        if sum(held.samples for held in pending) >= part_samples:
            parts.append(tuple(pending))
            pending = []
    return [*parts, tuple(pending)] if pending else parts


def extract(
    encoders: Mapping[str, nn.Module],
    caches: Mapping[str, FeatureCache],
    collection: Collection,
    transform: Transform,
    *,
    device: torch.device,
    num_threads: int,
    console: Console,
) -> None:
    """Fill the caches of all `encoders` with the features of every sample of `collection`; skips parts that are there.

    Raises IntegrityError where a sample is not the one the collection named in that place.
    """
    parts = parts_of(collection.rows)
    starts = [0]
    for rows in parts:
        starts.append(starts[-1] + sum(row.samples for row in rows))
    with _progress(console) as progress:
        bar = progress.add_task("features", total=len(collection.metas))
        for part, rows in enumerate(parts):
            metas = collection.metas[starts[part] : starts[part + 1]]
            missing = [name for name in encoders if caches[name].load(part, len(metas)) is None]
            if missing:
                models = {name: encoders[name].to(device).eval() for name in missing}
                batches = canvases_in_order(
                    collection.folder,
                    rows,
                    transform.modalities,
                    canvas_px=transform.canvas_px,
                    batch=_BATCH[device.type],
                    num_threads=num_threads,
                )
                made = _forward(models, batches, transform, metas, device, partial(progress.advance, bar))
                for name, tensors in made.items():
                    caches[name].save(part, tensors)
            progress.update(bar, completed=starts[part + 1])


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _forward(
    models: Mapping[str, nn.Module],
    batches: Iterator[CanvasBatch],
    transform: Transform,
    metas: Sequence[SampleMeta],
    device: torch.device,
    advance: Callable[[float], None],
) -> dict[str, dict[str, Tensor]]:
    """Features of one part by each model: name -> {"cls", "patch_mean"}, [samples, width] float32 on the host."""
    collected: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    done = 0
    for canvases in batches:
        _check_order(canvases, metas[done : done + len(canvases)])
        for place, tensor in _features_of(models, canvases, transform, device).items():
            collected[place].append(tensor)
        done += len(canvases)
        advance(len(canvases))
    made: dict[str, dict[str, Tensor]] = {name: {} for name in models}
    for (name, kind), tensors in collected.items():
        made[name][kind] = torch.cat(tensors)
    return made


# around the forward alone: the stream allocates its buffers while it is iterated, and must be free to write them
@torch.inference_mode()
def _features_of(
    models: Mapping[str, nn.Module], canvases: CanvasBatch, transform: Transform, device: torch.device
) -> dict[tuple[str, str], Tensor]:
    on_device = replace(canvases, pixels=canvases.pixels.to(device), modality=canvases.modality.to(device))
    views = centre_views(on_device, transform.side_px, transform.normalisation)
    return {
        (name, kind): tensor.float().cpu()
        for name, model in models.items()
        for kind, tensor in features(model, views).items()
    }


def _check_order(canvases: CanvasBatch, metas: Sequence[SampleMeta]) -> None:
    for found, expected in zip(canvases.meta, metas, strict=True):
        if found.key != expected.key:
            raise IntegrityError(
                "the collection changed while it was read",
                where={"dataset": f"{expected.modality}/{expected.dataset}"},
                expected=f"key {expected.key}",
                found=f"key {found.key}",
                next_step="mermed-shard verify DATA",
            )


def load_features(cache: FeatureCache, collection: Collection, feature: Feature) -> Float[Tensor, "samples width"]:
    """The features of every sample of `collection` in manifest order; `both` puts the two side by side."""
    kinds = ("cls", "patch_mean") if feature == "both" else (feature,)
    tables = []
    for part, rows in enumerate(parts_of(collection.rows)):
        tensors = cache.load(part, sum(row.samples for row in rows))
        if tensors is None:
            raise IntegrityError(
                "cached features are missing or damaged",
                where={"folder": cache.folder, "part": part},
                next_step="run the same command again: it makes what is missing",
            )
        tables.append(torch.cat([tensors[kind] for kind in kinds], dim=1))
    return torch.cat(tables)
