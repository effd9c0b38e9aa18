"""Accounts: where every input of a pack went: four lists beside the shards, and totals that must close."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any, Self, TextIO

from mermed.contract import SampleMeta
from mermed.errors import IntegrityError
from mermed.pack.claim import LIST_NAMES
from mermed.pack.listing import RejectedRow
from mermed.pack.writer import TEMPORARY_PREFIX, flush_folder

_REASON_COLUMNS = ("file", "reason", "detail")
_SPLIT_COLUMNS = ("key", "split", "group", "modality", "dataset")


class Accounts:
    """Writes quarantine.csv, excluded.csv, duplicates.csv (file, reason, detail) and splits.csv (no file names).

    The lists hold relative paths and stay with the site that packed; shards and manifest never do.
    """

    def __init__(self, out: Path) -> None:
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.num_packed = 0
        self._out = out
        self._files: dict[str, TextIO] = {}
        self._lists: dict[str, Any] = {}
        for name in LIST_NAMES:
            file = (out / (TEMPORARY_PREFIX + name)).open("w", encoding="utf-8", errors="surrogateescape", newline="")
            self._files[name] = file
            self._lists[name] = csv.writer(file, lineterminator="\n")
            self._lists[name].writerow(_SPLIT_COLUMNS if name == "splits.csv" else _REASON_COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()

    def reject(self, row: RejectedRow) -> None:
        """Count an input that is quarantined or excluded."""
        self.reasons[row.bin, row.reason] += 1
        self._lists["quarantine.csv" if row.bin == "quarantined" else "excluded.csv"].writerow(
            (row.place, row.reason, row.detail)
        )

    def drop_duplicate(self, place: str, reason: str, detail: str) -> None:
        """Count an input whose pixels are in the collection already."""
        self.reasons["duplicates", reason] += 1
        self._lists["duplicates.csv"].writerow((place, reason, detail))

    def add(self, meta: SampleMeta) -> None:
        """Count a sample that went into a shard."""
        self.num_packed += 1
        self._lists["splits.csv"].writerow((meta.key, meta.split, meta.group, meta.modality, meta.dataset))

    def count(self, bin: str) -> int:
        """Inputs in one bin so far: "quarantined", "excluded" or "duplicates"."""
        return sum(number for (of_bin, _), number in self.reasons.items() if of_bin == bin)

    def totals(self, num_inputs: int) -> dict[str, int]:
        """Where `num_inputs` inputs went; raises IntegrityError when they do not add up."""
        totals = {"inputs": num_inputs, "packed": self.num_packed}
        totals |= {bin: self.count(bin) for bin in ("duplicates", "excluded", "quarantined")}
        if sum(totals.values()) != 2 * num_inputs:
            raise IntegrityError(
                "the accounts of the pack do not close",
                expected="inputs = packed + duplicates + excluded + quarantined",
                found=totals,
                next_step="this is a defect of mermed; please report it",
            )
        return totals

    def publish(self) -> None:
        """Give the four lists their names."""
        for name, file in self._files.items():
            file.close()
            (self._out / (TEMPORARY_PREFIX + name)).replace(self._out / name)
        flush_folder(self._out)
