"""Measures against scikit-learn and brute force; intervals against simulation."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from mermed.eval.metrics import Resampling, difference, mean_auroc, score, weighted_auroc


def brute_force_auroc(scores, positive, weights):
    """Every pair of a positive and a negative image, one at a time."""
    wins = pairs = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            pair = weights[i] * weights[j]
            pairs += pair
            wins += pair * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    return wins / pairs


def predictions(seed, images=60, classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, images)
    scores = rng.normal(size=(images, classes))
    scores[np.arange(images), label] += signal
    odds = np.exp(scores)
    return odds / odds.sum(1, keepdims=True), label


def test_auroc_equals_scikit_learn_also_with_ties():
    rng = np.random.default_rng(0)
    for levels in (3, 10, 1000):
        scores, positive = rng.integers(0, levels, 80) / levels, rng.random(80) < 0.3
        ours = weighted_auroc(scores, positive, np.ones((1, 80)))[0]
        assert ours == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_weighted_auroc_equals_every_pair_counted_by_hand():
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 6, 25).astype(float), rng.random(25) < 0.5
    weights = rng.integers(0, 4, (5, 25)).astype(float)
    by_hand = [brute_force_auroc(scores, positive, row) for row in weights]
    assert weighted_auroc(scores, positive, weights) == pytest.approx(by_hand, abs=1e-12)


def test_a_resample_without_one_side_has_no_auroc():
    weights = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    values = weighted_auroc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]), weights)
    assert np.isnan(values[0])
    assert values[1] == 1.0


def test_measures_equal_scikit_learn():
    scores, label = predictions(2)
    scored = score(scores, label, ["", "", ""], Resampling(np.arange(60), seed=0, num_resamples=20))
    assert scored.auroc.value == pytest.approx(roc_auc_score(label, scores, multi_class="ovr", average="macro"))
    assert scored.accuracy.value == pytest.approx(accuracy_score(label, scores.argmax(1)))
    assert scored.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(label, scores.argmax(1)))
    for number, measure in enumerate(scored.class_auroc):
        assert measure.value == pytest.approx(roc_auc_score(label == number, scores[:, number]))


def test_a_resample_equals_scikit_learn_on_the_images_repeated():
    scores, label = predictions(3)
    resampling = Resampling(np.arange(60) // 4, seed=5, num_resamples=8)
    scored = score(scores, label, ["", "", ""], resampling)
    times = np.concatenate(list(resampling.weights())).astype(int)
    for row, expected in zip(times, scored.auroc_rows[1:], strict=True):
        again = np.repeat(np.arange(60), row)
        assert roc_auc_score(label[again], scores[again], multi_class="ovr") == pytest.approx(expected)


def test_resamples_draw_groups_and_never_parts_of_one():
    group = np.array([0, 0, 0, 1, 2, 2])
    times = np.concatenate(list(Resampling(group, seed=1, num_resamples=400).weights()))
    assert (times[:, 0] == times[:, 1]).all() and (times[:, 0] == times[:, 2]).all()
    assert (times[:, 4] == times[:, 5]).all()
    drawn = times[:, [0, 3, 4]]
    assert (drawn.sum(1) == 3).all(), "as many groups as there are"
    assert drawn.mean(0) == pytest.approx(1.0, abs=0.15)


def test_resamples_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    group = np.arange(30) // 2
    whole = np.concatenate(list(Resampling(group, seed=3, num_resamples=50).weights()))
    monkeypatch.setattr("mermed.eval.metrics._CHUNK_WEIGHTS", 7 * 30)
    assert np.array_equal(whole, np.concatenate(list(Resampling(group, seed=3, num_resamples=50).weights())))


def covers(interval, truth):
    return interval.low <= truth <= interval.high


def test_intervals_over_patients_cover_the_truth_where_intervals_over_images_do_not():
    # 40 patients of 6 nearly equal images: the information is that of 40 images, not of 240
    rng = np.random.default_rng(7)
    by_patient = by_image = 0
    trials = 120
    for trial in range(trials):
        sick = rng.permutation(40) < 20
        patient_score = rng.normal(size=40) + 1.0 * sick
        scores = np.repeat(patient_score, 6) + 0.05 * rng.normal(size=240)
        label, group = np.repeat(sick, 6).astype(int), np.repeat(np.arange(40), 6)
        both = np.stack([-scores, scores], 1)
        truth = 0.7602  # chance that N(1, 1) exceeds N(0, 1)
        by_patient += covers(score(both, label, ["", ""], Resampling(group, trial, 200)).auroc, truth)
        by_image += covers(score(both, label, ["", ""], Resampling(np.arange(240), trial, 200)).auroc, truth)
    assert by_patient / trials > 0.87
    assert by_image / trials < 0.75


def test_shuffled_labels_give_intervals_that_cover_one_half():
    covered = 0
    for seed in range(20):
        scores, label = predictions(seed, signal=0.0)
        covered += covers(score(scores, label, ["", "", ""], Resampling(np.arange(60), seed, 300)).auroc, 0.5)
    assert covered >= 17


def test_a_class_that_resamples_miss_is_counted_and_left_out_there():
    scores, label = predictions(4, images=30)
    label[label == 2] = 0
    label[7] = 2
    scored = score(scores, label, ["", "", ""], Resampling(np.arange(30), seed=0, num_resamples=500))
    share = scored.auroc.lacking / 500
    assert share == pytest.approx((1 - 1 / 30) ** 30, abs=0.08)
    assert scored.class_auroc[2].lacking == scored.auroc.lacking
    assert scored.class_auroc[0].lacking == 0
    assert np.isfinite(scored.auroc_rows).all()


def test_an_excluded_class_has_its_reason_and_stays_out_of_the_mean():
    scores, label = predictions(5)
    scored = score(scores, label, ["", "", "no train image"], Resampling(np.arange(60), seed=0, num_resamples=20))
    assert scored.class_auroc[2].value is None
    assert scored.class_auroc[2].reason == "no train image"
    assert scored.auroc.value == pytest.approx(np.mean([scored.class_auroc[c].value for c in (0, 1)]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda scores: np.where(np.arange(60)[:, None] == 3, np.nan, scores), "scores are not finite"),
        (lambda scores: np.full_like(scores, 1 / 3), "the scores are the same for every image"),
    ],
)
def test_scores_that_mean_nothing_give_no_number_but_the_reason(spoil, reason):
    scores, label = predictions(6)
    scored = score(spoil(scores), label, ["", "", ""], Resampling(np.arange(60), seed=0, num_resamples=20))
    good = score(scores, label, ["", "", ""], Resampling(np.arange(60), seed=0, num_resamples=20))
    assert scored.auroc.value is None and scored.accuracy.value is None
    assert scored.auroc.reason == reason
    assert difference(good, [scored]).reason == reason
    assert mean_auroc([good, scored]).value is None


def test_a_class_with_one_score_for_all_counts_as_one_half_and_is_noted():
    scores, label = predictions(8)
    scores[:, 1] = 0.0
    scored = score(scores, label, ["", "", ""], Resampling(np.arange(60), seed=0, num_resamples=20))
    assert scored.class_auroc[1].value == 0.5
    assert "1 classes got one score" in scored.notes[0]


def test_one_patient_has_a_number_but_no_interval():
    scores, label = predictions(9)
    scored = score(scores, label, ["", "", ""], Resampling(np.zeros(60, int), seed=0, num_resamples=20))
    assert scored.auroc.value is not None
    assert scored.auroc.low is None
    assert "fewer than two groups" in scored.auroc.reason


def test_the_paired_difference_of_a_model_with_itself_is_exactly_zero():
    scores, label = predictions(10)
    resampling = Resampling(np.arange(60), seed=0, num_resamples=50)
    one, again = score(scores, label, [""] * 3, resampling), score(scores, label, [""] * 3, resampling)
    nothing = difference(one, [again, again])
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)


def test_a_paired_interval_is_narrower_than_the_two_apart():
    scores, label = predictions(11, images=200, classes=2)
    rng = np.random.default_rng(0)
    better = scores + 0.05 * rng.normal(size=scores.shape)
    better[np.arange(200), label] += 0.1
    resampling = Resampling(np.arange(200), seed=0, num_resamples=300)
    first, second = score(better, label, ["", ""], resampling), score(scores, label, ["", ""], resampling)
    paired = difference(first, [second])
    assert paired.low > 0
    assert paired.high - paired.low < first.auroc.high - first.auroc.low
