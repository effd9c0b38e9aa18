"""The evaluation of a run: features of five encoders, tasks, probes, intervals, then summary.json and report.html."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn

from mermed.draft import replace_file
from mermed.errors import ConfigError, EnvironmentError_, missing_extra
from mermed.eval import comparison
from mermed.eval.collection import Collection, open_collection
from mermed.eval.features import Feature, FeatureCache, Transform, extract, load_features, weights_digest
from mermed.eval.knn import NUM_NEIGHBOURS, TEMPERATURE
from mermed.eval.metrics import NUM_RESAMPLES
from mermed.eval.pretrained import Leak, PretrainedRun, constants_for, leak_of, open_run
from mermed.eval.probe import C_GRID
from mermed.eval.tasks import Task, tasks_of
from mermed.model.weights import encoder_from_run

SUMMARY_VERSION = 1
SUMMARY_NAME, REPORT_NAME, OWNER_NAME = "summary.json", "report.html", "eval.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """What the user may choose. `seed` decides the resamples and the random weights; 0 threads means one per core."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    feature: Feature = "cls"
    seed: int = 0
    num_threads: int = 0


def evaluate(run: Path, shards: Path, out: Path, settings: EvalSettings, console: Console) -> dict[str, Any]:
    """Judge the teacher of `run` on every labelled dataset of `shards`, beside random and initial weights.

    Writes OUT/features, OUT/summary.json and OUT/report.html and returns the summary. Raises ConfigError when OUT
    belongs to something else, IntegrityError for changed bytes and for patients on both sides of a split.
    """
    began = time.monotonic()
    _check_plots()
    device = _choose_device(settings.device)
    pretrained = open_run(run)
    collection = open_collection(shards, settings.num_threads)
    tasks = tasks_of(collection.manifest, collection.metas)
    _claim(out, pretrained, collection)
    transform, unknown = _transform(pretrained, collection)
    encoders = _encoders(pretrained, settings.seed)
    digests = {name: weights_digest(encoder, pretrained.config.model.encoder) for name, encoder in encoders.items()}
    caches = {name: FeatureCache(out / "features", digests[name], transform, collection) for name in encoders}
    extract(encoders, caches, collection, transform, device=device, num_threads=settings.num_threads, console=console)
    features = {name: load_features(caches[name], collection, settings.feature) for name in encoders}
    compared = _compare(tasks, features, settings.seed, console)
    entries = [_task_facts(task, compared, leak_of(pretrained, collection.manifest, task.modality)) for task in tasks]
    summary = {
        "version": SUMMARY_VERSION,
        "run": _run_facts(pretrained),
        "data": _data_facts(collection, unknown),
        "models": {name: {"weights": digest} for name, digest in digests.items()},
        "settings": _settings_facts(settings, transform, device),
        "tasks": entries,
        "overall": comparison.overall(entries, compared),
        "seconds": round(time.monotonic() - began, 1),
    }
    _write(out, summary, features["teacher"], collection, tasks)
    return summary


