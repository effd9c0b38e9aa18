"""Packing: the run from a source folder to a finished collection, the same bytes for any number of workers."""

import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mermed.contract import MANIFEST_NAME, SPLITS, Manifest
from mermed.errors import EnvironmentError_, SampleError
from mermed.pack.accounts import Accounts
from mermed.pack.claim import claim
from mermed.pack.collection import Collection
from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack.plain import ListedImage, RejectedRow, walk
from mermed.pack.sample import MadeSample, Task, make_samples
from mermed.pack.split import place
from mermed.pack.writer import write_atomically

CHUNK_SAMPLES = 8
CHUNKS_AHEAD = 4
"""Chunks in flight per worker: with CHUNK_SAMPLES the bound on what is held in memory at once."""
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


def default_workers() -> int:
    """One worker per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    with claim(out), Accounts(out) as accounts:
        collection = Collection(out, options, accounts)
        for row in listing.rejected:
            accounts.reject(row)
        done = len(listing.rejected)
        for made in _make_in_order(tasks, options, num_workers):
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


def _make_in_order(tasks: list[Task], options: PackOptions, num_workers: int) -> Iterator[MadeSample | RejectedRow]:
    """Outcomes in the order of `tasks`, whoever finishes first; a bounded number is in flight."""
    chunks = [tasks[start : start + CHUNK_SAMPLES] for start in range(0, len(tasks), CHUNK_SAMPLES)]
    if num_workers <= 1:
        for chunk in chunks:
            yield from make_samples(chunk, options)
        return
    pending: deque[Future[list[MadeSample | RejectedRow]]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_leave_interrupts_to_parent) as pool:
        try:
            for chunk in chunks:
                if len(pending) >= CHUNKS_AHEAD * num_workers:
                    yield from pending.popleft().result()
                pending.append(pool.submit(make_samples, chunk, options))
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool:
            raise EnvironmentError_(
                "a packing worker died",
                expected="enough memory, and files that do not crash their decoder",
                found="a killed process",
                next_step="pack with --workers 1 to see where, or with fewer workers when memory ran out",
            ) from None
        finally:
            for future in pending:
                future.cancel()


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
