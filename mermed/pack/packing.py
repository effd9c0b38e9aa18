"""Packing: the run from a source folder to a finished collection, the same bytes for any number of workers."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from mermed.contract import MANIFEST_NAME, SPLITS, Manifest
from mermed.errors import SampleError
from mermed.pack.accounts import Accounts
from mermed.pack.claim import claim
from mermed.pack.collection import Collection
from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack.listing import ListedImage
from mermed.pack.plain import walk
from mermed.pack.sample import Task, make_samples
from mermed.pack.split import place
from mermed.pack.workers import work_in_order
from mermed.pack.writer import write_atomically

CHUNK_SAMPLES = 8
"""Samples a worker makes in one go: fewer cost more in talking than in working."""
# Of equal images the first is kept, so held-out copies come first: a training set can spare one, a test set cannot.
_SPLIT_ORDER = tuple(reversed(SPLITS))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pack has come, in inputs."""

    done: int
    total: int
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackResult:
    """A finished pack: its manifest, how many inputs met each (bin, reason), and how long reading to writing took."""

    manifest: Manifest
    reasons: Counter[tuple[str, str]]
    wall_s: float

    @property
    def bad_share(self) -> float:
        """Quarantined inputs as a share of all inputs."""
        return self.manifest.totals["quarantined"] / max(self.manifest.totals["inputs"], 1)


def check_bad_share(result: PackResult, max_bad: float, out: Path) -> None:
    """Raise SampleError when more inputs were quarantined than the share `max_bad` of all; the pack is finished."""
    if result.bad_share > max_bad:
        totals = result.manifest.totals
        raise SampleError(
            "too many inputs could not be used; the others are packed",
            expected=f"{max_bad:.1%} at most",
            found=f"{totals['quarantined']} of {totals['inputs']} ({result.bad_share:.1%})",
            next_step=f"see {out / 'quarantine.csv'}, or accept them with --max-bad",
        )


def pack(
    source: Path,
    out: Path,
    *,
    options: PackOptions,
    identity: Identity,
    num_workers: int = 1,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> PackResult:
    """Pack the plain layout below `source` into the empty folder `out`; the manifest is written last.

    Raises ConfigError for a layout or output folder that makes no sense, SampleError when no input could be packed.
    `watch` is called after every input.
    """
    begin_s = time.monotonic()
    listing = walk(source)
    tasks = plan_tasks(listing.images, identity)
    with claim(out), Accounts(out) as accounts, Collection(out, options, accounts) as collection:
        for row in listing.rejected:
            accounts.reject(row)
        done = len(listing.rejected)
        for chunk in work_in_order(partial(make_samples, options=options), _chunks(tasks), num_workers):
            for made in chunk:
                collection.take(made)
                done += 1
                watch(Progress(done, listing.num_inputs, accounts.count("quarantined")))
        manifest = collection.finish(listing.num_inputs, identity.mark)
        accounts.publish()
        if not manifest.shards:
            raise SampleError(
                "no input could be packed",
                where={"folder": source},
                found=", ".join(f"{count} {reason}" for (_, reason), count in accounts.reasons.most_common(3)),
                next_step=f"see {out / 'quarantine.csv'}",
            )
        write_atomically(out / MANIFEST_NAME, manifest.encode())
    return PackResult(manifest=manifest, reasons=accounts.reasons, wall_s=time.monotonic() - begin_s)


def plan_tasks(images: tuple[ListedImage, ...], identity: Identity) -> list[Task]:
    """Every image with its key, split and group, in the order it is packed.

    By modality, dataset and split, and inside those by key: a keyed hash, so each shard is a random sample of its
    source and foreign readers that shuffle little still see a mixture.
    """
    tasks = []
    for (modality, dataset), group in groupby(images, key=lambda image: (image.modality, image.dataset)):
        members = list(group)
        for image, placement in zip(members, place(members, identity), strict=True):
            tasks.append(Task(image=image, key=identity.sample_key(modality, dataset, image.file), placement=placement))
    tasks.sort(key=lambda t: (t.image.modality, t.image.dataset, _SPLIT_ORDER.index(t.placement.split), t.key))
    return tasks


def _chunks(tasks: list[Task]) -> Iterator[list[Task]]:
    return (tasks[start : start + CHUNK_SAMPLES] for start in range(0, len(tasks), CHUNK_SAMPLES))
