"""One task, all models: both probes on frozen features, the measures side by side, the paired differences."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mermed import keyed
from mermed.eval.knn import knn_scores
from mermed.eval.metrics import Measure, Resampling, Scored, difference, from_rows, mean_auroc, score
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """One task's numbers, ready for JSON: probe -> model -> measures, and probe -> "differences".

    `auroc_rows` holds, per probe and model, the macro AUROC as it is and of every resample: means over tasks need it.
    """

    results: dict[str, Any]
    auroc_rows: dict[str, dict[str, Float[np.ndarray, " rows"]]]


def compare(task: Task, features: Mapping[str, Float[Tensor, "samples width"]], seed: int) -> Comparison:
    """Score all models on one task, with the same resamples; those of different tasks are independent.

    `features` maps each name of `model_names()` to the features of the whole collection.
    """
    resampling = Resampling(task.splits["test"].group, keyed.key(task.name, seed))
    results, rows = {}, {}
    for probe in PROBES:
        scored, facts = {}, {}
        for name in model_names():
            scores, facts[name] = _predict(probe, task, features[name], seed)
            scored[name] = score(scores, task.splits["test"].label, task.excluded, resampling)
        results[probe] = _entry(task, scored, facts)
        random = np.mean([scored[random_name(number)].auroc_rows for number in range(RANDOM_SEEDS)], axis=0)
        rows[probe] = {"random": random, **{name: scored[name].auroc_rows for name in ("initial", "teacher")}}
    return Comparison(results, rows)


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


def overall(entries: Sequence[Mapping[str, Any]], compared: Mapping[str, Comparison]) -> dict[str, Any]:
    """Over all tasks that have numbers: mean AUROC per probe and model, and where the teacher is better or worse.

    `entries` are the tasks of the summary, `compared` maps the names of the scored ones to their comparison. A task
    counts as better (worse) when the whole 95 % interval of the paired difference lies above (below) 0, and as too
    small with fewer than 20 test groups. A mean over tasks has an interval too: every task is resampled by itself.
    """
    small = {task["name"] for task in entries if task["groups"]["test"] < MIN_GROUPS}
    summary = {}
    for probe in PROBES:
        differences = {name: one.results[probe]["differences"] for name, one in compared.items()}
        against = {
            what: _tally({name: measures[f"teacher - {what}"] for name, measures in differences.items()}, small)
            for what in ("random", "initial")
        }
        summary[probe] = {**_means([one.auroc_rows[probe] for one in compared.values()]), "teacher_against": against}
    return summary


def _means(tasks: Sequence[Mapping[str, Float[np.ndarray, " rows"]]]) -> dict[str, Any]:
    """Means over the tasks in which every model has a number."""
    complete = [rows for rows in tasks if not any(np.isnan(rows[model][0]) for model in MODELS)]
    if not complete:
        nothing = asdict(Measure(value=None, reason="no dataset has a number for every model"))
        differences = {f"teacher - {what}": nothing for what in ("random", "initial")}
        return {"tasks_averaged": 0, "mean_auroc": dict.fromkeys(MODELS, nothing), "mean_difference": differences}
    mean = {model: np.mean([rows[model] for rows in complete], axis=0) for model in MODELS}
    return {
        "tasks_averaged": len(complete),
        "mean_auroc": {model: asdict(from_rows(mean[model])) for model in MODELS},
        "mean_difference": {
            f"teacher - {what}": asdict(from_rows(mean["teacher"] - mean[what])) for what in ("random", "initial")
        },
    }


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
