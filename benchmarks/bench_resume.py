"""Going on at 90 % of an epoch against starting at its first slot: time to the first batch, samples lost or repeated.

Both open the whole engine anew over the same shards in the page cache and stop the clock when the first batch of 512 px
canvases is there. Going on at step 10^7 is measured beside them. A run is then stopped at several places, with batches
read ahead, and gone on with: every sample is counted against a run that never stopped.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from peers import ours
from peers.border import Opening
from peers.images import MODALITIES, write_images
from scorecard.sequences import gap

SIDE_PX, BATCH, SEED, WORKERS = 512, 56, 0, 2
RESUME_BAR, LOST_BAR = 1.1, 0.0
PER_MODALITY, PER_MODALITY_QUICK = 80, 32
FAR_STEP = 10**7
STOPS = (0.1, 0.5, 0.9, 0.99, 1.0)
AFTER = 3


def first_batch_s(folder: Path, slot: int) -> float:
    """Seconds from opening the engine at `slot` to its first batch."""
    begin = time.perf_counter()
    source = open_at(folder, slot)
    try:
        next(iter(source))
        return time.perf_counter() - begin
    finally:
        source.close()


def open_at(folder: Path, slot: int) -> Any:
    return ours.open(folder, Opening(batch=BATCH, workers=WORKERS, seed=SEED, side_px=SIDE_PX, state=slot))


def keys_from(folder: Path, slot: int, num_batches: int) -> tuple[list[list[str]], int]:
    """The keys of `num_batches` batches from `slot` on, and the state behind the last one."""
    source = open_at(folder, slot)
    try:
        taken = iter(source)
        keys = [next(taken)[1] for _ in range(num_batches)]
        return keys, source.state()
    finally:
        source.close()


def lost_or_repeated(folder: Path, epoch: int) -> int:
    """Samples lost or repeated over stops at several shares of an epoch of `epoch` batches."""
    whole, _ = keys_from(folder, 0, epoch + AFTER)
    wrong = 0
    for share in STOPS:
        stop = max(1, round(share * epoch))
        before, state = keys_from(folder, 0, stop)
        after, _ = keys_from(folder, state, epoch + AFTER - stop)
        found = gap(whole, before + after)
        wrong += found.lost + found.repeated
    return wrong


def bench(options: harness.Options) -> harness.Report:
    """Time to the first batch when a run goes on, over that of a cold start; samples lost or repeated."""
    per_modality = PER_MODALITY_QUICK if options.quick else PER_MODALITY
    epoch = per_modality * len(MODALITIES) // BATCH
    with tempfile.TemporaryDirectory() as name:
        images, folder = Path(name) / "images", Path(name) / "ours"
        write_images(images, per_modality=per_modality, side_px=SIDE_PX)
        ours.prepare(images, folder)
        slots = {"cold start": 0, "at 90 % of an epoch": round(0.9 * epoch) * BATCH, "at step 10^7": FAR_STEP * BATCH}
        contestants: dict[str, Callable[[], float]] = {
            title: lambda slot=slot: first_batch_s(folder, slot) for title, slot in slots.items()
        }
        figures = harness.compare(contestants, options.rounds)
        wrong = lost_or_repeated(folder, epoch)
    cold = figures["cold start"].median
    return harness.Report(
        bench="bench_resume",
        unit="seconds to the first batch",
        figures=figures,
        ratios={
            "resume_over_cold_start": harness.Ratio(
                value=figures["at 90 % of an epoch"].median / cold, bar=RESUME_BAR, lower_is_better=True
            ),
            "far_resume_over_cold_start": harness.Ratio(
                value=figures["at step 10^7"].median / cold, bar=RESUME_BAR, lower_is_better=True
            ),
            "samples_lost_or_repeated": harness.Ratio(value=float(wrong), bar=LOST_BAR, lower_is_better=True),
        },
        settings={
            "side_px": SIDE_PX,
            "batch": BATCH,
            "workers": WORKERS,
            "samples": per_modality * len(MODALITIES),
            "stops": list(STOPS),
        },
    )


if __name__ == "__main__":
    harness.main(bench)
