"""Recipe split: the split a dataset ships, in our words, and groups that it divides kept together."""

from collections.abc import Mapping
from dataclasses import replace

from mermed.contract import SPLITS
from mermed.errors import ConfigError
from mermed.pack.listing import ListedImage
from mermed.pack.recipes.recipe import Split
from mermed.pack.recipes.text import FirstTemplate


class SplitRule:
    """Maps the fields of an image to train, val, test, or "" where the split is to be drawn."""

    def __init__(self, rule: Split) -> None:
        self.field = FirstTemplate(rule.field_)
        self.map = {**{name: name for name in (*SPLITS, "")}, **rule.map}
        wrong = sorted({split for split in rule.map.values() if split not in (*SPLITS, "")})
        if wrong:
            raise ConfigError("'split.map' gives an unknown split", expected='train, val, test or ""', found=wrong[0])

    def of(self, fields: Mapping[str, str]) -> str:
        """The split of one image; raises ConfigError for a value that the map does not know."""
        return self.named(self.field.fill(fields))

    def named(self, value: str) -> str:
        """The split for a value of the source; raises ConfigError for one that the map does not know."""
        split = self.map.get(value)
        if split is None:
            raise ConfigError(
                "a split has a value that the recipe does not explain",
                expected=", ".join(repr(name) for name in self.map),
                found=repr(value)[:80],
                next_step="add the value to [split] map",
            )
        return split


def hold_out(images: list[ListedImage]) -> list[ListedImage]:
    """Move every patient or group that the shipped split divides, whole, to the most held-out split it is in.

    So no image of a shipped test set is trained on, and none of its patients either. A lone image stays where it is.
    """
    best: dict[str, int] = {}
    changed = True
    while changed:
        changed = False
        for image in images:
            members = _members(image)
            rank = max(
                [SPLITS.index(image.split) if image.split else -1, *(best.get(member, -1) for member in members)]
            )
            for member in members:
                changed = changed or best.get(member, -1) != rank
                best[member] = rank
    return [_moved(image, best) for image in images]


def _members(image: ListedImage) -> list[str]:
    return [f"p{image.patient_id}"] * bool(image.patient_id) + [f"g{image.group_id}"] * bool(image.group_id)


def _moved(image: ListedImage, best: Mapping[str, int]) -> ListedImage:
    rank = max((best[member] for member in _members(image)), default=-1)
    return replace(image, split=SPLITS[rank]) if rank >= 0 and SPLITS[rank] != image.split else image
