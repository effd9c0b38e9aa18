"""Images per second from local shards to decoded canvases: ours against the decode limit and against every peer.

Each contestant is a child process in an environment of its own (`peers/`), idle while it is not measured. All read the
same JPEG bytes, each from its own format, decode them with the same function (but for "own decode"), shuffle, and use
the number of workers that served them best in a trial, the limit too.
"""

import random
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import harness
from peers import environments, images
from peers.arms import (
    BATCH,
    COLUMNS,
    REDUCED_LEVELS,
    SEED,
    Arm,
    Images,
    Lists,
    cores,
    settle_workers,
    whole_rounds,
    worker_counts,
)
from peers.border import PEERS

sys.path.insert(0, str(harness.ROOT / "tests" / "stream" / "remote"))
from fault_server import FaultServer, Folder

CANVAS_PX, LARGE_PX = 512, 1024
LIMIT, OURS, CACHED, SCALED, REMOTE = "limit", "ours", "cached", "ours_scaled", "ours_remote"
QUICK_PEERS = ("ours", "webdataset", "grain", "dali")
"""A quick run takes those that start in a moment."""

OVER_LIMIT_BAR, OVER_PEER_BAR, SCALED_BAR, REMOTE_BAR = 0.95, 1.03, 1.3, 0.9
LATENCY_S, ERROR_RATE = 0.05, 0.01
"""What every request to the remote store waits, and how many of them fail at first."""
AUDITED_BATCHES = 4
FULL_ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is read: batches per measurement of full and of large images and per trial, keys per picture."""

    full_batches: int
    large_batches: int
    trial_batches: int
    copies: int


def sizes_of(options: harness.Options) -> Sizes:
    """Seconds per measurement in a full run, so that starting workers is not what is measured."""
    if options.quick:
        return Sizes(full_batches=2, large_batches=2, trial_batches=0, copies=40)
    return Sizes(full_batches=max(48, 12 * cores()), large_batches=max(12, 6 * cores()), trial_batches=12, copies=10)


def make_images(folder: Path, *, stored_px: int, batches: int, copies: int) -> Images:
    """Images enough that no contestant comes to the end of its epoch within a measurement."""
    most = whole_rounds(batches, max(worker_counts()))
    per_modality = -(-BATCH * (most + 1) // len(images.MODALITIES))
    images.write_images(folder, per_modality=per_modality, side_px=stored_px, copies=copies)
    return Images(folder=folder, side_px=CANVAS_PX, batches=batches)


def enter_full(lists: Lists, full: Images, peers: tuple[str, ...]) -> dict[str, Arm]:
    """Everyone on images that are just as large as the canvas: each must be decoded whole."""
    lists.missing |= dict.fromkeys(set(PEERS) - set(peers), "left out of a quick run")
    return {name: arm for name in (LIMIT, CACHED, *peers) if (arm := lists.enter(name, full))}


def enter_remote(lists: Lists, full: Images, local: Arm, closing: ExitStack) -> Arm | None:
    """Ours from a loopback store with latency and errors; raises SystemExit unless its data are those of `local`."""
    server = closing.enter_context(FaultServer(Folder(local.out)))
    server.latency_s, server.error_rate = LATENCY_S, ERROR_RATE
    lists.environment[REMOTE] = {"MERMED_BENCH_URL": server.url}
    remote = lists.enter(REMOTE, full)
    if remote:
        digests = {arm.ask("digest", batches=AUDITED_BATCHES)["sha256"] for arm in (local, remote)}
        if len(digests) > 1:
            raise SystemExit("the remote store gave other data than the local shards")
    return remote


def enter_large(lists: Lists, large: Images, *, quick: bool) -> dict[str, Arm]:
    """Images twice as large as the canvas: the limit decodes them whole and does no more, others reduce them."""
    arms = {
        LIMIT: lists.enter(LIMIT, large, prefix="large: ", side_px=LARGE_PX),
        SCALED: lists.enter(SCALED, large, prefix="large: ", levels=REDUCED_LEVELS),
    }
    if not quick:
        arms[OURS] = lists.enter(OURS, large, prefix="large: ", levels=REDUCED_LEVELS)
    return {name: arm for name, arm in arms.items() if arm}


def ratios_of(full: Mapping[str, float], large: Mapping[str, float]) -> dict[str, harness.Ratio]:
    """Ours against the limit, the best peer, the whole decode of large images and itself, from medians by name."""
    ours = full[OURS]
    peers = [full[name] for name in PEERS if name in full and name != OURS]
    ratios = {
        "ours_over_limit": harness.Ratio(value=ours / full[LIMIT], bar=OVER_LIMIT_BAR),
        "scaled_over_limit": harness.Ratio(value=large[SCALED] / large[LIMIT], bar=SCALED_BAR),
        "headspace": harness.Ratio(value=full[CACHED] / ours),
    }
    if peers:
        ratios["ours_over_best_peer"] = harness.Ratio(value=ours / max(peers), bar=OVER_PEER_BAR)
    if REMOTE in full:
        ratios["remote_over_local"] = harness.Ratio(value=full[REMOTE] / ours, bar=REMOTE_BAR)
    return ratios


def settings_of(sizes: Sizes, full: Images, large: Images) -> dict[str, object]:
    """What a record must say of the sizes."""
    return {
        "batch": BATCH,
        "canvas_px": CANVAS_PX,
        "batches": sizes.full_batches,
        "mean_image_kb": round(images.mean_bytes(full.folder) / 1000, 1),
        "images": sum(1 for _ in full.folder.iterdir()),
        "large_px": LARGE_PX,
        "large_batches": sizes.large_batches,
        "large_mean_image_kb": round(images.mean_bytes(large.folder) / 1000, 1),
        "remote": {"latency_s": LATENCY_S, "error_rate": ERROR_RATE},
        "pins": [pin for name in PEERS for pin in environments.requirements_of(name)],
    }


def bench(options: harness.Options) -> harness.Report:
    """Loader throughput on local shards: ours, the decode limit, and every peer that is installed."""
    sizes = sizes_of(options)
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        folder = Path(name)
        lists = Lists(folder, closing)
        full = make_images(folder / "full", stored_px=CANVAS_PX, batches=sizes.full_batches, copies=sizes.copies)
        large = make_images(folder / "large", stored_px=LARGE_PX, batches=sizes.large_batches, copies=sizes.copies)
        on_full = enter_full(lists, full, QUICK_PEERS if options.quick else PEERS)
        if remote := enter_remote(lists, full, on_full[OURS], closing):
            on_full[REMOTE] = remote
        on_large = enter_large(lists, large, quick=options.quick)
        arms = [*on_full.values(), *on_large.values()]
        if sizes.trial_batches:
            settle_workers(arms, sizes.trial_batches)
        rates = {arm.title: arm.rate for arm in arms}
        figures = harness.compare(rates, options.rounds, order=random.Random(SEED))
        settings = settings_of(sizes, full, large)
    arms = lists.drop_failed(arms)
    figures = {arm.title: figures[arm.title] for arm in arms}
    medians = [
        {name: figures[arm.title].median for name, arm in side.items() if not arm.failure}
        for side in (on_full, on_large)
    ]
    return harness.Report(
        bench="bench_loader",
        unit="images/s",
        figures=figures,
        ratios=ratios_of(*medians),
        settings=settings,
        missing=lists.missing,
        columns={heading: {arm.title: arm.column(name) for arm in arms} for name, heading in COLUMNS.items()},
    )


if __name__ == "__main__":
    harness.main(bench, full_rounds=FULL_ROUNDS)
