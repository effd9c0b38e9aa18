"""Publishing: buckets to a collection: duplicates left out, shards numbered, accounts closed, manifest last."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mermed.contract import MANIFEST_NAME, EncodedSample, Manifest, ShardRow
from mermed.errors import SampleError
from mermed.pack.collection.accounts import Accounts
from mermed.pack.collection.depot import Depot
from mermed.pack.collection.duplicates import Drop, find_drops
from mermed.pack.collection.parts import write_parts
from mermed.pack.collection.placement import Placement
from mermed.pack.collection.shard_file import ShardFile
from mermed.pack.collection.tally import Tally
from mermed.pack.listing import Listing
from mermed.pack.options import PackOptions
from mermed.pack.pages.card import card_files
from mermed.pack.pages.croissant import SplitList
from mermed.pack.pages.report import render_report
from mermed.pack.pages.report_data import ReportData
from mermed.pack.work.bucket import Bucket
from mermed.pack.work.ledger import FOLDER, Ledger, ledger_name
from mermed.pack.work.making import tool_versions
from mermed.tar import parse_index, read_sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A finished collection, and how many inputs met each (bin, reason)."""

    manifest: Manifest
    reasons: Counter[tuple[str, str]]


class Publisher:
    """Turns the ledgers of all buckets into one collection. Reads ledgers one at a time, so memory stays small."""

    def __init__(self, depot: Depot, placement: Placement, buckets: Sequence[Bucket], options: PackOptions) -> None:
        self._depot = depot
        self._placement = placement
        self._buckets = buckets
        self._options = options

    def ledgers(self) -> Iterator[tuple[Bucket, Ledger]]:
        """Every bucket with its ledger, in order."""
        for bucket in self._buckets:
            yield bucket, Ledger.decode(self._depot.read(ledger_name(bucket.name)))

    def find_drops(self) -> dict[str, Drop]:
        """Which samples are left out, over all buckets."""
        return find_drops(lambda: ((bucket.source, ledger) for bucket, ledger in self.ledgers()))

    def stale(self, drops: Mapping[str, Drop]) -> list[Bucket]:
        """Buckets whose shards lack a sample that is no duplicate any more; they have to be made again."""
        return [bucket for bucket, ledger in self.ledgers() if any(key not in drops for key in ledger.dropped)]

    def leave_out(self, drops: Mapping[str, Drop]) -> None:
        """Write the shards of every bucket again that still holds a sample of `drops`, without it."""
        for bucket, ledger in self.ledgers():
            dropped = tuple(row.key for row in ledger.samples if row.key in drops)
            if dropped != ledger.dropped:
                with self._depot.workroom() as workroom:
                    parts = write_parts(
                        self._kept(ledger, drops), bucket.source, self._depot, workroom, self._options.shard_mb * 2**20
                    )
                self._placement.parts |= {part.sha256 for part in parts}
                rewritten = replace(ledger, shards=parts, dropped=dropped)
                self._depot.write(rewritten.name, rewritten.encode())

    def _kept(self, ledger: Ledger, drops: Mapping[str, Drop]) -> Iterator[EncodedSample]:
        for part in ledger.shards:
            index = self._depot.read(self._placement.find(part.sha256, "idx")).decode("ascii")
            with self._depot.local(self._placement.find(part.sha256)) as path, ShardFile(path) as shard:
                for span in parse_index(index, part.sha256):
                    if span.key not in drops:
                        yield read_sample(shard.read_at, span, part.sha256)

    def publish(
        self,
        listing: Listing,
        drops: dict[str, Drop],
        *,
        recipes: Mapping[str, str],
        workroom: Path,
    ) -> Published:
        """Number the shards, write the lists, then the manifest; raises SampleError when nothing was packed.

        Raises IntegrityError when the accounts do not close.
        """
        rows = self._number()
        with Accounts(workroom) as accounts:
            num_inputs = accounts.add_listing(listing.rejected)
            tally = Tally()
            for bucket, ledger in self.ledgers():
                num_inputs += ledger.num_inputs
                accounts.add_bucket(bucket, ledger, drops)
                tally.add(bucket, ledger, drops)
            totals = accounts.totals(num_inputs)
            self._placement.arrange({row.sha256: row.name for row in rows})
            splits = accounts.publish(self._depot)
            if not rows:
                raise _nothing_packed(accounts, self._depot)
            manifest = Manifest(
                shards=tuple(sorted(rows, key=lambda row: row.name)),
                labels=tally.labels,
                recipes=dict(recipes),
                stats=tally.stats,
                totals=totals,
                tool=tally.tool,
            )
            self._write_pages(tally.report(manifest, accounts.reasons, listing, self._options), splits)
            self._depot.write(MANIFEST_NAME, manifest.encode())
            self._placement.end()
        return Published(manifest=manifest, reasons=accounts.reasons)

    def _write_pages(self, data: ReportData, splits: SplitList) -> None:
        """The pages for people and other tools that lie beside the shards."""
        self._depot.write("report.html", render_report(data).encode("utf-8", "backslashreplace"))
        files = card_files(data.manifest, data.cards, read=self._depot.read, splits=splits, licences=data.licences)
        for name, content in files.items():
            self._depot.write(name, content)

    def _number(self) -> list[ShardRow]:
        """A row for every shard: numbered per modality and split, over datasets, buckets and parts in order."""
        numbers: Counter[tuple[str, str]] = Counter()
        rows = []
        for bucket, ledger in self.ledgers():
            modality, dataset, split = bucket.source
            for part in ledger.shards:
                number = numbers[modality, split]
                numbers[modality, split] += 1
                rows.append(
                    ShardRow(
                        name=f"{modality}/{split}/{modality}-{split}-{number:06d}.tar",
                        modality=modality,
                        dataset=dataset,
                        split=split,
                        samples=part.samples,
                        bytes=part.bytes,
                        sha256=part.sha256,
                        index_sha256=part.index_sha256,
                    )
                )
        return rows


