"""One task, all models: the numbers are those of the parts, and the tally says what the intervals say."""

from dataclasses import replace

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


def entry(name, test_groups):
    return {"name": name, "groups": {"test": test_groups}}


def test_a_teacher_that_knows_the_class_beats_random_and_the_tally_says_so():
    task = task_of({"train": 120, "val": 60, "test": 120})
    features = {name: features_of(task, 4.0 if name == "teacher" else 0.5, seed=1) for name in model_names()}
    compared = compare(task, features, seed=0)
    results = compared.results
    summary = overall([entry("us/x", 60), entry("us/y", 0)], {"us/x": compared})
    for probe in ("knn", "linear"):
        gap = results[probe]["differences"]["teacher - random"]
        assert gap["value"] == pytest.approx(
            results[probe]["teacher"]["auroc"]["value"] - results[probe]["random"]["auroc"]["value"]
        )
        assert 0 < gap["low"] <= gap["value"] <= gap["high"]
        assert summary[probe]["teacher_against"]["random"]["better"] == ["us/x"]
        assert summary[probe]["mean_auroc"]["teacher"]["value"] == results[probe]["teacher"]["auroc"]["value"]
        assert summary[probe]["mean_difference"]["teacher - random"] == gap
        assert summary[probe]["tasks_averaged"] == 1


def test_equal_features_are_undecided_and_few_groups_too_small():
    task = task_of({"train": 60, "val": 30, "test": 60})
    features = {name: features_of(task, 1.0) for name in model_names()}
    compared = compare(task, features, seed=0)
    for groups, word in ((30, "undecided"), (19, "too small")):
        tally = overall([entry("us/x", groups)], {"us/x": compared})["linear"]
        assert tally["teacher_against"]["initial"][word] == ["us/x"]


def test_features_that_are_not_finite_give_no_number_but_the_reason():
    task = task_of({"train": 40, "val": 20, "test": 30})
    features = {name: features_of(task, 1.0) for name in model_names()}
    features["teacher"] = features["teacher"].clone()
    features["teacher"][3, 1] = float("nan")
    compared = compare(task, features, seed=0)
    results = compared.results
    for probe in ("knn", "linear"):
        assert results[probe]["teacher"]["auroc"]["reason"] == "scores are not finite"
        assert results[probe]["random"]["auroc"]["value"] is not None
    tally = overall([entry("us/x", 30)], {"us/x": compared})["linear"]
    assert tally["teacher_against"]["random"]["n/a"] == ["us/x"]
    assert tally["tasks_averaged"] == 0
    assert tally["mean_auroc"]["random"]["value"] is None


def test_collapsed_features_give_no_number_but_the_reason():
    task = task_of({"train": 40, "val": 20, "test": 30})
    features = {name: features_of(task, 1.0) for name in model_names()}
    features["teacher"] = torch.ones(90, 5)
    compared = compare(task, features, seed=0)
    results = compared.results
    assert results["linear"]["teacher"]["auroc"]["reason"] == "the scores are the same for every image"
    assert results["knn"]["teacher"]["auroc"]["reason"] == "the scores are the same for every image"


def test_the_mean_over_tasks_is_surer_than_each_of_them():
    compared = {}
    for number in range(4):
        task = replace(task_of({"train": 60, "val": 30, "test": 60}, seed=number), dataset=f"x{number}")
        features = {name: features_of(task, 1.0 if name == "teacher" else 0.5, seed=number) for name in model_names()}
        compared[task.name] = compare(task, features, seed=0)
    summary = overall([entry(name, 30) for name in compared], compared)["knn"]
    mean = summary["mean_auroc"]["teacher"]
    each = [one.results["knn"]["teacher"]["auroc"] for one in compared.values()]
    assert summary["tasks_averaged"] == 4
    assert mean["value"] == pytest.approx(np.mean([measure["value"] for measure in each]))
    width = np.mean([measure["high"] - measure["low"] for measure in each])
    assert mean["high"] - mean["low"] == pytest.approx(width / 2, rel=0.2), "four independent tasks halve it"
