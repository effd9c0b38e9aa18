"""report.html of a run: how it went, where its time went, what it drew; one file that asks the network for nothing.

All of it comes from the run folder, so it can be written again at any time, also while the run goes on. It names
modalities, datasets and settings, never a key, a group or a place where data lie; it shows one image per modality.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mermed.config import RunConfig, differences, load_run_config
from mermed.draft import replace_file
from mermed.errors import MermedError
from mermed.page import figure, page, paragraph, section, table
from mermed.presets import PRESETS, preset
from mermed.train.readings import (
    Number,
    Points,
    Reading,
    binned,
    curve,
    curves,
    grown,
    occupancies,
    read_readings,
    stall_shares,
    stalled_s,
    times,
)
from mermed.train.report_figures import STYLE, area_figure, curve_figure
from mermed.train.report_notices import notices, verdict
from mermed.train.report_views import STYLE as VIEWS_STYLE
from mermed.train.report_views import views_parts

REPORT_NAME = "report.html"
CAUSE_ORDER = ("network", "cache", "disk", "decode", "augment", "copy", "other")
_CAUSE_WORDS = {
    "network": "the store",
    "cache": "the cache",
    "disk": "reading files",
    "decode": "decoding images",
    "augment": "making views",
    "copy": "handing over to the device",
    "other": "no cause noted",
}


def write_report(run: Path) -> Path:
    """Write RUN/report.html from what the run left so far, whole or not at all; returns its path.

    Raises ConfigError when the folder holds no readings.
    """
    path = run / REPORT_NAME
    replace_file(path, render_report(run).encode())
    return path


def render_report(run: Path) -> str:
    """The page as one HTML document; raises ConfigError when the folder holds no readings."""
    readings = read_readings(run)
    config = load_run_config((run / "config.toml").read_text("utf-8"))
    facts = {name: _facts(run / f"{name}.json") for name in ("env", "data")}
    sources = next((reading["ledger"] for reading in reversed(readings) if reading.get("ledger")), {})
    incidents = grown(readings, "incidents")
    body = [
        f"<h1>Run {escape(run.resolve().name)}</h1>",
        paragraph(verdict(readings, config), "verdict"),
        section("What needs your attention", _list(notices(readings, config, incidents, sources))),
        section("Loss by modality", _step_figure(readings, "loss_by_modality", "loss (nats)")),
        section("Images per second", _rate_figure(readings)),
        section("Waiting for data", *_stall_parts(readings)),
        section("Queues", *_queue_parts(readings)),
        section("What was drawn", _source_table(sources)),
        section("Views", *views_parts(run)),
        section("Incidents", _incident_table(incidents)),
        section("Signs of collapse", *_collapse_parts(readings)),
        section("Run, data, settings", _settings_table(config, facts, readings[-1])),
    ]
    return page(f"Run {run.resolve().name}", "\n".join(body), STYLE + VIEWS_STYLE)


def _facts(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _list(sentences: Sequence[str]) -> str:
    if not sentences:
        return paragraph("Nothing.", "soft")
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _step_figure(readings: Sequence[Reading], name: str, y_name: str) -> str:
    shown = {key: binned(points) for key, points in curves(readings, name).items()}
    return figure(curve_figure(shown, x_name="step", y_name=y_name))


def _rate_figure(readings: Sequence[Reading]) -> str:
    unit, passed = times(readings)
    points = binned(curve(readings, "images_per_s", passed))
    return figure(curve_figure({"images/s": points}, x_name=unit, y_name="images/s", from_zero=True))


def _stall_parts(readings: Sequence[Reading]) -> list[str]:
    """Share of the time stalled by cause over the hours, and the seconds of each cause over the whole run."""
    total = stalled_s(readings)
    if not total:
        return [paragraph("The trainer never waited.", "soft")]
    (unit, passed), shares = times(readings), [stall_shares(reading) for reading in readings]
    found = [cause for cause in CAUSE_ORDER if total.get(cause, 0.0) > 0.0]
    stacked: dict[str, Points] = {
        cause: binned([(at, 100 * share.get(cause, 0.0)) for at, share in zip(passed, shares, strict=True)])
        for cause in found
    }
    elapsed_s = sum(reading.get("elapsed_s", 0.0) for reading in readings)
    threads = grown(readings, "causes_s")
    causes = [*found, *(cause for cause in CAUSE_ORDER if cause in threads and cause not in found)]
    rows = [
        [cause, _CAUSE_WORDS[cause], *_stall_cells(total.get(cause, 0), elapsed_s), _seconds(threads, cause)]
        for cause in causes
    ]
    return [
        figure(area_figure(stacked, x_name=unit, y_name="% of the time", least_top=1.0)),
        table(["cause", "", "stalled (s)", "of the time", "thread seconds"], rows, "words"),
        paragraph(
            "Stalled: the trainer of the slowest rank had nothing to do. Thread seconds: work of the main rank's "
            "threads, most of it hidden behind the steps.",
            "soft",
        ),
    ]


def _stall_cells(seconds: Number, elapsed_s: Number) -> tuple[str, str]:
    return f"{seconds:,.1f}", f"{seconds / elapsed_s:.2%}" if elapsed_s else ""


def _seconds(counts: Mapping[str, Number], name: str) -> str:
    return f"{counts[name]:,.1f}" if name in counts else ""


def _queue_parts(readings: Sequence[Reading]) -> list[str]:
    shares = occupancies(readings)
    names = sorted({name for share in shares for name in share})
    if not names:
        return [paragraph("No queue was recorded.", "soft")]
    unit, passed = times(readings)
    filled = {
        name: binned([(at, 100 * share[name]) for at, share in zip(passed, shares, strict=True) if name in share])
        for name in names
    }
    waits = grown(readings, "queues", "_wait_s")
    rows = [
        [name, f"{waits.get(f'{name}_put_wait_s', 0.0):,.1f}", f"{waits.get(f'{name}_get_wait_s', 0.0):,.1f}"]
        for name in names
    ]
    return [
        figure(curve_figure(filled, x_name=unit, y_name="% full when taken from", from_zero=True)),
        table(["queue", "waited to put (s)", "waited to get (s)"], rows),
        paragraph("A full queue: what comes after it is slow. An empty one: what comes before it is.", "soft"),
    ]


def _source_table(sources: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per source; whatever numbers the ledger holds are its columns."""
    if not sources:
        return paragraph("No ledger was recorded.", "soft")
    columns = list(dict.fromkeys(name for entry in sources.values() for name in entry))
    rows = [
        [escape(name), *(_number(entry.get(column)) for column in columns)] for name, entry in sorted(sources.items())
    ]
    return table(["source", *(column.replace("_", " ") for column in columns)], rows)


