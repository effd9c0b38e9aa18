"""Accounts: where every input of a pack went: four lists beside the shards, and totals that must close."""

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, TextIO

from mermed.errors import IntegrityError
from mermed.pack.collection.depot import Depot
from mermed.pack.collection.duplicates import Drop, label_text
from mermed.pack.listing import RejectedRow
from mermed.pack.pages.croissant import SPLITS_NAME, SplitList
from mermed.pack.work.bucket import Bucket, Source
from mermed.pack.work.ledger import Ledger, SampleRow

LIST_NAMES = ("quarantine.csv", "excluded.csv", "duplicates.csv", SPLITS_NAME)
_REASON_COLUMNS = ("file", "reason", "detail", "images")
_SPLIT_COLUMNS = ("key", "split", "group", "modality", "dataset", "label", "pixels", "perceptual")


class Accounts:
    """Writes quarantine.csv, excluded.csv, duplicates.csv (file, reason, detail, images) and splits.csv (no files).

    The lists hold relative paths and stay with the site that packed; shards and manifest never do. A context; `publish`
    puts the lists into the depot.
    """

    def __init__(self, workroom: Path) -> None:
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.num_packed = 0
        self._workroom = workroom
        self._files: dict[str, TextIO] = {}
        self._lists: dict[str, Any] = {}
        for name in LIST_NAMES:
            file = (workroom / name).open("w", encoding="utf-8", errors="surrogateescape", newline="")
            self._files[name] = file
            self._lists[name] = csv.writer(file, lineterminator="\n")
            self._lists[name].writerow(_SPLIT_COLUMNS if name == SPLITS_NAME else _REASON_COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()

    def add_listing(self, rejected: Iterable[RejectedRow]) -> int:
        """Account for what the listing left out; returns how many inputs that were."""
        count = 0
        for row in rejected:
            self._leave_out(row.place, row.bin, row.reason, row.detail, row.count)
            count += row.count
        return count

    def add_bucket(self, bucket: Bucket, ledger: Ledger, drops: dict[str, Drop]) -> None:
        """Account for every input of one bucket."""
        for reject in ledger.rejects:
            place = bucket.tasks[reject.task].image.place
            self._leave_out(place, reject.bin, reject.reason, reject.detail, reject.count)
        for row in ledger.samples:
            drop = drops.get(row.key)
            if drop is None:
                self._pack(bucket.source, row)
            else:
                self._leave_out(bucket.tasks[row.task].image.place, drop.bin, drop.reason, drop.detail, 1)

    def _leave_out(self, place: str, bin: str, reason: str, detail: str, count: int) -> None:
        self.reasons[bin, reason] += count
        name = {"quarantined": "quarantine.csv", "excluded": "excluded.csv", "duplicates": "duplicates.csv"}[bin]
        self._lists[name].writerow((place, reason, detail, count))

    def _pack(self, source: Source, row: SampleRow) -> None:
        modality, dataset, split = source
        self.num_packed += 1
        label = label_text(row.labels)
        values = (row.key, split, row.group, modality, dataset, label, row.pixel_digest, row.perceptual)
        self._lists[SPLITS_NAME].writerow(values)

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

    def publish(self, depot: Depot) -> SplitList:
        """Put the four lists beside the shards; returns what describes splits.csv."""
        for file in self._files.values():
            file.close()
        with (self._workroom / SPLITS_NAME).open("rb") as file:
            splits = SplitList.of(file)
        for name in LIST_NAMES:
            depot.take(self._workroom / name, name)
        return splits
