"""Tombstones: keys that must not be drawn any more, from a file with one key a line."""

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mermed.contract import KEY_GRAMMAR
from mermed.errors import ConfigError

SPLITS_NAME = "splits.csv"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The keys of samples that were taken back, by a patient or by a curator.

    Whether each occurs in a collection is not known: that would mean reading every index. The stream counts how often
    it met one, and `mermed-shard show DATA KEY` finds a single one.
    """

    keys: frozenset[str] = frozenset()

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def digest(self) -> str:
        """The sha256 of the keys: equal for equal keys, whatever their order, comments and blank lines."""
        return hashlib.sha256("\n".join(sorted(self.keys)).encode()).hexdigest()


def read_tombstones(path: str | Path) -> Tombstones:
    """Read a tombstone file: one key a line; `#` begins a comment, blank lines and spaces around a key mean nothing.

    An empty `path` is no tombstones. Raises ConfigError naming the lines that hold no key, and for a file that is not
    there: a withdrawn sample must not come back because of a spelling mistake.
    """
    if not str(path):
        return Tombstones()
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the file of tombstones cannot be read",
            where={"file": path},
            found=error.strerror if isinstance(error, OSError) else "bytes that are no UTF-8",
            next_step="write one key a line, or leave stream.tombstones empty",
        ) from None
    lines = [line.partition("#")[0].strip() for line in text.split("\n")]
    wrong = [number for number, line in enumerate(lines, 1) if line and not KEY_GRAMMAR.fullmatch(line)]
    if wrong:
        raise ConfigError(
            "a file of tombstones holds lines that are no keys",
            where={"file": path, "lines": ", ".join(map(str, wrong[:_SHOWN]))},
            expected=f"one key a line, such as busi-3f0c9a: {KEY_GRAMMAR.pattern}",
            found=f"{len(wrong)} such lines",
            next_step="keys stand in splits.csv; a name of a file or a patient is no key and must not stand here",
        )
    return Tombstones(frozenset(line for line in lines if line))


def keys_of_groups(folder: Path, groups: Iterable[str]) -> list[str]:
    """The keys, sorted, of every sample of `groups` in the collection at `folder`, from its splits.csv.

    Raises ConfigError when the collection has no such file, or a group occurs nowhere in it.
    """
    wanted, keys = set(groups), []
    found: set[str] = set()
    path = folder / SPLITS_NAME
    if not path.is_file():
        raise ConfigError(
            "the collection has no table of groups",
            where={"folder": folder},
            expected=SPLITS_NAME,
            next_step="name the folder that mermed-shard pack wrote",
        )
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["group"] in wanted:
                found.add(row["group"])
                keys.append(row["key"])
    if missing := sorted(wanted - found):
        raise ConfigError(
            "groups occur nowhere in the collection",
            where={"file": path},
            found=" ".join(missing[:_SHOWN]),
            next_step=f"groups stand in the column 'group' of {SPLITS_NAME}, keys of a group in the column 'key'",
        )
    return sorted(keys)
