"""What a plan costs at scale, in a process of its own, as one JSON line: `plan_scale.py SHARDS SAMPLES_PER_SHARD`."""

import json
import os
import statistics
import sys
import time
import tracemalloc

from shuffle_schemes import synthetic_rows

from mermed.config import StreamConfig
from mermed.contract import Manifest
from mermed.mix_config import MixConfig
from mermed.stream.order.plan import Plan

BATCH = 1024
STEP = 10**7
SOURCES = [(modality, f"set{n}") for n in range(3) for modality in ("cfp", "ct", "cxr", "derm", "oct", "path", "us")]


def resident_mib() -> float:
    """Memory this process holds now, in MiB; Linux only."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def slot_us(plan: Plan, first: int, batches: int = 40) -> float:
    """Median microseconds of one core a slot, for batches of 1,024 from slot `first` on."""
    seconds = []
    for start in range(first, first + batches * BATCH, BATCH):
        begin = time.thread_time()
        plan.batch(range(start, start + BATCH))
        seconds.append(time.thread_time() - begin)
    return statistics.median(seconds) / BATCH * 1e6


def traced_mib(manifest: Manifest) -> float:
    """What a plan that has given a batch holds beside its manifest, in MiB; exact, whatever the heap had free."""
    tracemalloc.start()
    plan = Plan(manifest, MixConfig(), StreamConfig(), 0)
    plan.batch(range(BATCH))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / 2**20


def main() -> None:
    shards, samples = int(sys.argv[1]), int(sys.argv[2])
    content = Manifest(shards=synthetic_rows(shards, samples, SOURCES)).encode()
    held = resident_mib()
    begin = time.perf_counter()
    manifest = Manifest.decode(content)
    decoded = time.perf_counter()
    held_manifest = resident_mib()
    plan = Plan(manifest, MixConfig(), StreamConfig(), 0)
    planned = time.perf_counter()
    plan.batch(range(STEP * BATCH, (STEP + 1) * BATCH))
    resumed = time.perf_counter()
    window = Plan(manifest, MixConfig(), StreamConfig(window_blocks=256), 0)
    figures = {
        "manifest_mb": len(content) / 1e6,
        "manifest_decode_s": decoded - begin,
        "manifest_mib": held_manifest - held,
        "plan_s": planned - decoded,
        "plan_mib": traced_mib(manifest),
        "first_batch_at_step_1e7_s": resumed - planned,
        "slot_us": slot_us(plan, 10**10),
        "slot_us_from_0": slot_us(plan, 0),
        "slot_us_window": slot_us(window, 10**10),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
