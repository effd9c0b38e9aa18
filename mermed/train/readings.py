"""The readings of a run, as its report needs them: lines of metrics.jsonl turned into series over steps and hours."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from mermed.errors import ConfigError

METRICS_NAME = "metrics.jsonl"
_UNITS = (("minutes", 60.0), ("hours", 3600.0), ("days", 86400.0))

Reading = Mapping[str, Any]
Number = float | int
Points = list[tuple[float, float]]
"""(x, y) of one curve, x rising."""


def read_readings(run: Path) -> list[dict[str, Any]]:
    """All readings of a run, in order; a line that a kill cut short is left out.

    Raises ConfigError when the run has none.
    """
    path = run / METRICS_NAME
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    readings = [reading for line in lines if (reading := _parsed(line)) is not None]
    if not readings:
        raise ConfigError(
            "this folder holds no readings of a run",
            where={"folder": run},
            expected=f"{METRICS_NAME} with a line or more",
            found="none",
            next_step="a run writes its first reading after train.log_every steps",
        )
    return readings


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        reading = json.loads(line)
    except ValueError:
        return None
    return reading if isinstance(reading, dict) and "step" in reading else None


def times(readings: Sequence[Reading]) -> tuple[str, list[float]]:
    """The time of training at the end of each reading, and its unit in words: minutes, hours or days.

    The time between an end and a resumption is not in it.
    """
    passed = list(accumulate(float(reading.get("elapsed_s", 0.0)) for reading in readings))
    unit, length_s = next((unit for unit in _UNITS if passed[-1] < 120 * unit[1]), _UNITS[-1])
    return f"{unit} of training", [seconds / length_s for seconds in passed]


def curves(readings: Sequence[Reading], table: str, x: Sequence[float] | None = None) -> dict[str, Points]:
    """One curve per name in the nested `table` of the readings, over steps or over `x`; not-a-numbers are gaps."""
    found: dict[str, Points] = {}
    for place, reading in enumerate(readings):
        at = float(reading["step"]) if x is None else x[place]
        for name, value in reading.get(table, {}).items():
            if _is_number(value):
                found.setdefault(name, []).append((at, float(value)))
    return dict(sorted(found.items()))


def curve(readings: Sequence[Reading], name: str, x: Sequence[float] | None = None) -> Points:
    """The curve of one figure of the readings, over steps or over `x`."""
    return [
        (float(reading["step"]) if x is None else x[place], float(reading[name]))
        for place, reading in enumerate(readings)
        if _is_number(reading.get(name))
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def stalls_of(reading: Reading) -> dict[str, Number]:
    """Seconds of a reading spent waiting for data, by cause; `other` is what no cause was noted for."""
    causes = dict(reading.get("stall_s", {}))
    unknown_s = reading.get("wait_s", 0.0) - sum(causes.values())
    if unknown_s > 0.01 * reading.get("elapsed_s", 0.0):
        causes["other"] = causes.get("other", 0.0) + unknown_s
    return causes


def stalled_s(readings: Sequence[Reading]) -> dict[str, Number]:
    """Seconds stalled by cause over the whole run, the longest first."""
    total: dict[str, Number] = {}
    for reading in readings:
        for cause, seconds in stalls_of(reading).items():
            total[cause] = total.get(cause, 0) + seconds
    return dict(sorted(total.items(), key=lambda entry: -entry[1]))


def stall_shares(reading: Reading) -> dict[str, Number]:
    """Share of the time of a reading that was spent waiting for data, by cause."""
    elapsed_s = reading.get("elapsed_s", 0.0)
    return {cause: min(seconds / elapsed_s, 1.0) for cause, seconds in stalls_of(reading).items() if elapsed_s > 0.0}


def grown(readings: Sequence[Reading], table: str, ending: str = "") -> dict[str, Number]:
    """What the running counts in `table` have grown by over all sessions: those that fall have begun anew.

    Only names with that `ending` are looked at: a table may hold figures that are no counts beside them.
    """
    before: dict[str, Number] = {}
    total: dict[str, Number] = {}
    for reading in readings:
        for name, count in reading.get(table, {}).items():
            if name.endswith(ending):
                last = before.get(name, 0)
                total[name] = total.get(name, 0) + (count - last if count >= last else count)
                before[name] = count
    return total


def occupancies(readings: Sequence[Reading]) -> list[dict[str, Number]]:
    """Mean share of each queue that was full within each reading; where items were not counted, since the start."""
    before: Mapping[str, Number] = {}
    shares = []
    for reading in readings:
        queues = reading.get("queues", {})
        names = [name.removesuffix("_occupancy") for name in queues if name.endswith("_occupancy")]
        shares.append({name: _occupancy(queues, before, name) for name in names})
        before = queues
    return shares


def _occupancy(now: Mapping[str, Number], before: Mapping[str, Number], queue: str) -> Number:
    """Mean share of `queue` that was full between two readings of its running mean over its items."""
    share, items = now[f"{queue}_occupancy"], now.get(f"{queue}_items", 0)
    earlier = before.get(f"{queue}_items", 0)
    if not 0 < earlier < items:  # nothing was counted before, or the counts have begun anew
        return share
    filled = share * items - before[f"{queue}_occupancy"] * earlier
    return min(max(filled / (items - earlier), 0.0), 1.0)


def binned(points: Points, bins: int = 240) -> Points:
    """At most `bins` points of a curve: the mean of each run of neighbours, so that a page stays small."""
    if len(points) <= bins:
        return points
    bounds = [round(number * len(points) / bins) for number in range(bins + 1)]
    return [
        (points[stop - 1][0], sum(y for _, y in points[start:stop]) / (stop - start))
        for start, stop in pairwise(bounds)
    ]
