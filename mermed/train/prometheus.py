"""The newest reading of a run as a Prometheus text file, for the textfile collector of a node exporter. No server.

Every number of a reading becomes a metric `mermed_...`; numbers of a table become one metric with a label per name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mermed.draft import replace_file

_COUNTERS = {
    "slots": "Images consumed since step 0.",
    "causes_s": "Seconds of the stream's threads by cause since this process began.",
    "incidents": "Incidents of the stream since this process began.",
}
_GAUGES = {
    "step": "Optimiser steps taken.",
    "loss": "Loss in nats, mean over the last batch.",
    "loss_by_modality": "Loss in nats by modality.",
    "images_per_s": "Images trained on per second over all ranks.",
    "stall": "Share of the time spent waiting for data.",
    "stall_s": "Seconds the slowest rank waited for data since the last reading, by cause.",
    "stall_rank": "Rank that waited longest for its data.",
    "gradient_norm": "L2 norm of the gradient before clipping.",
    "queue_rank": "Effective rank of the memory queue by modality.",
    "queues": "Waits in seconds and occupancy of the stream's queues.",
    "lr": "Learning rate.",
}
_NAMES = {
    "causes_s": "thread_seconds",
    "images_per_s": "images_per_second",
    "lr": "learning_rate",
    "stall": "stall_share",
    "stall_s": "stall_seconds",
}
"""Where Prometheus would have a figure named otherwise: units written out."""
_LABELS = {
    "loss_by_modality": "modality",
    "queue_rank": "modality",
    "causes_s": "cause",
    "stall_s": "cause",
    "incidents": "kind",
    "queues": "figure",
}


class PrometheusFile:
    """Keeps the newest reading in `path`, replaced as a whole, so that a collector never reads half of it.

    A collector only looks at names that end in `.prom`. `run` becomes a label of every metric.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run

    def write(self, reading: Mapping[str, Any]) -> None:
        """Replace the file by this reading; raises OSError when it cannot be written."""
        replace_file(self._path, prometheus_text(reading, self._run).encode())


def prometheus_text(reading: Mapping[str, Any], run: str) -> str:
    """The known figures of a reading in the text exposition format (version 0.0.4), without time stamps."""
    parts = [
        _metric(name, kind, text, reading[name], run)
        for kind, texts in (("gauge", _GAUGES), ("counter", _COUNTERS))
        for name, text in texts.items()
        if name in reading
    ]
    return "".join(parts)


def _metric(name: str, kind: str, text: str, value: Any, run: str) -> str:
    full = f"mermed_{_NAMES.get(name, name)}{'_total' if kind == 'counter' else ''}"
    lines = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    if isinstance(value, Mapping):
        lines += [
            f"{full}{{{_label('run', run)},{_label(_LABELS[name], part)}}} {_number(number)}"
            for part, number in value.items()
        ]
    else:
        lines.append(f"{full}{{{_label('run', run)}}} {_number(value)}")
    return "".join(f"{line}\n" for line in lines)


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{name}="{escaped}"'


def _number(value: float | int) -> str:
    """A number as Prometheus reads it; Python's own `nan` and `inf` are `NaN` and `+Inf` there."""
    text = repr(float(value))
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text, text)
