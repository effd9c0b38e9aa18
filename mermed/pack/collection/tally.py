"""Tally: what all ledgers of a collection come to: label spaces, statistics, tools, and what the report shows."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from mermed.contract import Manifest
from mermed.pack.collection.duplicates import Drop
from mermed.pack.listing import Listing
from mermed.pack.options import PackOptions
from mermed.pack.pages.report_data import HISTOGRAM_BINS, Pair, Reject, ReportData
from mermed.pack.pixels.moments import MomentTable
from mermed.pack.work.bucket import EXHIBITS, Bucket
from mermed.pack.work.ledger import Ledger

MAX_REJECTS = 200
MAX_THUMBNAILS_PER_REASON = 4
_NO_PLACE = ""


class Tally:
    """Takes every bucket with its ledger once, in any order."""

    def __init__(self) -> None:
        self._classes: defaultdict[str, set[str]] = defaultdict(set)
        self._findings: defaultdict[str, set[str]] = defaultdict(set)
        self._moments: defaultdict[str, MomentTable] = defaultdict(MomentTable)
        self._tools: defaultdict[str, set[str]] = defaultdict(set)
        self._histograms: defaultdict[str, list[int]] = defaultdict(lambda: [0] * HISTOGRAM_BINS)
        self._licences: defaultdict[str, set[str]] = defaultdict(set)
        self._flows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._pairs: defaultdict[str, list[Pair]] = defaultdict(list)
        self._rejects: Counter[tuple[str, str, str, str]] = Counter()
        self._pictures: defaultdict[tuple[str, str, str, str], list[bytes]] = defaultdict(list)

    def add(self, bucket: Bucket, ledger: Ledger, drops: Mapping[str, Drop]) -> None:
        """Take in one bucket."""
        modality, dataset, split = bucket.source
        name = f"{modality}/{dataset}"
        for tool, version in ledger.tool.items():
            self._tools[tool].add(version)
        for row in ledger.samples:
            if (drop := drops.get(row.key)) is not None:
                self._flows[modality][drop.bin] += 1
                continue
            self._classes[name] |= {row.labels["class"]} if "class" in row.labels else set()
            self._findings[name].update(row.labels.get("findings", ()))
            self._licences[name] |= {row.licence} if row.licence else set()
            if split == "train":
                self._moments[modality].add(row.moments)
        self._histograms[name] = [a + b for a, b in zip(self._histograms[name], ledger.histogram, strict=True)]
        self._show(name, ledger, drops)
        for reject in ledger.rejects:
            self._flows[modality][reject.bin] += reject.count
            kind = reject.reason, reject.detail, name, reject.bin
            self._rejects[kind] += reject.count
            if reject.thumbnail and len(self._pictures[kind]) < MAX_THUMBNAILS_PER_REASON:
                self._pictures[kind].append(reject.thumbnail)

    def _show(self, name: str, ledger: Ledger, drops: Mapping[str, Drop]) -> None:
        for exhibit in ledger.exhibits:
            if exhibit.key not in drops and len(self._pairs[name]) < EXHIBITS:
                self._pairs[name].append(
                    Pair(
                        source=name,
                        key=exhibit.key,
                        caption=exhibit.caption,
                        raw_jpeg=exhibit.raw,
                        packed_jpeg=exhibit.packed,
                    )
                )

    @property
    def labels(self) -> dict[str, dict[str, Any]]:
        """The label space of every dataset that has labels."""
        spaces: dict[str, dict[str, Any]] = {}
        for name in sorted({*self._classes, *self._findings}):
            if self._findings[name]:
                spaces[name] = {"kind": "multi-label", "findings": sorted(self._findings[name])}
            elif self._classes[name]:
                spaces[name] = {"kind": "multi-class", "classes": sorted(self._classes[name])}
        return spaces

    @property
    def stats(self) -> dict[str, dict[str, Any]]:
        """Mean and standard deviation per modality over training images."""
        return {modality: table.summary() for modality, table in sorted(self._moments.items())}

    @property
    def tool(self) -> dict[str, str]:
        """Versions of what turned files into pixels; several where buckets were made at different times."""
        return {name: " ".join(sorted(versions)) for name, versions in sorted(self._tools.items())}

    def report(
        self, manifest: Manifest, reasons: Mapping[tuple[str, str], int], listing: Listing, options: PackOptions
    ) -> ReportData:
        """What report.html shows."""
        for row in listing.rejected:
            modality = row.place.split("/")[0]
            if modality in self._flows:
                self._flows[modality][row.bin] += row.count
            self._rejects[row.reason, row.detail, _NO_PLACE, row.bin] += row.count
        rejects = []
        for kind, count in self._rejects.most_common(MAX_REJECTS):
            reason, detail, place, bin = kind
            first, *others = self._pictures.get(kind) or [None]
            reject = Reject(
                reason=reason, detail=detail, place=place, raw_jpeg=first, bin=bin, count=count - len(others)
            )
            rejects += [reject, *(replace(reject, raw_jpeg=picture, count=1) for picture in others)]
        return ReportData(
            manifest=manifest,
            reasons=reasons,
            flows=self._flows,
            histograms={name: counts for name, counts in self._histograms.items() if any(counts)},
            pairs=[pair for name in sorted(self._pairs) for pair in self._pairs[name]],
            rejects=rejects,
            licences={name: ", ".join(sorted(found)) for name, found in self._licences.items()},
            cards=listing.cards,
            options=asdict(options),
        )
