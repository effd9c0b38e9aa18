"""What a run's report says first: the verdict, and what needs somebody's attention, with the setting that helps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mermed.config import RunConfig
from mermed.train.readings import Number, Reading, curves, stalled_s

STALL_SHARE = 0.05
"""Share of the time spent waiting for data from which it is worth doing something."""
_COLLAPSED_RANK = 3.0
_MANY_REPEATS = 100
_HELP = {
    "network": "keep what was fetched (stream.cache_dir), fetch by more threads (stream.io_threads), or move closer",
    "cache": "give the cache a faster disk, or more room (stream.cache_gib)",
    "disk": "read by more threads (stream.io_threads), or put the shards on a faster disk",
    "decode": "give the run more cores, a smaller canvas (stream.canvas_px), or stream.scaled_decode=true",
    "augment": "make fewer or smaller views, or let the GPU make them",
    "copy": "run further ahead (stream.batches_ahead)",
    "other": "run further ahead (stream.batches_ahead)",
}


def verdict(readings: Sequence[Reading], config: RunConfig) -> str:
    """The run in three sentences: how far, how fast, how the loss went."""
    last, elapsed_s = readings[-1], sum(reading.get("elapsed_s", 0.0) for reading in readings)
    seen = last["slots"] - (readings[0]["slots"] - _images(readings[0]))
    stalls = stalled_s(readings)
    share = sum(stalls.values()) / elapsed_s if elapsed_s else 0.0
    cause = f", most of it for {next(iter(stalls))}" if share >= 0.001 else ""
    rate = f"{seen / elapsed_s:,.1f} images/s" if elapsed_s else "no rate"
    return (
        f"Step {last['step']:,} of {config.train.steps:,}: {last['slots']:,} images in {duration(elapsed_s)}, {rate}. "
        f"The trainer waited for data {share:.1%} of the time{cause}. "
        f"Loss {readings[0]['loss']:.3f} at step {readings[0]['step']:,}, {last['loss']:.3f} at the end."
    )


def _images(reading: Reading) -> Number:
    """Images of one reading."""
    return reading.get("images_per_s", 0.0) * reading.get("elapsed_s", 0.0)


def duration(seconds: Number) -> str:
    """Seconds in words of two units at most."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{minutes:.1f} min" if minutes < 90 else f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"


def notices(
    readings: Sequence[Reading],
    config: RunConfig,
    incidents: Mapping[str, Number],
    sources: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Sentences, the gravest first; empty when all went well."""
    last = readings[-1]
    found = []
    if last["step"] < config.train.steps:
        found.append(
            f"The run stands at step {last['step']:,} of {config.train.steps:,}; mermed-train resume goes on with it."
        )
    if not _is_finite(last["loss"]):
        found.append("The last loss is not a number: the checkpoint before it is the one to use.")
    found += _collapses(readings) + _stalls(readings) + _slow_rank(readings)
    if incidents.get("replaced"):
        share = incidents["replaced"] / max(last["slots"], 1)
        found.append(
            f"{incidents['replaced']:,.0f} samples could not be used and were replaced ({100 * share:.2g} % of the "
            "draws): mermed-shard verify names the damaged shards."
        )
    for name, entry in sources.items():
        if entry.get("samples") and entry.get("draws", 0) > _MANY_REPEATS * entry["samples"]:
            cycles = entry["draws"] / entry["samples"]
            found.append(f"{name} was drawn {cycles:,.0f} times over: its images may be learnt by heart.")
    return found


def _is_finite(value: Number) -> bool:
    return value - value == 0.0


def _collapses(readings: Sequence[Reading]) -> list[str]:
    low = {
        name: points[-1][1]
        for name, points in curves(readings, "queue_rank").items()
        if points[-1][1] < _COLLAPSED_RANK
    }
    shown = ", ".join(f"{name} {rank:.1f}" for name, rank in low.items())
    return [f"The embeddings have nearly collapsed: effective rank {shown}."] if low else []


def _stalls(readings: Sequence[Reading]) -> list[str]:
    elapsed_s = sum(reading.get("elapsed_s", 0.0) for reading in readings) or 1.0
    return [
        f"{seconds / elapsed_s:.1%} of the time went into waiting for {cause}: {_HELP[cause]}."
        for cause, seconds in stalled_s(readings).items()
        if seconds >= STALL_SHARE * elapsed_s
    ]


def _slow_rank(readings: Sequence[Reading]) -> list[str]:
    """A rank that was the slowest in most readings while the others hardly waited."""
    worst: Counter[int] = Counter()
    excess_s = 0.0
    for reading in readings:
        wait_s, mean_s = sum(reading.get("stall_s", {}).values()), reading.get("stall_mean_s")
        if "stall_rank" in reading and mean_s is not None and wait_s > STALL_SHARE * reading["elapsed_s"]:
            worst[reading["stall_rank"]] += 1
            excess_s += wait_s - mean_s
    if not worst or worst.most_common(1)[0][1] < 0.5 * len(readings):
        return []
    rank, times = worst.most_common(1)[0]
    return [
        f"Rank {rank} waited longest for its data in {times} of {len(readings)} readings and held the others up, by "
        f"{duration(excess_s)} over their mean. Look at the disk, the network and the other work of its node."
    ]
