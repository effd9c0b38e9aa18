"""Split: which split each image goes to, so that nothing of one patient or group ever crosses splits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mermed.contract import SPLITS
from mermed.errors import ConfigError
from mermed.pack.identity import Identity
from mermed.pack.listing import ListedImage

TRAIN_SHARE, VAL_SHARE = 0.70, 0.15


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one image belongs: its split, and the salted id of what must stay together."""

    split: str
    group: str


def place(images: Sequence[ListedImage], identity: Identity) -> list[Placement]:
    """Place the images of ONE dataset, in order.

    Images that share a patient_id or a group_id, directly or through others, form one group. A group goes where its
    rows say; a group whose rows say nothing is drawn by a keyed hash of the group, 70/15/15. Raises ConfigError when
    the rows of one group name different splits.
    """
    roots = _Union()
    for number, image in enumerate(images):
        for member in _members(image, number):
            roots.join(f"i{number:012d}", member)
    groups: dict[str, list[int]] = {}
    for number in range(len(images)):
        groups.setdefault(roots.find(f"i{number:012d}"), []).append(number)
    _check_given(images, list(groups.values()))
    placements: dict[int, Placement] = {}
    for numbers in groups.values():
        placement = _place_group([images[number] for number in numbers], identity)
        placements.update(dict.fromkeys(numbers, placement))
    return [placements[number] for number in range(len(images))]


def _members(image: ListedImage, number: int) -> list[str]:
    """What an image shares with others; one that names neither patient nor group stands alone."""
    named = [f"p{image.patient_id}"] * bool(image.patient_id) + [f"g{image.group_id}"] * bool(image.group_id)
    return named or [f"i{number:012d}"]


def _place_group(images: Sequence[ListedImage], identity: Identity) -> Placement:
    first = images[0]
    # The least name of the group stands for it, so neither the order of the rows nor a new row changes the others.
    member = min(
        min(_members(image, 0)) if image.patient_id or image.group_id else f"f{image.file}" for image in images
    )
    # Datasets of one namespace share patients and lesions, so these have one id and one drawn split in all of them.
    scope = first.dataset if member.startswith("f") else first.namespace or first.dataset
    given = {image.split for image in images if image.split}
    split = given.pop() if given else split_of(identity.draw(first.modality, scope, member))
    return Placement(split, identity.group_id(first.modality, scope, member))


def split_of(draw: float) -> str:
    """The split for a number in [0, 1): 70 % train, 15 % val, 15 % test."""
    return SPLITS[0] if draw < TRAIN_SHARE else SPLITS[1] if draw < TRAIN_SHARE + VAL_SHARE else SPLITS[2]


def _check_given(images: Sequence[ListedImage], groups: Sequence[Sequence[int]]) -> None:
    """Raise ConfigError when a group's rows name several splits, with counts and without ids."""
    conflicts = [numbers for numbers in groups if len({images[n].split for n in numbers if images[n].split}) > 1]
    if conflicts:
        counts = Counter(images[n].split or "(empty)" for numbers in conflicts for n in numbers)
        raise ConfigError(
            "rows of one patient or group name different splits",
            where={"dataset": f"{images[0].modality}/{images[0].dataset}"},
            expected="one split per patient_id and group_id",
            found=f"{len(conflicts)} groups with " + ", ".join(f"{n} {split}" for split, n in sorted(counts.items())),
            next_step="correct the column split of its labels.csv, or empty it to have the splits drawn",
        )


class _Union:
    """Union-find over names, with path halving."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, first: str, second: str) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low