def _check_plots() -> None:
    """Fail before the work rather than after it when the report cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise missing_extra("plots", "the report") from None


def _choose_device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise EnvironmentError_(
            "no GPU on this machine", expected="a CUDA device", found="none", next_step="--device cpu"
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _claim(out: Path, run: PretrainedRun, collection: Collection) -> None:
    """Make OUT the place of this run and collection; raises ConfigError when it holds anything else."""
    owner = {"run": run.digest, "data": collection.manifest.digest}
    path = out / OWNER_NAME
    if out.exists() and not out.is_dir():
        raise ConfigError("the evaluation folder is a file", where={"path": out}, next_step="choose another --out")
    if out.exists() and any(out.iterdir()):
        found = json.loads(path.read_bytes()) if path.is_file() else None
        if found != owner:
            raise ConfigError(
                "the evaluation folder belongs to another run or collection",
                where={"folder": out},
                expected=f"run {run.digest[:12]}, data {collection.manifest.digest[:12]}",
                found=f"run {found['run'][:12]}, data {found['data'][:12]}" if found else f"files, but no {OWNER_NAME}",
                next_step="choose another --out, or delete the folder",
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(owner, indent=1), "utf-8")


def _transform(run: PretrainedRun, collection: Collection) -> tuple[Transform, tuple[str, ...]]:
    constants, unknown = constants_for(run, collection.modalities, collection.manifest)
    transform = Transform(
        canvas_px=run.config.stream.canvas_px,
        side_px=run.config.augment.global_px,
        modalities=collection.modalities,
        normalisation=constants,
    )
    return transform, unknown


def _encoders(run: PretrainedRun, seed: int) -> dict[str, nn.Module]:
    encoders = {name: encoder_from_run(run.path, name, seed)[0] for name in ("teacher", "initial")}
    for number in range(comparison.RANDOM_SEEDS):
        name = comparison.random_name(number)
        encoders[name] = encoder_from_run(run.path, "random", seed * comparison.RANDOM_SEEDS + number)[0]
    return encoders


def _compare(
    tasks: Sequence[Task], features: Mapping[str, Tensor], seed: int, console: Console
) -> dict[str, comparison.Comparison]:
    compared = {}
    with console.status("probes") as status:
        for task in tasks:
            if not task.reason:
                status.update(f"probes on {task.name}")
                compared[task.name] = comparison.compare(task, features, seed)
    return compared


def _task_facts(task: Task, compared: Mapping[str, comparison.Comparison], leak: Leak) -> dict[str, Any]:
    return {
        "name": task.name,
        "modality": task.modality,
        "dataset": task.dataset,
        "status": "not scored" if task.reason else "scored",
        "reason": task.reason,
        "classes": list(task.classes),
        "images": {name: task.class_counts(name) for name in task.splits},
        "groups": {name: len(set(split.group.tolist())) for name, split in task.splits.items()},
        "unlabelled": task.num_unlabelled,
        "excluded_classes": {c: why for c, why in zip(task.classes, task.excluded, strict=True) if why},
        "flaws": [{"badge": flaw.badge, "reason": flaw.reason} for flaw in task.flaws],
        "leak": asdict(leak),
        "results": compared[task.name].results if task.name in compared else {},
    }


def _run_facts(run: PretrainedRun) -> dict[str, Any]:
    return {
        "name": run.path.resolve().name,
        "preset": run.config.preset,
        "encoder": run.config.model.encoder,
        "initial_weights": "a file" if run.config.model.init else "random",
        "seed": run.config.seed,
        "checkpoint": run.checkpoint,
        "step": run.step,
        "steps_planned": run.config.train.steps,
        "images_seen": run.images_seen,
        "skipped_checkpoints": list(run.skipped),
        "manifest_digest": run.manifest_digest,
        "digest": run.digest,
    }


def _data_facts(collection: Collection, unknown: Sequence[str]) -> dict[str, Any]:
    return {
        "name": collection.folder.resolve().name,
        "manifest_digest": collection.manifest.digest,
        "images": len(collection.metas),
        "modalities": list(collection.modalities),
        "unknown_modalities": list(unknown),
    }


def _settings_facts(settings: EvalSettings, transform: Transform, device: torch.device) -> dict[str, Any]:
    return {
        "feature": settings.feature,
        "seed": settings.seed,
        "device": device.type,
        "canvas_px": transform.canvas_px,
        "side_px": transform.side_px,
        "transform_digest": transform.digest,
        "knn": {"neighbours": NUM_NEIGHBOURS, "temperature": TEMPERATURE},
        "linear": {"c_grid": list(C_GRID)},
        "resamples": NUM_RESAMPLES,
        "random_seeds": comparison.RANDOM_SEEDS,
    }


def _write(out: Path, summary: dict[str, Any], features: Tensor, collection: Collection, tasks: Sequence[Task]) -> None:
    # drawing libraries load in half a second, which a refused command need not pay
    from mermed.eval.maps import embedding_maps
    from mermed.eval.report import render

    page = render(summary, embedding_maps(features, collection.metas, tasks, summary["settings"]["seed"]))
    for name, text in ((SUMMARY_NAME, json.dumps(summary, indent=1, allow_nan=False)), (REPORT_NAME, page)):
        replace_file(out / name, text.encode())
