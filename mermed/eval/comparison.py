"""One task, all models: both probes on frozen features, the measures side by side, the paired differences."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mermed.eval.knn import knn_scores
from mermed.eval.metrics import Resampling, Scored, difference, mean_auroc, score
from mermed.eval.probe import ProbeData, linear_probe
from mermed.eval.tasks import Task

PROBES = ("knn", "linear")
MODELS = ("random", "initial", "teacher")
RANDOM_SEEDS = 3
MIN_GROUPS = 20
"""Test groups below which a percentile interval is too short to be believed, so that it decides nothing."""
_COLLAPSED_SPREAD = 1e-6


def random_name(number: int) -> str:
    """The name of the `number`-th model with random weights."""
    return f"random-{number}"


def model_names() -> tuple[str, ...]:
    """Every encoder whose features are needed: teacher, initial weights, random weights of several seeds."""
    return ("teacher", "initial", *(random_name(number) for number in range(RANDOM_SEEDS)))


def compare(task: Task, features: Mapping[str, Float[Tensor, "samples width"]], seed: int) -> dict[str, Any]:
    """All numbers of one task, ready for JSON: probe -> model -> measures, and probe -> "differences".

    `features` maps each name of `model_names()` to the features of the whole collection. The same resamples serve all.
    """
    resampling = Resampling(task.splits["test"].group, seed)
    results = {}
    for probe in PROBES:
        scored, facts = {}, {}
        for name in model_names():
            scores, facts[name] = _predict(probe, task, features[name], seed)
            scored[name] = score(scores, task.splits["test"].label, task.excluded, resampling)
        results[probe] = _entry(task, scored, facts)
    return results


def _predict(
    probe: str, task: Task, features: Float[Tensor, "samples width"], seed: int
) -> tuple[Float[np.ndarray, "test classes"], dict[str, Any]]:
    """Test scores of one probe on one model's features, and what the probe says about itself."""
    data = {
        name: ProbeData(features=features[split.place].numpy(), label=split.label, group=split.group)
        for name, split in task.splits.items()
    }
    train, test = data["train"], data["test"].features
    if not all(np.isfinite(part.features).all() for part in data.values()):
        return np.full((len(test), len(task.classes)), np.nan), {}
    if np.ptp(np.concatenate([train.features, test]), axis=0).max() < _COLLAPSED_SPREAD:
        # all images are one point: rounding would choose the neighbours
        return np.zeros((len(test), len(task.classes))), {}
    if probe == "knn":
        bank, label = torch.from_numpy(train.features), torch.from_numpy(train.label)
        return knn_scores(bank, label, torch.from_numpy(test), num_classes=len(task.classes)).numpy(), {}
    result = linear_probe(train, data["val"], test, num_classes=len(task.classes), seed=seed)
    return result.scores, {
        "c": result.c,
        "val_auroc": result.val_auroc,
        "chosen_on": result.chosen_on,
        "converged": result.converged,
    }


def _entry(task: Task, scored: Mapping[str, Scored], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    random = [scored[random_name(number)] for number in range(RANDOM_SEEDS)]
    values = [one.auroc.value for one in random if one.auroc.value is not None]
    entry = {name: _as_json(task, scored[name], facts[name]) for name in ("teacher", "initial")}
    entry["random"] = {
        **_as_json(task, random[0], facts[random_name(0)]),
        "auroc": asdict(mean_auroc(random)),
        "range": [min(values), max(values)] if values else None,
        "seeds": [asdict(one.auroc) for one in random],
    }
    entry["differences"] = {
        "teacher - random": asdict(difference(scored["teacher"], random)),
        "teacher - initial": asdict(difference(scored["teacher"], [scored["initial"]])),
    }
    return entry


def _as_json(task: Task, scored: Scored, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "auroc": asdict(scored.auroc),
        "accuracy": asdict(scored.accuracy),
        "balanced_accuracy": asdict(scored.balanced_accuracy),
        "class_auroc": dict(zip(task.classes, map(asdict, scored.class_auroc), strict=True)),
        "notes": list(scored.notes),
        **facts,
    }


def overall(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all tasks that have numbers: mean AUROC per probe and model, and where the teacher is better or worse.

    A task counts as better (worse) when the whole 95 % interval of the paired difference lies above (below) 0, and as
    too small with fewer than 20 test groups.
    """
    summary = {}
    scored = [task for task in tasks if task["results"]]
    small = {task["name"] for task in scored if task["groups"]["test"] < MIN_GROUPS}
    for probe in PROBES:
        entries = {task["name"]: task["results"][probe] for task in scored}
        complete = [entry for entry in entries.values() if all(entry[m]["auroc"]["value"] is not None for m in MODELS)]
        means = {model: _mean([entry[model]["auroc"]["value"] for entry in complete]) for model in MODELS}
        against = {
            what: _tally({name: entry["differences"][f"teacher - {what}"] for name, entry in entries.items()}, small)
            for what in ("random", "initial")
        }
        summary[probe] = {"tasks_averaged": len(complete), "mean_auroc": means, "teacher_against": against}
    return summary


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _tally(differences: Mapping[str, Mapping[str, Any]], small: Container[str]) -> dict[str, list[str]]:
    """Task names by what the interval of their difference says."""
    tally: dict[str, list[str]] = {"better": [], "worse": [], "undecided": [], "too small": [], "n/a": []}
    for name, measure in differences.items():
        tally["too small" if name in small else _says(measure)].append(name)
    return tally


def _says(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None or measure["low"] is None:
        return "n/a"
    if measure["low"] > 0:
        return "better"
    return "worse" if measure["high"] < 0 else "undecided"
