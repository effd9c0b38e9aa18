"""How well batches are mixed for the samples held at once, how exact the shares are, and what a slot costs.

The worst case a packer can leave behind: 1,000 shards of 1,000 samples, packed site by site (20 sites), ten neighbours
a patient. A batch of 128 should hold sites in proportion: the variance of its site shares, over that of independent
draws, is 1 for a perfect shuffle.
"""

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from harness import Options, Ratio, Report, compare, main
from peers.environments import NoEnvironment
from shuffle_schemes import (
    SAMPLES,
    SHARD_SAMPLES,
    Int64s,
    Scheme,
    chunks,
    in_stored_order,
    independent,
    ours,
    real,
    shard_windows,
    slices,
    webdataset,
)

from mermed.stream.order.mix import Mixture, reduced

BATCH, SITES, PATIENT_SAMPLES = 128, 20, 10
OURS = "ours, blocks 64, window 256"


@dataclass(slots=True)
class Mixing:
    """Measures one scheme round after round, each with the next seed; keeps what the table shows beside the figure."""

    scheme: Scheme
    count: int
    seeds: list[int]
    same_patient: list[float] = field(default_factory=list)
    shards: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        order = self.scheme.order(self.seeds[len(self.shards)], self.count)
        batches = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
        self.same_patient.append(BATCH - _distinct(batches // PATIENT_SAMPLES))
        self.shards.append(_distinct(batches // SHARD_SAMPLES))
        return site_variance(batches)


def _distinct(names: Int64s) -> float:
    """Different values in a row, on average."""
    return float((np.diff(np.sort(names, axis=1), axis=1) > 0).sum(axis=1).mean() + 1)


def site_variance(batches: Int64s) -> float:
    """Variance of the sites' counts in a batch over that of independent draws."""
    sites = batches // (SAMPLES // SITES)
    counts = np.stack([(sites == site).sum(axis=1) for site in range(SITES)])
    expected = BATCH / SITES
    return float(((counts - expected) ** 2).mean() / (expected * (1 - 1 / SITES)))


def schemes(seeds: list[int], count: int) -> tuple[dict[str, Scheme], dict[str, str]]:
    """Every contestant, and the reason for each that cannot take part."""
    makers: dict[str, Callable[[], Scheme]] = {
        "independent": lambda: Scheme(independent, SAMPLES),
        "ours, full": lambda: Scheme(ours(64, 0), SAMPLES),
        OURS: lambda: Scheme(ours(64, 256), 64 * 256),
        "ours, blocks 32, window 512": lambda: Scheme(ours(32, 512), 32 * 512),
        "ours, blocks 64, window 1024": lambda: Scheme(ours(64, 1024), 64 * 1024),
        "webdataset, buffer 1,000": lambda: Scheme(webdataset(1000), 1000),
        "webdataset, buffer 10,000": lambda: Scheme(webdataset(10_000), 10_000),
        "mosaicml py1e, default block": lambda: Scheme(
            real("mosaicml", seeds, count, block_size=4_000_000), min(4_000_000, SAMPLES)
        ),
        "mosaicml py1e, block 2^18": lambda: Scheme(real("mosaicml", seeds, count, block_size=2**18), 2**18),
        "grain, full": lambda: Scheme(real("grain", seeds, count), SAMPLES),
        "litdata (model)": lambda: Scheme(chunks, SHARD_SAMPLES),
        "energon, slices 100 x 16, buffer 1,000 (model)": lambda: Scheme(slices(100, 16, 1000), 16 * 100 + 1000),
        "dali, initial_fill 1,024 (model)": lambda: Scheme(in_stored_order(1024), 1024),
        "windows of 16 shards (model)": lambda: Scheme(shard_windows(16), 16 * SHARD_SAMPLES),
    }
    found: dict[str, Scheme] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except (NoEnvironment, ImportError) as error:
            missing[name] = str(error)
    return found, missing


def worst_deviations(num_weights: int) -> tuple[float, float]:
    """The largest distance from the exact share, in images, at any prefix and in any contiguous run of slots.

    Over fixed and random weights of 2 to 11 sources. Exact: counts minus shares repeat with the cycle.
    """
    source = random.Random(0)
    quotas = [(1,) * 7, (5, 3, 2, 1, 1, 1, 1), (1, 1000), (65_535, 1), (60, 20, 10, 5, 3, 1, 1)]
    quotas += [tuple(source.randint(1, 1000) for _ in range(source.randint(2, 11))) for _ in range(num_weights)]
    prefix = run = 0.0
    for quota in map(reduced, quotas):
        cycle = Mixture(quota).cycle
        counts = np.cumsum(cycle[:, None] == np.arange(len(quota)), axis=0)
        off = counts - np.arange(1, len(cycle) + 1)[:, None] * (np.array(quota) / len(cycle))
        prefix = max(prefix, float(np.abs(off).max()))
        run = max(run, float((off.max(axis=0) - off.min(axis=0)).max()))
    return prefix, run


def scale(shards: int, samples: int, runs: int) -> dict[str, float]:
    """Medians of what `plan_scale.py` measures, each run in a fresh process."""
    command = [sys.executable, str(Path(__file__).with_name("plan_scale.py")), str(shards), str(samples)]
    measured = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(runs)
    ]
    return {name: statistics.median(one[name] for one in measured) for name in measured[0]}


def run(options: Options) -> Report:
    """Compare the mixing of our order with that of the field, and measure the exactness and the cost of the plan."""
    count = 1024 * BATCH if options.quick else SAMPLES
    seeds = list(range(options.rounds))
    found, missing = schemes(seeds, count)
    mixings = {name: Mixing(scheme, count, seeds) for name, scheme in found.items()}
    figures = compare(mixings, options.rounds, warm_up=0)
    prefix, contiguous = worst_deviations(40 if options.quick else 200)
    shards, samples, runs = (10_000, 100_000, 3) if options.quick else (100_000, 10_000, 5)
    cost = scale(shards, samples, runs)
    return Report(
        bench="bench_order",
        unit="variance of site shares in a batch of 128 over that of independent draws",
        figures=figures,
        ratios={
            "window_over_iid_variance": Ratio(value=figures[OURS].median, bar=1.6, lower_is_better=True),
            "mixer_worst_prefix_images": Ratio(value=prefix, bar=1.1, lower_is_better=True),
            "mixer_worst_run_images": Ratio(value=contiguous, bar=2.0, lower_is_better=True),
            "slot_us": Ratio(value=cost["slot_us"], bar=3.0, lower_is_better=True),
            **{name: Ratio(value=value) for name, value in cost.items() if name != "slot_us"},
        },
        settings={
            "batch": BATCH,
            "sites": SITES,
            "patient_samples": PATIENT_SAMPLES,
            "samples": SAMPLES,
            "measured_samples": count,
            "scale": {"shards": shards, "samples": shards * samples, "runs": runs},
        },
        missing=missing,
        columns=_columns(mixings),
        notes=(
            "held: samples that must be at hand at once",
            f"plan: {shards:,} shards of {samples:,} samples, 21 sources",
        ),
    )


def _columns(mixings: Mapping[str, Mixing]) -> dict[str, dict[str, float | str]]:
    return {
        "samples held": {name: f"{mixing.scheme.held:,}" for name, mixing in mixings.items()},
        "same patient in a batch": {n: round(statistics.median(m.same_patient), 3) for n, m in mixings.items()},
        "shards in a batch": {n: round(statistics.median(m.shards), 1) for n, m in mixings.items()},
    }


if __name__ == "__main__":
    main(run, full_rounds=5)
