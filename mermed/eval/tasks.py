"""Tasks: every dataset of a collection, with its splits as arrays, or the reason why it cannot be scored."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from mermed.contract import SPLITS, Manifest, SampleMeta
from mermed.errors import ContractError, IntegrityError
from mermed.eval.collection import classes_of
from mermed.eval.flaws import KnownFlaw, flaws_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSplit:
    """The labelled images of one split: their places in the collection, class numbers and group numbers."""

    place: Int64[np.ndarray, " images"]
    label: Int64[np.ndarray, " images"]
    group: Int64[np.ndarray, " images"]

    def __len__(self) -> int:
        return len(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One dataset to judge on. `reason` is empty when it can be scored, else it says why not.

    `excluded` says per class why it has no AUROC, or "". `num_unlabelled` images were skipped.
    """

    modality: str
    dataset: str
    classes: tuple[str, ...]
    splits: Mapping[str, TaskSplit]
    excluded: tuple[str, ...]
    num_unlabelled: int
    flaws: tuple[KnownFlaw, ...]
    reason: str

    @property
    def name(self) -> str:
        """modality/dataset."""
        return f"{self.modality}/{self.dataset}"

    def class_counts(self, split: str) -> dict[str, int]:
        """Labelled images of each class in `split`."""
        counts = np.bincount(self.splits[split].label, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def tasks_of(manifest: Manifest, metas: Sequence[SampleMeta]) -> tuple[Task, ...]:
    """A task for every dataset of `manifest`, sorted by name; `metas` are the samples of those with labels, in order.

    Raises IntegrityError when a group is in the test split of a task and in another split too.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, meta in enumerate(metas):
        places[f"{meta.modality}/{meta.dataset}"].append(place)
    names = sorted({f"{row.modality}/{row.dataset}" for row in manifest.shards})
    return tuple(_task(name, manifest, metas, places[name]) for name in names)


def _task(name: str, manifest: Manifest, metas: Sequence[SampleMeta], places: Sequence[int]) -> Task:
    modality, _, dataset = name.partition("/")
    space = manifest.labels.get(name, {})
    classes = classes_of(space)
    labelled = [place for place in places if "class" in metas[place].labels]
    splits = _splits(name, classes, metas, labelled)
    _check_groups(name, splits)
    reason = _why_not(space, splits)
    return Task(
        modality=modality,
        dataset=dataset,
        classes=classes,
        splits=splits,
        excluded=_excluded(classes, splits),
        num_unlabelled=len(places) - len(labelled),
        flaws=flaws_of(modality, dataset),
        reason=reason,
    )


def _splits(
    name: str, classes: Sequence[str], metas: Sequence[SampleMeta], labelled: Sequence[int]
) -> dict[str, TaskSplit]:
    class_number = {label: number for number, label in enumerate(classes)}
    # an image without a group is a group of its own
    groups = {group: number for number, group in enumerate(dict.fromkeys(_group(metas, place) for place in labelled))}
    splits = {}
    for split in SPLITS:
        chosen = [place for place in labelled if metas[place].split == split]
        unknown = Counter(metas[place].labels["class"] for place in chosen)
        if not set(unknown) <= set(class_number):
            raise ContractError(
                "a sample has a class outside its dataset's label space",
                where={"dataset": name, "split": split},
                expected=f"one of {len(class_number)} classes",
                found=sorted(set(unknown) - set(class_number)),
                next_step="pack the collection again",
            )
        splits[split] = TaskSplit(
            place=np.array(chosen, np.int64),
            label=np.array([class_number[metas[place].labels["class"]] for place in chosen], np.int64),
            group=np.array([groups[_group(metas, place)] for place in chosen], np.int64),
        )
    return splits


def _group(metas: Sequence[SampleMeta], place: int) -> str:
    return metas[place].group or f"image {place}"


def _check_groups(name: str, splits: Mapping[str, TaskSplit]) -> None:
    for split in ("train", "val"):
        shared = np.intersect1d(splits[split].group, splits["test"].group)
        if len(shared):
            raise IntegrityError(
                f"patients or groups of the test split are in the {split} split too: every number would be too good",
                where={"dataset": name},
                expected="no group in both",
                found=f"{len(shared)} groups in both",
                next_step="pack the collection again with a split column, or a group_id, that keeps groups whole",
            )


def _why_not(space: dict[str, Any], splits: Mapping[str, TaskSplit]) -> str:
    """Why a dataset cannot be scored; empty when it can."""
    if not space:
        return "its images have no labels"
    if not classes_of(space):
        return f"its labels are {space.get('kind', 'of no known kind')}, not one class per image"
    for split in ("train", "test"):
        present = len(np.unique(splits[split].label))
        if present < 2:
            return f"its {split} split holds {len(splits[split])} labelled images of {present} classes; 2 are needed"
    return ""


def _excluded(classes: Sequence[str], splits: Mapping[str, TaskSplit]) -> tuple[str, ...]:
    """Per class why no AUROC can be given for it, or ""."""
    reasons = []
    for number in range(len(classes)):
        if not (splits["train"].label == number).any():
            reasons.append("no train image has this class, so nothing can predict it")
        elif not (splits["test"].label == number).any():
            reasons.append("no test image has this class")
        elif (splits["test"].label == number).all():
            reasons.append("every test image has this class")
        else:
            reasons.append("")
    return tuple(reasons)