def _number(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.3f}"
    return f"{value:,.0f}" if isinstance(value, int | float) else escape(str(value if value is not None else ""))


def _incident_table(incidents: Mapping[str, Number]) -> str:
    rows = [[escape(name.replace("_", " ")), _number(count)] for name, count in sorted(incidents.items()) if count]
    return table(["incident", "times"], rows) if rows else paragraph("None.", "soft")


def _collapse_parts(readings: Sequence[Reading]) -> list[str]:
    text = "Effective rank of the memory queue's embeddings: if it falls to 1, all images of a modality look the same."
    return [paragraph(text, "soft"), _step_figure(readings, "queue_rank", "effective rank")]


def _settings_table(config: RunConfig, facts: Mapping[str, Mapping[str, Any]], last: Reading) -> str:
    rows = [["preset", f"<code>{escape(config.preset)}</code>"]]
    if config.preset in PRESETS:
        changed = (line.partition(": ") for line in differences(preset(config.preset), config))
        rows += [[escape(f"set: {name}"), f"<code>{escape(change)}</code>"] for name, _, change in changed]
    data = facts["data"]
    rows.append(["data: manifest", f"<code>{escape(str(data.get('manifest_digest', '')))}</code>"])
    rows.append(["data: modalities", f"<code>{escape(' '.join(data.get('modalities', ())))}</code>"])
    for name, value in facts["env"].items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        rows.append([escape(f"environment: {name}"), f"<code>{escape(shown) or '-'}</code>"])
    rows.append(["audit", f"<code>{escape(str(last.get('audit', '')))}</code>"])
    return table(["", "value"], rows, "text")


def try_report(run: Path) -> str:
    """Write the report at the end of a run, which no failure of it may spoil; returns what to tell people."""
    try:
        return f"report: {write_report(run)}"
    except (MermedError, OSError, ValueError, KeyError, TypeError) as error:
        return f"no report could be written ({type(error).__name__}: {error}); later: mermed-train report {run}"