def _nothing_packed(accounts: Accounts, depot: Depot) -> SampleError:
    return SampleError(
        "no input could be packed",
        where={"collection": depot.label},
        found=", ".join(f"{count} {reason}" for (_, reason), count in accounts.reasons.most_common(3)),
        next_step=f"see {depot.label}/quarantine.csv",
    )


# A reader or decoder that was missing may be there the next time, so these are tried again when the tools changed.
TOOL_REASONS = ("missing_extra", "no_decoder")
PUBLISHED = f"{FOLDER}/published.json"


def write_state(
    depot: Depot, buckets: Sequence[Bucket], facts: Mapping[str, str], reasons: Counter[tuple[str, str]]
) -> None:
    """Remember what a published collection was made of, so that an unchanged source is known by its listing alone.

    Where inputs wait for a reader, the tools that were there are part of it: others may read them.
    """
    known = {PUBLISHED, *(ledger_name(bucket.name) for bucket in buckets)}
    for name in set(depot.names(FOLDER)) - known:
        depot.remove(name)
    waits = any(reason in TOOL_REASONS for _, reason in reasons)
    state = {
        **_made_of(buckets, facts),
        "reasons": [[*kind, count] for kind, count in sorted(reasons.items())],
        "tools": tool_versions() if waits else None,
    }
    depot.write(PUBLISHED, json.dumps(state, sort_keys=True).encode())


def published_reasons(
    depot: Depot, buckets: Sequence[Bucket], facts: Mapping[str, str]
) -> Counter[tuple[str, str]] | None:
    """How many inputs met each (bin, reason) in a finished collection of exactly these buckets; None for any other."""
    if depot.size(MANIFEST_NAME) is None or depot.size(PUBLISHED) is None:
        return None
    state = json.loads(depot.read(PUBLISHED))
    reasons, tools = state.pop("reasons", None), state.pop("tools", None)
    if reasons is None or tools not in (None, tool_versions()) or state != _made_of(buckets, facts):
        return None
    return Counter({(bin, reason): count for bin, reason, count in reasons})


def _made_of(buckets: Sequence[Bucket], facts: Mapping[str, str]) -> dict[str, Any]:
    return {"buckets": {bucket.name: bucket.fingerprint for bucket in buckets}, "facts": dict(facts)}
