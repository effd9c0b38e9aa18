"""Collection: samples taken in a fixed order, duplicates dropped, into shards, label spaces, moments and accounts."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Self

import PIL

from mermed import __version__
from mermed.contract import EncodedSample, Manifest, SampleMeta, ShardRow
from mermed.pack.accounts import Accounts
from mermed.pack.moments import MomentTable
from mermed.pack.options import PackOptions
from mermed.pack.listing import RejectedRow
from mermed.pack.sample import MadeSample
from mermed.pack.writer import ShardWriter

RECIPE_NAME = "plain"


class Collection:
    """Takes finished samples, grouped by modality, dataset and split, and ends as a manifest.

    A context: whatever ends the pack early leaves no open shard behind.
    """

    def __init__(self, out: Path, options: PackOptions, accounts: Accounts) -> None:
        self._out = out
        self._options = options
        self._accounts = accounts
        self._writer: ShardWriter | None = None
        self._rows: list[ShardRow] = []
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._first_of: dict[bytes, tuple[str, str, str]] = {}
        self._classes: defaultdict[str, set[str]] = defaultdict(set)
        self._moments: defaultdict[str, MomentTable] = defaultdict(MomentTable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def take(self, made: MadeSample | RejectedRow) -> None:
        """Account for one outcome, and write it when it is a sample whose pixels are new."""
        if isinstance(made, RejectedRow):
            self._accounts.reject(made)
        elif made.pixel_digest in self._first_of:
            self._drop(made)
        else:
            self._keep(made)

    def _keep(self, made: MadeSample) -> None:
        meta = made.meta
        label = meta.labels.get("class", "")
        self._first_of[made.pixel_digest] = meta.key, meta.split, label
        self._writer_for(meta).add(EncodedSample(meta, made.image, made.extension))
        self._accounts.add(meta)
        if label:
            self._classes[f"{meta.modality}/{meta.dataset}"].add(label)
        if meta.split == "train":
            self._moments[meta.modality].add(made.moments)

    def _drop(self, made: MadeSample) -> None:
        """List a duplicate with how it differs from the copy that is kept: label before split before nothing."""
        key, split, label = self._first_of[made.pixel_digest]
        reason = "same_pixels"
        if made.meta.labels.get("class", "") != label:
            reason = "same_pixels_other_label"
        elif made.meta.split != split:
            reason = "same_pixels_other_split"
        self._accounts.drop_duplicate(made.place, reason, f"as {key} in {split}")

    def _writer_for(self, meta: SampleMeta) -> ShardWriter:
        """The writer of this sample's modality, dataset and split; a change of any closes the shard before."""
        source = meta.modality, meta.dataset, meta.split
        writer = self._writer
        if writer is None or (writer.modality, writer.dataset, writer.split) != source:
            self._close_writer()
            modality, dataset, split = source
            writer = self._writer = ShardWriter(
                folder=self._out,
                modality=modality,
                dataset=dataset,
                split=split,
                shard_bytes=self._options.shard_mb * 2**20,
                next_number=self._numbers[modality, split],
            )
        return writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._rows += self._writer.rows
            self._numbers[self._writer.modality, self._writer.split] = self._writer.next_number
            self._writer = None

    def finish(self, num_inputs: int, salt_mark: str) -> Manifest:
        """Close the last shard and describe the whole; raises IntegrityError when the accounts do not close."""
        self._close_writer()
        labels: dict[str, dict[str, Any]] = {
            name: {"kind": "multi-class", "classes": sorted(classes)} for name, classes in sorted(self._classes.items())
        }
        return Manifest(
            shards=tuple(sorted(self._rows, key=lambda row: row.name)),
            labels=labels,
            recipes={RECIPE_NAME: self._options.digest(salt_mark)},
            stats={modality: table.summary() for modality, table in sorted(self._moments.items())},
            totals=self._accounts.totals(num_inputs),
            tool={"mermed": __version__, "pillow": PIL.__version__},
        )
