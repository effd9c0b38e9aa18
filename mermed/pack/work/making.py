"""Making: the samples of one bucket, as they come from the hands, to parts and a ledger."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Self

import numpy as np

from mermed import __version__
from mermed.contract import EncodedSample, SampleMeta
from mermed.errors import IntegrityError
from mermed.pack.collection.depot import Depot
from mermed.pack.collection.parts import write_parts
from mermed.pack.listing import RejectedRow
from mermed.pack.options import PackOptions
from mermed.pack.pages.report_data import caption
from mermed.pack.work.bucket import Bucket
from mermed.pack.work.ledger import Exhibit, Ledger, RejectRow, SampleRow
from mermed.pack.work.sample import CHANGED, HISTOGRAM_BINS, Finished, MadeSample, Outcome

SPOOL_BYTES = 2**28
"""Bytes of one bucket's images that wait in memory to be put into order; more go through a temporary file."""
MAX_REJECT_PICTURES = 8
"""Thumbnails of rejected pictures that one bucket keeps."""
_TOOLS = ("pillow", "pydicom", "pylibjpeg-openjpeg", "python-gdcm", "nibabel", "openslide-python", "av", "h5py")


@cache
def tool_versions() -> dict[str, str]:
    """The versions of everything that turns files into pixels here."""
    found = {"mermed": __version__}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(slots=True)
class _Held:
    """One sample that waits for its place: its image lies in the spool."""

    meta: SampleMeta
    extension: str
    offset: int
    size: int


class BucketMaker:
    """Takes the outcomes of a bucket's tasks in order; `finish` turns them into parts and the ledger. A context."""

    def __init__(self, bucket: Bucket, options: PackOptions, options_digest: str, workroom: Path) -> None:
        self._bucket = bucket
        self._options = options
        self._options_digest = options_digest
        self._workroom = workroom
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(workroom))
        self._held: list[_Held] = []
        self._samples: list[SampleRow] = []
        self._rejects: list[RejectRow] = []
        self._exhibits: list[Exhibit] = []
        self._histogram = np.zeros(HISTOGRAM_BINS, np.int64)
        self._num_inputs = 0
        self._num_pictures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._spool.close()

    def take_task(self, number: int, outcomes: Iterator[Outcome | Finished]) -> Iterator[Outcome]:
        """Take everything that came of task `number`, and pass it on for the eyes.

        A file that changed while it was read gives nothing but the row that says so. Raises IntegrityError when the
        reader came upon another number of inputs than it accounted for.
        """
        made: list[tuple[MadeSample, int, int]] = []
        rejects: list[RejectRow] = []
        claimed = None
        for outcome in outcomes:
            if isinstance(outcome, Finished):
                claimed = outcome.num_inputs
                break
            if isinstance(outcome, RejectedRow):
                rejects.append(self._reject(number, outcome))
            else:
                made.append((replace(outcome, image=b""), self._spool.tell(), len(outcome.image)))
                self._spool.write(outcome.image)
            yield outcome
        counted = len(made) + sum(row.count for row in rejects)
        if claimed != counted or not counted:
            raise IntegrityError("a reader and its outcomes disagree", expected=f"{claimed} inputs", found=counted)
        changed = [row for row in rejects if row.reason == CHANGED]
        if changed:
            made, rejects = [], changed
        self._num_inputs += len(made) + sum(row.count for row in rejects)
        self._rejects += rejects
        for sample, offset, size in made:
            self._held.append(_Held(sample.meta, sample.extension, offset, size))
            self._keep(number, sample)

    def _reject(self, number: int, row: RejectedRow) -> RejectRow:
        self._num_pictures += bool(row.thumbnail)
        return RejectRow(
            task=number,
            reason=row.reason,
            detail=row.detail,
            bin=row.bin,
            count=row.count,
            thumbnail=row.thumbnail if self._num_pictures <= MAX_REJECT_PICTURES else b"",
        )

    def _keep(self, number: int, sample: MadeSample) -> None:
        meta = sample.meta
        self._histogram += np.asarray(sample.histogram, np.int64)
        self._samples.append(
            SampleRow(
                key=meta.key,
                task=number,
                group=meta.group,
                labels=meta.labels,
                licence=meta.licence,
                pixel_digest=sample.pixel_digest,
                perceptual=sample.perceptual,
                moments=sample.moments,
            )
        )
        if sample.raw_thumbnail:
            exhibit = Exhibit(
                key=meta.key, caption=caption(meta), raw=sample.raw_thumbnail, packed=sample.packed_thumbnail
            )
            self._exhibits.append(exhibit)

    def finish(self, depot: Depot) -> Ledger:
        """Write the parts in the order of their keys, then the ledger that makes them count."""
        self._held.sort(key=lambda held: held.meta.key)
        shard_bytes = self._options.shard_mb * 2**20
        parts = write_parts(self._in_order(), self._bucket.source, depot, self._workroom, shard_bytes)
        ledger = Ledger(
            bucket=self._bucket.name,
            fingerprint=self._bucket.fingerprint,
            options=self._options_digest,
            num_inputs=self._num_inputs,
            source_bytes=sum(task.size_bytes for task in self._bucket.tasks),
            samples=tuple(sorted(self._samples, key=lambda row: row.key)),
            rejects=tuple(self._rejects),
            shards=parts,
            histogram=tuple(int(count) for count in self._histogram),
            exhibits=tuple(self._exhibits),
            tool=tool_versions(),
        )
        depot.write(ledger.name, ledger.encode())
        return ledger

    def _in_order(self) -> Iterator[EncodedSample]:
        for held in self._held:
            self._spool.seek(held.offset)
            yield EncodedSample(held.meta, self._spool.read(held.size), held.extension)
