"""Listing: every input of a pack, found before any pixel is read: images to read, and rows with a reason."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mermed.pack.readers.raw import Bin
from mermed.pack.treatment import Treatment

_VALUES = {"1": 1, "0": 0, "?": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """One input file that is to be read, and what is known of it beside its pixels ("" where nothing is).

    `file` names it inside its dataset and `place` below the source, both with "/" (a member of an archive follows the
    archive's name: "part1.zip/a.png"); `path` and `member` are where it is read (`readers.raw.RawFile`). `labels`
    is {} for an unlabelled image, `{"class": name}` or `{"findings": {name: 1 | 0 | None}}`. `namespace` is what
    patient and group ids are unique in: the dataset, unless datasets share patients.

    `frame_labels`, where not empty, holds the class of every frame of a container whose frames are images of their own
    (NPZ, HDF5); with `frame_findings`, the names of findings, it holds one mark for each of them: 1, 0 or ?. Such
    frames are groups of their own too, unless `frame_groups` names what each belongs to.
    """

    modality: str
    dataset: str
    file: str
    place: str
    path: Path
    member: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    patient_id: str = ""
    group_id: str = ""
    split: str = ""
    licence: str = ""
    namespace: str = ""
    treatment: Treatment = field(default_factory=Treatment)
    frame_labels: tuple[str, ...] = ()
    frame_findings: tuple[str, ...] = ()
    frame_groups: tuple[str, ...] = ()

    def labels_of(self, frame: int | None) -> dict[str, Any]:
        """The labels of one frame, or of the image where the file is one."""
        if frame is None or not self.frame_labels:
            return self.labels
        label = self.frame_labels[frame]
        if self.frame_findings:
            return {"findings": {name: _VALUES[mark] for name, mark in zip(self.frame_findings, label, strict=True)}}
        return {"class": label} if label else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """An input that is not packed, or `count` of its frames, as it stands in quarantine.csv and excluded.csv.

    `thumbnail` is a JPEG of its pixels where they could be read, empty otherwise.
    """

    place: str
    reason: str
    detail: str
    bin: Bin = "quarantined"
    count: int = 1
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything found below a source: every input is either an image to read or a row with a reason.

    `recipes` maps a dataset to the digest of the recipe that listed it, `cards` to the facts on the recipe's card.
    """

    images: tuple[ListedImage, ...]
    rejected: tuple[RejectedRow, ...] = ()
    recipes: dict[str, str] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        """Files to read and rows with a reason; containers add their frames when they are read."""
        return len(self.images) + sum(row.count for row in self.rejected)
