"""Linear probe: L2-regularised logistic regression on standardised frozen features, its strength chosen on validation.

The test images are scored once, after the choice.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mermed import keyed
from mermed.eval.metrics import weighted_auroc

C_GRID = tuple(float(c) for c in np.logspace(-5, 1, 7))
DEFAULT_C = 0.01
HELD_OUT_SHARE = 0.25
_SPLIT_ATTEMPTS = 50
_MAX_ITERATIONS = 1000
_TOLERANCE = 1e-4
_CONSTANT_STD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeData:
    """Features, class numbers and group numbers of one split."""

    features: Float[np.ndarray, "images width"]
    label: Int64[np.ndarray, " images"]
    group: Int64[np.ndarray, " images"]

    def where(self, chosen: Bool[np.ndarray, " images"]) -> "ProbeData":
        """The images that `chosen` marks."""
        return ProbeData(features=self.features[chosen], label=self.label[chosen], group=self.group[chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Test scores of a probe, and how it came about.

    `chosen_on` is "val", "train groups held out" or "nothing"; `val_auroc` the macro AUROC there of the chosen `c`.
    """

    scores: Float[np.ndarray, "test classes"]
    c: float
    val_auroc: float | None
    chosen_on: str
    converged: bool


def linear_probe(
    train: ProbeData, val: ProbeData, test: Float[np.ndarray, "test width"], *, num_classes: int, seed: int
) -> ProbeResult:
    """Fit on `train` for each C, choose C on `val`, score `test` with the fit on `train` of that C.

    Without a usable `val` a quarter of the train groups is held out for the choice, and the probe is fitted again on
    all of `train`. Where even that is impossible C is 0.01, which the result says.
    """
    chosen_on, fitted, held = "val", train, val
    if not _can_choose(train, val):
        chosen_on, fitted, held = "train groups held out", *_hold_out(train, seed)
    if not _can_choose(fitted, held):
        scores, converged = _Path(train, num_classes).scores(DEFAULT_C, test)
        return ProbeResult(scores=scores, c=DEFAULT_C, val_auroc=None, chosen_on="nothing", converged=converged)
    path = _Path(fitted, num_classes)
    aurocs = [_macro_auroc(path.scores(c, held.features)[0], held.label) for c in C_GRID]
    best = int(np.argmax(aurocs))  # of equal ones the smallest C, the strongest regularisation
    scores, converged = _Path(train, num_classes).scores(C_GRID[best], test)
    return ProbeResult(scores=scores, c=C_GRID[best], val_auroc=aurocs[best], chosen_on=chosen_on, converged=converged)


def _can_choose(fitted: ProbeData, held: ProbeData) -> bool:
    """Whether some class of two or more that can be fitted is both present and absent in the held-out images."""
    known = np.unique(fitted.label)
    return len(known) > 1 and len(np.unique(held.label)) > 1 and bool(np.isin(held.label, known).any())


def _hold_out(train: ProbeData, seed: int) -> tuple[ProbeData, ProbeData]:
    """Cut `train` by groups; of several keyed cuts the first that keeps every class on both sides, else the last."""
    fitted = held = train
    for chosen in _cuts(train.group, seed):
        fitted, held = train.where(~chosen), train.where(chosen)
        if set(fitted.label) == set(held.label) == set(train.label):
            break
    return fitted, held


def _cuts(group: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    groups, number = np.unique(group, return_inverse=True)
    for attempt in range(_SPLIT_ATTEMPTS):
        place = keyed.permute(np.arange(len(groups)), len(groups), keyed.key("probe hold-out", seed, attempt))
        yield (place < max(1, round(HELD_OUT_SHARE * len(groups))))[number]


def _macro_auroc(scores: np.ndarray, label: np.ndarray) -> float:
    """Macro one-vs-rest AUROC over the classes of `label`."""
    ones = np.ones((1, len(label)))
    return float(np.mean([weighted_auroc(scores[:, c], label == c, ones)[0] for c in np.unique(label)]))


class _Path:
    """Fits along the grid of C on the same images, each from the weights of the one before."""

    def __init__(self, data: ProbeData, num_classes: int) -> None:
        spread = data.features.std(0)
        self._mean, self._std = data.features.mean(0), np.where(spread > _CONSTANT_STD, spread, 1.0)
        self._num_classes = num_classes
        self._label = data.label
        self._inputs = self._standardise(data.features)
        self._model = LogisticRegression(warm_start=True, max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)

    def _standardise(self, features: np.ndarray) -> np.ndarray:
        return ((features - self._mean) / self._std).astype(np.float64)

    def scores(self, c: float, features: np.ndarray) -> tuple[np.ndarray, bool]:
        """Class probabilities of `features` after a fit with `c` (0 for a class it never saw), and if it converged."""
        self._model.set_params(C=c)
        with warnings.catch_warnings():
            # told by the second value instead
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._inputs, self._label)
        scores = np.zeros((len(features), self._num_classes))
        scores[:, self._model.classes_] = self._model.predict_proba(self._standardise(features))
        return scores, bool(np.max(self._model.n_iter_) < _MAX_ITERATIONS)
