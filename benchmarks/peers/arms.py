"""Contestants at work: which can take part, how many workers serve each best, and what each measures."""

import math
import os
import statistics
import sys
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.contestant import Contestant, PeerFailed, PeerMissing

BATCH, SEED = 56, 0
SAME_DECODER_LEVELS, OWN_DECODER_LEVELS, REDUCED_LEVELS = 0.0, 1.0, 4.0
"""Mean distance from a plain decode that each kind of arm may show; one that shows more does other work."""

COLUMNS = {
    "workers": "workers",
    "first_batch_s": "first batch (s)",
    "cpu_s_per_1000": "CPU s per 1,000",
    "peak_mib": "peak MiB",
}


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of one scenario: where, the side of the canvas they go to, and the batches one measurement takes."""

    folder: Path
    side_px: int
    batches: int


@dataclass(kw_only=True)
class Arm:
    """One contestant in one scenario, and what it measured besides its rate."""

    title: str
    contestant: Contestant
    out: Path
    side_px: int
    batches: int
    workers: int
    measured: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """A question about this arm's data, with its settings unless `arguments` say otherwise."""
        settings = {
            "out": str(self.out),
            "batch": BATCH,
            "workers": self.workers,
            "seed": SEED,
            "side_px": self.side_px,
        }
        return self.contestant.ask(do, **{**settings, **arguments})

    def rate(self) -> float:
        """Images/s of one measurement; NaN once it failed. The first one, the warm-up, watches memory, not time."""
        if self.failure:
            return math.nan
        is_first = not self.measured
        try:
            answer = self.ask("rate", batches=whole_rounds(self.batches, self.workers), memory=is_first)
        except PeerFailed as error:
            self.failure = str(error)
            return math.nan
        for name in ("peak_mib",) if is_first else ("first_batch_s", "cpu_s_per_1000"):
            self.measured.setdefault(name, []).append(answer[name])
        return answer["images_per_s"]

    def column(self, name: str) -> float:
        """What one of COLUMNS shows: a median over the rounds."""
        return float(self.workers) if name == "workers" else statistics.median(self.measured[name])


class Lists:
    """Enters contestants; keeps who is missing and why, by title or name.

    `environment` holds the variables that a contestant's process is started with.
    """

    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.missing: dict[str, str] = {}
        self.environment: dict[str, dict[str, str]] = {}
        self._folder = folder
        self._closing = closing
        self._running: dict[str, Contestant] = {}

    def _contestant(self, name: str) -> Contestant:
        """The child of a contestant, started when it is first needed."""
        if name not in self._running:
            self._running[name] = self._closing.enter_context(Contestant(name, env=self.environment.get(name)))
        return self._running[name]

    def enter(
        self, name: str, images: Images, *, prefix: str = "", levels: float | None = None, side_px: int | None = None
    ) -> Arm | None:
        """A contestant with its images converted and its pixels checked; None, with the reason kept, if it cannot.

        Raises SystemExit when its pixels are further from a plain decode than `levels`: it would do other work.
        """
        try:
            contestant = self._contestant(name)
            arm = Arm(
                title=prefix + contestant.title,
                contestant=contestant,
                out=self._folder / f"{images.folder.name}-{name}",
                side_px=side_px or images.side_px,
                batches=images.batches,
                workers=cores(),
            )
            contestant.ask("prepare", images=str(images.folder), out=str(arm.out))
            seen = arm.ask("check", images=str(images.folder), batches=2)
        except (PeerMissing, PeerFailed) as error:
            self.missing[prefix + name] = str(error)
            return None
        if levels is None:
            levels = OWN_DECODER_LEVELS if "own decode" in contestant.supports else SAME_DECODER_LEVELS
        if not seen["images"] or seen["mean_levels"] > levels:
            raise SystemExit(
                f"{arm.title} does other work: {seen} from a plain decode, at most {levels} levels allowed"
            )
        return arm

    def drop_failed(self, arms: Collection[Arm]) -> list[Arm]:
        """The arms that came through; the others are missing now."""
        self.missing |= {arm.title: f"failed while it was measured: {arm.failure}" for arm in arms if arm.failure}
        return [arm for arm in arms if not arm.failure]


def settle_workers(arms: Collection[Arm], batches: int) -> None:
    """Give each arm the number of workers that served it best, in one trial of each number, all arms in turn."""
    best = {arm.title: 0.0 for arm in arms}
    for workers in worker_counts():
        for arm in arms:
            try:
                answer = arm.ask("rate", batches=whole_rounds(batches, workers), workers=workers)
            except PeerFailed as error:
                print(f"{arm.title} with {workers} workers: {error}", file=sys.stderr)
                continue
            if answer["images_per_s"] > best[arm.title]:
                best[arm.title], arm.workers = answer["images_per_s"], workers


def whole_rounds(batches: int, workers: int) -> int:
    """`batches` rounded up to a multiple of `workers`: else those that finish side by side count for too much."""
    return -(-batches // workers) * workers


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_counts() -> list[int]:
    """The worker counts to try: half the cores, all, and half as many again."""
    return sorted({max(1, cores() // 2), cores(), cores() + cores() // 2})
