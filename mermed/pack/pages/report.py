"""report.html of a pack: what was found and where it went, what it looks like, and under which licence.

One file that asks the network for nothing and runs no script. It names datasets, labels, reasons and keys, never a file
or a person; thumbnails show pixels of patients, so it belongs where the raw images are.
"""

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from mermed.contract import SPLITS, ShardRow
from mermed.pack.collection.writer import write_atomically
from mermed.pack.pages.report_advice import advice
from mermed.pack.pages.report_data import HISTOGRAM_BINS, Pair, Reject, ReportData, caption
from mermed.pack.pages.report_figures import BINS, flow_figure
from mermed.pack.pages.report_gallery import STYLE, contact_sheet, histogram_tiles, reject_gallery
from mermed.pack.pages.report_notices import licence_of, notices, redistribution_of
from mermed.page import badge, page, paragraph, section, table

__all__ = ["HISTOGRAM_BINS", "Pair", "Reject", "ReportData", "caption", "render_report", "write_report"]


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    write_atomically(path, render_report(data).encode("utf-8", "backslashreplace"))


def render_report(data: ReportData) -> str:
    """The page as one HTML document."""
    flows = data.all_flows()
    body = [
        "<h1>Report of a pack</h1>",
        paragraph(_verdict(data), "verdict"),
        section("What needs your attention", _list(notices(data))),
        section("Where the inputs went", f'<div class="flow">{flow_figure(flows)}</div>', _flow_table(flows)),
        section("Datasets and splits", _source_table(data)),
        section("Why inputs were not packed", *_reason_parts(data)),
        section("Raw beside packed", contact_sheet(data.pairs) if data.pairs else _no_thumbnails()),
    ]
    if data.histograms:
        body.append(section("Grey levels", histogram_tiles(data.histograms)))
    if data.rejects:
        body.append(section("Not packed, up close", reject_gallery(data.rejects)))
    body += [
        section("Licences", _licence_table(data)),
        section("Options, versions, digests", _settings_table(data)),
    ]
    return page("Report of a pack", "\n".join(body), STYLE)


def _verdict(data: ReportData) -> str:
    totals = data.manifest.totals
    size = _size_words(sum(row.bytes for row in data.manifest.shards))
    parts = " + ".join(f"{totals.get(bin, 0):,} {bin}" for bin in BINS)
    return (
        f"{totals.get('inputs', 0):,} inputs = {parts}. {len(data.sources):,} datasets of "
        f"{len(data.manifest.modalities)} modalities in {len(data.manifest.shards):,} shards, {size}."
    )


def _size_words(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:,.1f} GiB"


def _list(sentences: Sequence[str]) -> str:
    if not sentences:
        return paragraph("Nothing.", "soft")
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _no_thumbnails() -> str:
    return paragraph("No thumbnails: this pack was asked to make none, or read no picture anew.", "soft")


def _flow_table(flows: dict[str, dict[str, int]]) -> str:
    rows = []
    for name, flow in flows.items():
        counts = [flow.get(bin, 0) for bin in BINS]
        rows.append([escape(name), *(f"{count:,}" for count in (sum(counts), *counts))])
    note = paragraph("other: inputs that belong to no dataset, or whose modality is not known.", "soft")
    return table(["modality", "found", *BINS], rows) + (note if "other" in flows else "")


def _source_table(data: ReportData) -> str:
    by_source: defaultdict[str, list[ShardRow]] = defaultdict(list)
    for row in data.manifest.shards:
        by_source[f"{row.modality}/{row.dataset}"].append(row)
    rows = []
    for source, shards in sorted(by_source.items()):
        counts = [sum(row.samples for row in shards if row.split == split) for split in SPLITS]
        size = sum(row.bytes for row in shards) / 2**20
        cells = [*(f"{count:,}" for count in (*counts, sum(counts), len(shards))), f"{size:,.1f}"]
        rows.append([escape(source), *cells, escape(_label_words(data, source))])
    head = ["dataset", *SPLITS, "samples", "shards", "MiB", "labels"]
    return table(head, rows, "words")


def _label_words(data: ReportData, source: str) -> str:
    space = data.manifest.labels.get(source, {})
    names = space.get("classes") or space.get("findings") or []
    text = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{len(names)}: {text}" if names else "none"


def _reason_parts(data: ReportData) -> list[str]:
    if not data.reasons:
        return [paragraph("Every input was packed.", "soft")]
    totals = data.manifest.totals
    order = {bin: number for number, bin in enumerate(BINS)}
    rows = [
        [badge(bin, style="bad" if bin == "quarantined" else ""), f"<code>{escape(reason)}</code>", f"{count:,}",
         f"{count / max(totals.get('inputs', 0), 1):.2%}", escape(advice(reason))]
        for (bin, reason), count in sorted(
            data.reasons.items(), key=lambda entry: (-order[entry[0][0]], -entry[1], entry[0][1])
        )
    ]  # fmt: skip
    return [table(["", "reason", "inputs", "share", "what to do"], rows, "words reasons"), paragraph(_near_words(data))]


def _near_words(data: ReportData) -> str:
    exact = data.manifest.totals.get("duplicates", 0)
    text = (
        f"{exact:,} inputs were exact duplicates and are packed once." if exact else "There were no exact duplicates."
    )
    if data.near_duplicates is None:
        return f"{text} Near duplicates were not looked for: mermed-shard dedupe does."
    counts = ", ".join(f"{count:,} {modality}" for modality, count in sorted(data.near_duplicates.items()))
    return f"{text} Samples that nearly look like another one: {counts or 'none'}."


def _licence_table(data: ReportData) -> str:
    rows = []
    for source in data.sources:
        card = data.card_of(source)
        allowed = {True: "yes", False: '<span class="bad">no</span>', None: "not stated"}
        licence = licence_of(data, source)
        flaws = "; ".join(map(str, card.get("flaws", ())))
        rows.append(
            [
                escape(source),
                escape(licence) if licence else '<span class="bad">not stated</span>',
                escape(str(card.get("access") or "not stated")),
                allowed[redistribution_of(data, source)],
                _stated(card.get("citation")),
                _stated(card.get("url")),
                escape(flaws),
            ]
        )
    return table(["dataset", "licence", "access", "may be passed on", "citation", "home", "known flaws"], rows, "text")


def _stated(value: Any) -> str:
    return escape(str(value)) if value else '<span class="soft">not stated</span>'


def _settings_table(data: ReportData) -> str:
    manifest = data.manifest
    groups = {"option": data.options, "version": manifest.tool, "recipe": manifest.recipes}
    rows = [
        [escape(f"{group}: {name}"), f"<code>{escape(_plain(value))}</code>"]
        for group, values in groups.items()
        for name, value in sorted(values.items())
    ]
    rows.append(["manifest", f"<code>{manifest.digest}</code>"])
    return table(["", "value"], rows, "text")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={part}" for name, part in sorted(value.items())) or "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
