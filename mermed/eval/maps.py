"""Embedding maps: where images lie on the first two principal axes of their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from mermed import keyed
from mermed.contract import SampleMeta
from mermed.eval.tasks import Task

MAX_POINTS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingMap:
    """Points of one map, the name of each point's colour, and how much of the variance the two axes show, in [0, 1].

    `num_images` is how many images there are; more than 1,500 are thinned out to a keyed sample.
    """

    title: str
    points: Float[np.ndarray, "points 2"]
    colour: Int64[np.ndarray, " points"]
    names: tuple[str, ...]
    variance: float
    num_images: int


def embedding_maps(
    features: Float[Tensor, "samples width"], metas: Sequence[SampleMeta], tasks: Sequence[Task], seed: int
) -> list[EmbeddingMap]:
    """One map of all images coloured by modality, then one per scored task coloured by class.

    Features that are not finite have no map.
    """
    table = features.double().numpy()
    modalities = tuple(sorted({meta.modality for meta in metas}))
    number = np.array([modalities.index(meta.modality) for meta in metas], np.int64)
    maps = [_map("all datasets, by modality", table, number, modalities, seed)]
    for task in tasks:
        if not task.reason:
            place = np.concatenate([split.place for split in task.splits.values()])
            label = np.concatenate([split.label for split in task.splits.values()])
            maps.append(_map(task.name, table[place], label, task.classes, seed))
    return [one for one in maps if one is not None]


def _map(title: str, table: np.ndarray, colour: np.ndarray, names: tuple[str, ...], seed: int) -> EmbeddingMap | None:
    if not np.isfinite(table).all():
        return None
    points, variance = principal_axes(table)
    drawn = keyed.permute(np.arange(len(points)), len(points), keyed.key("map sample", seed)) < MAX_POINTS
    return EmbeddingMap(
        title=title,
        points=points[drawn],
        colour=colour[drawn],
        names=names,
        variance=variance,
        num_images=len(points),
    )


def principal_axes(table: Float[np.ndarray, "images width"]) -> tuple[Float[np.ndarray, "images 2"], float]:
    """Coordinates on the two axes of largest variance, and their share of all variance.

    The sign of an axis is chosen so that its largest weight is positive: the map is the same on every machine.
    """
    centred = table - table.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    total = float(values.sum())
    return centred @ axes, float(values[-2:].sum()) / total if total > 0 else 0.0
