"""Packing: the run from a listing to a finished collection: the same bytes for any number of processes and machines."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from mermed.contract import Manifest, canonical_json
from mermed.errors import ConfigError, EnvironmentError_, IntegrityError, SampleError
from mermed.pack.collection.claim import claim, sweep
from mermed.pack.collection.depot import open_depot
from mermed.pack.collection.placement import Placement
from mermed.pack.collection.publishing import TOOL_REASONS, Published, Publisher, published_reasons, write_state
from mermed.pack.identity import Identity
from mermed.pack.listing import ListedImage, Listing, RejectedRow
from mermed.pack.options import PackOptions
from mermed.pack.plain import walk
from mermed.pack.progress import ModalityProgress
from mermed.pack.split import place
from mermed.pack.work.bucket import Bucket, BucketSize, partition
from mermed.pack.work.engine import Engine, Eyes, LocalEngine, Order
from mermed.pack.work.ledger import Ledger, ledger_name
from mermed.pack.work.making import tool_versions
from mermed.pack.work.sample import Outcome, Task

Watch = Callable[[Mapping[str, ModalityProgress]], None]
OPTIONS_RECIPE, LEFT_OUT = "options", "left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackPlan:
    """What to do beside the obvious: `part` (number from 1, of) makes a share of the buckets and publishes nothing;
    `rebuild` makes everything again; `prune` lets datasets vanish from a collection; `stop` asks after every bucket
    whether to go on later."""

    part: tuple[int, int] | None = None
    rebuild: bool = False
    prune: bool = False
    bucket_size: BucketSize = field(default_factory=BucketSize)
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True, kw_only=True)
class PackResult:
    """A pack that ended well: the manifest (None for a part), how many inputs met each (bin, reason), the buckets that
    were made and those that were known already, and how long it took."""

    manifest: Manifest | None
    reasons: Counter[tuple[str, str]]
    num_made: int
    num_known: int
    wall_s: float

    @property
    def bad_share(self) -> float:
        """Quarantined inputs as a share of all inputs."""
        totals = self.manifest.totals if self.manifest else {}
        return totals.get("quarantined", 0) / max(totals.get("inputs", 0), 1)


class Stopped(Exception):
    """A pack that was asked to stop, and did between two buckets; the same command goes on."""


def check_bad_share(result: PackResult, max_bad: float, out: str | Path) -> None:
    """Raise SampleError when more inputs were quarantined than the share `max_bad` of all; the pack is finished."""
    if result.manifest is not None and result.bad_share > max_bad:
        totals = result.manifest.totals
        worst = [(count, reason) for (bin, reason), count in result.reasons.items() if bin == "quarantined"]
        common = ", ".join(f"{count:,} {reason}" for count, reason in sorted(worst, reverse=True)[:3])
        raise SampleError(
            "too many inputs could not be used; the others are packed",
            expected=f"{max_bad:.1%} at most",
            found=f"{totals['quarantined']} of {totals['inputs']} ({result.bad_share:.1%}): {common}",
            next_step=f"see {out}/quarantine.csv, or accept them with --max-bad",
        )


def check_readers(result: PackResult) -> None:
    """Raise EnvironmentError_ when inputs were set aside because the package that reads them is not installed."""
    missing = result.reasons["quarantined", "missing_extra"]
    if missing:
        raise EnvironmentError_(
            "a reader is not installed; the other inputs are packed",
            found=f"{missing:,} inputs that wait for it",
            next_step="see quarantine.csv for the extra each needs, install it, and run the same command again",
        )


def pack(
    source: Path | Listing,
    out: str | Path,
    *,
    options: PackOptions,
    identity: Identity,
    engine: Engine | None = None,
    plan: PackPlan | None = None,
    watch: Watch = lambda progress: None,
) -> PackResult:
    """Pack a source folder in the plain layout, or a listing, into the collection `out` (a folder or URL).

    What is known from an earlier pack, finished or killed, is not read again; the manifest is written last. Raises
    ConfigError for a layout or output that makes no sense, SampleError when no input could be packed, Stopped.
    """
    begin_s = time.monotonic()
    plan = plan or PackPlan()
    listing = source if isinstance(source, Listing) else walk(source)
    buckets = partition(plan_tasks(listing.images, identity), plan.bucket_size)
    facts = _facts(listing, options, identity)
    order = Order(depot=open_depot(out), options=options, options_digest=facts[OPTIONS_RECIPE])
    owns = plan.part is None
    with claim(order.depot, shared=not owns) as beat:
        placement = Placement(order.depot, may_repair=owns)
        _check_same_kind(placement, buckets, facts, plan)
        if owns and not plan.rebuild:
            reasons = published_reasons(order.depot, buckets, facts)
            if reasons is not None:
                return _unchanged(placement, reasons, len(buckets), begin_s)
        if owns:
            sweep(order.depot, placement)
        known = set() if plan.rebuild else {b.name for b in buckets if _is_known(b, order, placement)}
        looker = _Looker(buckets, known, watch, beat, plan.stop)
        ours = [bucket for bucket in _share(buckets, plan.part) if bucket.name not in known]
        make = partial((engine or LocalEngine()).make, order=order, eyes=looker.eyes)
        make(ours)
        published = _publish(listing, buckets, order, placement, facts, make) if owns else None
    return PackResult(
        manifest=published.manifest if published else None,
        reasons=published.reasons if published else Counter(),
        num_made=len(ours),
        num_known=len(known),
        wall_s=time.monotonic() - begin_s,
    )


def plan_tasks(images: Sequence[ListedImage], identity: Identity) -> Iterator[Task]:
    """Every image with its key, split and group, and how its file looks now.

    The key is a keyed hash, and a bucket's samples lie in the order of their keys: so each shard is a random sample of
    its source, and foreign readers that shuffle little still see a mixture.
    """
    for (modality, dataset), group in groupby(images, key=lambda image: (image.modality, image.dataset)):
        members = list(group)
        for image, placement in zip(members, place(members, identity), strict=True):
            size_bytes, mtime_ns = _stamp(image.path)
            key = identity.sample_key(modality, dataset, image.file)
            yield Task(image=image, key=key, placement=placement, size_bytes=size_bytes, mtime_ns=mtime_ns)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file; zeros when it is not there, which reading will say."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _facts(listing: Listing, options: PackOptions, identity: Identity) -> dict[str, str]:
    """What a collection is made of beside its buckets, as digests: options, recipes, what the listing left out."""
    left_out = sha256()
    for row in listing.rejected:
        left_out.update(canonical_json([row.place.encode("utf-8", "surrogateescape").hex(), row.reason, row.count]))
    return {
        OPTIONS_RECIPE: options.digest(identity.mark),
        **listing.recipes,
        LEFT_OUT: left_out.hexdigest(),
    }


def _share(buckets: Sequence[Bucket], part: tuple[int, int] | None) -> Sequence[Bucket]:
    number, of = part or (1, 1)
    return buckets[number - 1 :: of]


def _is_known(bucket: Bucket, order: Order, placement: Placement) -> bool:
    """True when the bucket's ledger says that making it again would give what lies there already."""
    try:
        ledger = Ledger.decode(order.depot.read(ledger_name(bucket.name)))
    except (FileNotFoundError, IntegrityError):
        return False
    if (ledger.fingerprint, ledger.options) != (bucket.fingerprint, order.options_digest):
        return False
    if any(row.reason in TOOL_REASONS for row in ledger.rejects) and ledger.tool != tool_versions():
        return False
    return all(placement.holds(part.sha256, part.bytes) for part in ledger.shards)


