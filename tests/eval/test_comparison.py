"""One task, all models: the numbers are those of the parts, and the tally says what the intervals say."""

import numpy as np
import pytest
import torch

from mermed.eval.comparison import compare, model_names, overall
from mermed.eval.tasks import Task, TaskSplit


def task_of(images, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    splits, first = {}, 0
    for split, count in images.items():
        place = np.arange(first, first + count)
        splits[split] = TaskSplit(place=place, label=rng.integers(0, classes, count), group=place // 2)
        first += count
    return Task(
        modality="us",
        dataset="x",
        classes=tuple("abcd"[:classes]),
        splits=splits,
        excluded=("",) * classes,
        num_unlabelled=0,
        flaws=(),
        reason="",
    )


def features_of(task, signal, seed=0):
    label = np.concatenate([split.label for split in task.splits.values()])
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(label), 5, generator=generator)
    features[:, 0] += signal * torch.from_numpy(label)
    return features


def test_a_teacher_that_knows_the_class_beats_random_and_the_tally_says_so():
    task = task_of({"train": 120, "val": 60, "test": 120})
    features = {name: features_of(task, 4.0 if name == "teacher" else 0.5, seed=1) for name in model_names()}
    results = compare(task, features, seed=0)
    entry = {"name": "us/x", "results": results, "groups": {"test": 60}}
    summary = overall([entry, {"name": "us/y", "results": {}, "groups": {"test": 0}}])
    for probe in ("knn", "linear"):
        gap = results[probe]["differences"]["teacher - random"]
        assert gap["value"] == pytest.approx(
            results[probe]["teacher"]["auroc"]["value"] - results[probe]["random"]["auroc"]["value"]
        )
        assert 0 < gap["low"] <= gap["value"] <= gap["high"]
        assert summary[probe]["teacher_against"]["random"]["better"] == ["us/x"]
        assert summary[probe]["mean_auroc"]["teacher"] == results[probe]["teacher"]["auroc"]["value"]
        assert summary[probe]["tasks_averaged"] == 1


def test_equal_features_are_undecided_and_few_groups_too_small():
    task = task_of({"train": 60, "val": 30, "test": 60})
    features = {name: features_of(task, 1.0) for name in model_names()}
    results = compare(task, features, seed=0)
    for groups, word in ((30, "undecided"), (19, "too small")):
        tally = overall([{"name": "us/x", "results": results, "groups": {"test": groups}}])["linear"]
        assert tally["teacher_against"]["initial"][word] == ["us/x"]


def test_features_that_are_not_finite_give_no_number_but_the_reason():
    task = task_of({"train": 40, "val": 20, "test": 30})
    features = {name: features_of(task, 1.0) for name in model_names()}
    features["teacher"] = features["teacher"].clone()
    features["teacher"][3, 1] = float("nan")
    results = compare(task, features, seed=0)
    for probe in ("knn", "linear"):
        assert results[probe]["teacher"]["auroc"]["reason"] == "scores are not finite"
        assert results[probe]["random"]["auroc"]["value"] is not None
    tally = overall([{"name": "us/x", "results": results, "groups": {"test": 30}}])["linear"]
    assert tally["teacher_against"]["random"]["n/a"] == ["us/x"]
    assert tally["mean_auroc"]["random"] is None


def test_collapsed_features_give_no_number_but_the_reason():
    task = task_of({"train": 40, "val": 20, "test": 30})
    features = {name: features_of(task, 1.0) for name in model_names()}
    features["teacher"] = torch.ones(90, 5)
    results = compare(task, features, seed=0)
    assert results["linear"]["teacher"]["auroc"]["reason"] == "the scores are the same for every image"
    assert results["knn"]["teacher"]["auroc"]["reason"] == "the scores are the same for every image"
