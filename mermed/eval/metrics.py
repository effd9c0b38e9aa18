"""AUROC, accuracy and balanced accuracy with 95 % intervals from a bootstrap over groups (patients), not images.

All resamples are scored at once: a resample is a weight per image, and a rank-based AUROC with weights needs one sort.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from mermed import keyed

NUM_RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
_CHUNK_WEIGHTS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number with its 95 % interval; `value` is None, and `reason` says why, where it is not defined.

    `lacking` counts the resamples in which a class had no AUROC, so that they were averaged over fewer classes.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    lacking: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resampling:
    """A bootstrap over groups: resample r draws as many groups as there are, with replacement.

    Equal `group` and `seed` give equal resamples, so two models scored with one Resampling are paired.
    """

    group: Int64[np.ndarray, " images"]
    seed: int
    num_resamples: int = NUM_RESAMPLES

    @property
    def num_groups(self) -> int:
        """How many groups there are to draw."""
        return len(np.unique(self.group))

    def weights(self) -> Iterator[Float[np.ndarray, "resamples images"]]:
        """How often each image occurs in each resample, some resamples at a time."""
        _, number = np.unique(self.group, return_inverse=True)
        count, stream = self.num_groups, keyed.key("bootstrap over groups", self.seed)
        step = max(1, _CHUNK_WEIGHTS // max(1, len(self.group)))
        for start in range(0, self.num_resamples, step):
            resample = np.arange(start, min(start + step, self.num_resamples))
            drawn = (keyed.uniform(stream, resample[:, None], np.arange(count)) * count).astype(np.int64)
            cells = (drawn + count * np.arange(len(resample))[:, None]).ravel()
            times = np.bincount(cells, minlength=count * len(resample)).reshape(len(resample), count)
            yield times[:, number].astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """All measures of one model on one task: macro and per-class AUROC, accuracy, balanced accuracy.

    `auroc_rows` is the macro AUROC of the test images as they are, then of every resample, NaN where not defined:
    paired differences are taken from it.
    `notes` says what a reader must know about the scores, such as classes that cannot be predicted.
    """

    auroc: Measure
    accuracy: Measure
    balanced_accuracy: Measure
    class_auroc: tuple[Measure, ...]
    auroc_rows: Float[np.ndarray, " rows"]
    notes: tuple[str, ...] = ()


def weighted_auroc(
    scores: Float[np.ndarray, " images"],
    positive: Bool[np.ndarray, " images"],
    weights: Float[np.ndarray, "resamples images"],
) -> Float[np.ndarray, " resamples"]:
    """Chance that a positive image scores above a negative one, ties counting half, for each row of weights.

    NaN where a row gives no weight to the positives or none to the negatives.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    tie_starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    ordered = weights[:, order]
    # (resamples, images) -> (resamples, distinct scores)
    won = np.add.reduceat(ordered * positive[order], tie_starts, axis=1)
    lost = np.add.reduceat(ordered * ~positive[order], tie_starts, axis=1)
    below = np.cumsum(lost, axis=1) - lost
    pairs = won.sum(1) * lost.sum(1)
    wins = (won * (below + 0.5 * lost)).sum(1)
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def score(
    scores: Float[np.ndarray, "images classes"],
    label: Int64[np.ndarray, " images"],
    excluded: Sequence[str],
    resampling: Resampling,
) -> Scored:
    """Score predictions against `label`. `excluded` holds, per class, why its AUROC is not defined, or "".

    The excluded classes are a property of the task, never of the model, so that models are averaged over the same
    classes. Scores that are not finite, or the same for every image, give no measure but the reason.
    """
    counted = np.array([not reason for reason in excluded])
    defect = _defect(scores, counted)
    if defect:
        nothing = Measure(value=None, reason=defect)
        return Scored(
            auroc=nothing,
            accuracy=nothing,
            balanced_accuracy=nothing,
            class_auroc=tuple(Measure(value=None, reason=reason or defect) for reason in excluded),
            auroc_rows=np.full(1 + resampling.num_resamples, np.nan),
        )
    rows = _measure_rows(scores, label, counted, resampling)
    enough = resampling.num_groups > 1
    per_class = [from_rows(rows["class"][:, c], enough, reason) for c, reason in enumerate(excluded)]
    lacking = int(np.isnan(rows["class"][1:, counted]).any(1).sum())
    return Scored(
        auroc=from_rows(rows["auroc"], enough, lacking=lacking),
        accuracy=from_rows(rows["accuracy"], enough),
        balanced_accuracy=from_rows(rows["balanced_accuracy"], enough),
        class_auroc=tuple(per_class),
        auroc_rows=rows["auroc"],
        notes=_notes(scores, counted),
    )