def _check_same_kind(placement: Placement, buckets: Sequence[Bucket], facts: Mapping[str, str], plan: PackPlan) -> None:
    """Raise ConfigError when a finished collection would be remade by other rules, or lose a dataset, unasked."""
    manifest = placement.manifest
    if manifest is None:
        return
    other = [name for name, digest in manifest.recipes.items() if facts.get(name, digest) != digest]
    if OPTIONS_RECIPE not in manifest.recipes:
        other.append("kind of packing: it was adopted, or packed before version 0.2")
    if other and not plan.rebuild:
        raise ConfigError(
            "the collection was packed by other rules",
            expected="the options, salt and recipes it was packed with",
            found=f"another {', '.join(sorted(other))}",
            next_step="pack into another --out, or make everything again with --rebuild",
        )
    left = {bucket.source[:2] for bucket in buckets}
    gone = sorted(
        {f"{row.modality}/{row.dataset}" for row in manifest.shards if (row.modality, row.dataset) not in left}
    )
    if gone and not plan.prune:
        raise ConfigError(
            "the source lacks datasets that the collection holds",
            found=f"no {', '.join(gone)}",
            next_step="pack into another --out, or let them vanish with --prune",
        )


def _unchanged(placement: Placement, reasons: Counter[tuple[str, str]], num_buckets: int, begin_s: float) -> PackResult:
    wall_s = time.monotonic() - begin_s
    return PackResult(manifest=placement.manifest, reasons=reasons, num_made=0, num_known=num_buckets, wall_s=wall_s)


def _publish(
    listing: Listing,
    buckets: Sequence[Bucket],
    order: Order,
    placement: Placement,
    facts: Mapping[str, str],
    make: Callable[[Sequence[Bucket]], None],
) -> Published:
    """Settle duplicates and publish; a bucket whose sample stopped being a duplicate is made again first."""
    placement.look()
    publisher = Publisher(order.depot, placement, buckets, order.options)
    drops = publisher.find_drops()
    if stale := publisher.stale(drops):
        make(stale)
        placement.look()
        drops = publisher.find_drops()
    publisher.leave_out(drops)
    recipes = {name: digest for name, digest in facts.items() if name != LEFT_OUT}
    with order.depot.workroom() as workroom:
        published = publisher.publish(listing, drops, recipes=recipes, workroom=workroom)
    write_state(order.depot, buckets, facts, published.reasons)
    return published


class _Looker:
    """Counts what an engine comes to, per modality, and shows it."""

    def __init__(
        self,
        buckets: Sequence[Bucket],
        known: set[str],
        watch: Watch,
        beat: Callable[[], None],
        stop: Callable[[], bool],
    ) -> None:
        self._progress: dict[str, ModalityProgress] = {}
        self._watch, self._beat, self._stop = watch, beat, stop
        for bucket in buckets:
            before = self._progress.get(bucket.source[0], ModalityProgress())
            done = len(bucket.tasks) if bucket.name in known else 0
            self._set(
                bucket.source[0], replace(before, done=before.done + done, total=before.total + len(bucket.tasks))
            )
        self.eyes = Eyes(outcome=self._outcome, task=self._task, between=self._between)

    def _set(self, modality: str, progress: ModalityProgress) -> None:
        self._progress[modality] = progress

    def _outcome(self, task: Task, outcome: Outcome) -> None:
        if isinstance(outcome, RejectedRow) and outcome.bin == "quarantined":
            before = self._progress[task.image.modality]
            self._set(task.image.modality, replace(before, bad=before.bad + outcome.count))

    def _task(self, task: Task) -> None:
        before = self._progress[task.image.modality]
        after = replace(before, done=before.done + 1, read_bytes=before.read_bytes + task.size_bytes)
        self._set(task.image.modality, after)
        self._watch(self._progress)

    def _between(self) -> None:
        self._beat()
        if self._stop():
            raise Stopped
