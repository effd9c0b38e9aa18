"""The linear probe against scikit-learn's own pipeline, and how its strength is chosen."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mermed.eval.probe import C_GRID, DEFAULT_C, ProbeData, linear_probe


def split(seed, images, classes=3, width=6, signal=0.8, per_group=2):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, images)
    features = 5.0 + 3.0 * rng.normal(size=(images, width))
    features[:, :classes] += 3.0 * signal * np.eye(classes)[label]
    group = np.arange(images) // per_group + 1000 * seed
    return ProbeData(features=features.astype(np.float32), label=label, group=group)


EMPTY = ProbeData(features=np.zeros((0, 6), np.float32), label=np.zeros(0, int), group=np.zeros(0, int))


def reference(train, c, features):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000, tol=1e-8))
    return model.fit(train.features, train.label).predict_proba(features)


def test_the_probe_is_the_best_of_scikit_learns_on_validation_and_fitted_on_train_alone():
    train, val, test = split(0, 90), split(1, 60), split(2, 50)
    aurocs = [roc_auc_score(val.label, reference(train, c, val.features), multi_class="ovr") for c in C_GRID]
    result = linear_probe(train, val, test.features, num_classes=3, seed=0)
    assert result.chosen_on == "val"
    assert result.val_auroc == pytest.approx(max(aurocs), abs=2e-3)
    assert aurocs[C_GRID.index(result.c)] == pytest.approx(max(aurocs), abs=2e-3)
    assert result.scores == pytest.approx(reference(train, result.c, test.features), abs=2e-3)
    assert result.converged


def test_without_validation_groups_of_train_are_held_out_and_all_of_train_is_fitted():
    train, test = split(0, 90), split(2, 50)
    result = linear_probe(train, EMPTY, test.features, num_classes=3, seed=0)
    assert result.chosen_on == "train groups held out"
    assert result.scores == pytest.approx(reference(train, result.c, test.features), abs=2e-3)


def test_validation_of_one_class_cannot_choose():
    train, val = split(0, 90), split(1, 8)
    val.label[:] = 1
    assert linear_probe(train, val, val.features, num_classes=3, seed=0).chosen_on == "train groups held out"


def test_when_nothing_can_be_held_out_the_default_is_said():
    train = split(0, 6, classes=2)
    train.group[:] = 0
    result = linear_probe(train, EMPTY, train.features, num_classes=2, seed=0)
    assert (result.chosen_on, result.c, result.val_auroc) == ("nothing", DEFAULT_C, None)
    assert result.scores == pytest.approx(reference(train, DEFAULT_C, train.features), abs=2e-3)


def test_a_class_without_train_images_scores_zero():
    train, val = split(0, 60, classes=2), split(1, 40, classes=3)
    scores = linear_probe(train, val, val.features, num_classes=3, seed=0).scores
    assert (scores[:, 2] == 0).all()
    assert scores.sum(1) == pytest.approx(1.0)


def test_a_feature_that_never_changes_does_no_harm():
    train, val = split(0, 60), split(1, 40)
    train.features[:, 5] = val.features[:, 5] = 7.0
    result = linear_probe(train, val, val.features, num_classes=3, seed=0)
    assert np.isfinite(result.scores).all()
    assert roc_auc_score(val.label, result.scores, multi_class="ovr") > 0.6