def _defect(scores: np.ndarray, counted: np.ndarray) -> str:
    """Why a whole set of scores cannot be judged; empty when it can."""
    if not np.isfinite(scores).all():
        return "scores are not finite"
    if not counted.any():
        return "no class has both train images and test images with and without it"
    if len(scores) and (scores == scores[:1]).all():
        return "the scores are the same for every image"
    return ""


def _notes(scores: np.ndarray, counted: np.ndarray) -> tuple[str, ...]:
    constant = int(((scores == scores[:1]).all(0) & counted).sum())
    return (f"{constant} classes got one score for every image and count as 0.5",) if constant else ()


def _measure_rows(
    scores: np.ndarray, label: np.ndarray, counted: np.ndarray, resampling: Resampling
) -> dict[str, np.ndarray]:
    """Every measure for the test images as they are (row 0) and for every resample (the rows after it)."""
    parts = [_weighted_measures(scores, label, counted, np.ones((1, len(label))))]
    parts += [_weighted_measures(scores, label, counted, weights) for weights in resampling.weights()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _weighted_measures(
    scores: np.ndarray, label: np.ndarray, counted: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    per_class = np.full((len(weights), scores.shape[1]), np.nan)
    for number in np.flatnonzero(counted):
        per_class[:, number] = weighted_auroc(scores[:, number], label == number, weights)
    right = weights * (scores.argmax(1) == label)
    membership = (label[:, None] == np.arange(scores.shape[1])).astype(np.float64)
    # (resamples, images) @ (images, classes) -> (resamples, classes)
    size, hits = weights @ membership, right @ membership
    recall = np.divide(hits, size, out=np.full_like(size, np.nan), where=size > 0)
    return {
        "class": per_class,
        "auroc": _mean_of_defined(per_class),
        "accuracy": right.sum(1) / weights.sum(1),
        "balanced_accuracy": _mean_of_defined(recall),
    }


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean of each row over its numbers, NaN for a row without any."""
    defined = ~np.isnan(values)
    count = defined.sum(1)
    total = np.where(defined, values, 0.0).sum(1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def from_rows(
    rows: Float[np.ndarray, " rows"], enough_groups: bool = True, reason: str = "", lacking: int | None = None
) -> Measure:
    """The measure whose value is row 0 and whose resamples are the other rows; `reason` says why there is none."""
    value, draws = rows[0], rows[1:]
    if reason or np.isnan(value):
        return Measure(value=None, reason=reason or "not defined on these test images")
    defined = draws[~np.isnan(draws)]
    missing = len(draws) - len(defined) if lacking is None else lacking
    if not enough_groups or not len(defined):
        return Measure(value=float(value), lacking=missing, reason="no interval: fewer than two groups in test")
    low, high = np.percentile(defined, INTERVAL_PERCENT)
    return Measure(value=float(value), low=float(low), high=float(high), lacking=missing)


def mean_auroc(models: Sequence[Scored]) -> Measure:
    """Mean macro AUROC of several models on one task, with the interval of that mean over their paired resamples."""
    return _combined(np.mean([scored.auroc_rows for scored in models], axis=0), models)


def difference(first: Scored, others: Sequence[Scored]) -> Measure:
    """Macro AUROC of `first` minus the mean of `others`, with the interval of the paired resamples."""
    return _combined(first.auroc_rows - np.mean([scored.auroc_rows for scored in others], axis=0), [first, *others])


def _combined(rows: np.ndarray, models: Sequence[Scored]) -> Measure:
    """A measure made of several models; not defined where one of them is not."""
    reason = next((scored.auroc.reason for scored in models if scored.auroc.value is None), "")
    return from_rows(rows, models[0].auroc.low is not None, reason)
