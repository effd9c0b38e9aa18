"""The galleries of a pack's report: raw beside packed for every dataset, what was not packed, and grey histograms."""

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape

from mermed.pack.pages.report_advice import advice
from mermed.pack.pages.report_data import Pair, Reject
from mermed.pack.pages.report_figures import histogram_figure, histogram_words
from mermed.page import badge, paragraph

MAX_PAIRS_PER_SOURCE = 8
MAX_REJECTS = 96
MAX_PICTURE_BYTES = 12 * 2**20
"""Bytes of all thumbnails of a page; a third more as text, so that the page stays below 20 MB."""
MAX_DETAIL_CHARACTERS = 200

STYLE = """
h3 { font-size: .95rem; margin: 1.1rem 0 .4rem; }
.tiles { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.tiles figure { margin: 0; background: var(--panel); border-radius: 4px; padding: .55rem; min-width: 0; }
.tiles figcaption { font-size: 12.5px; line-height: 1.35; overflow-wrap: anywhere; margin-top: .35rem; }
.tiles svg { min-width: 0; }
.tiles code { font-size: 11px; padding: 0; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; }
.shot { aspect-ratio: 1; display: flex; align-items: center; justify-content: center; background: #000; }
.shot img { max-width: 100%; max-height: 100%; width: 100%; height: 100%; object-fit: contain; }
.one .shot { max-width: 130px; }
.words th:last-child, .words td:last-child { text-align: left; }
.words td:first-child, .words td:nth-child(2) { white-space: nowrap; }
.flow { overflow-x: auto; }
.flow svg { min-width: 380px; max-width: 900px; }
.words td:last-child { min-width: 230px; }
@media (max-width: 620px) {
  .tiles { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
  .reasons thead { display: none; }
  .reasons tr { display: grid; grid-template-columns: 7rem 1fr auto 4rem; border-bottom: 1px solid var(--line); }
  .reasons td { border: 0; }
  .reasons td:nth-child(2) { text-align: left; }
  .reasons td:last-child { grid-column: 1 / -1; padding-top: 0; }
}
"""


def contact_sheet(pairs: Sequence[Pair]) -> str:
    """Per dataset some samples, raw beside packed; fewer where the page would grow too large, which it then says."""
    by_source: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_source[pair.source].append(pair)
    shown = _fit(by_source)
    parts = [paragraph("Left as the file holds it, stretched to be visible; right as it is packed.", "soft")]
    if shown < MAX_PAIRS_PER_SOURCE and any(len(group) > shown for group in by_source.values()):
        parts.append(paragraph(f"{shown} samples per dataset are shown, to keep this page small.", "soft"))
    for source, group in sorted(by_source.items()):
        tiles = "".join(_pair(pair) for pair in group[:shown])
        parts.append(f'<h3>{escape(source)}</h3><div class="tiles">{tiles}</div>')
    return "\n".join(parts)


def _fit(by_source: Mapping[str, Sequence[Pair]]) -> int:
    """The most samples per dataset whose thumbnails fit into the page."""
    for shown in range(MAX_PAIRS_PER_SOURCE, 0, -1):
        kept = (pair for group in by_source.values() for pair in group[:shown])
        if sum(len(pair.raw_jpeg) + len(pair.packed_jpeg) for pair in kept) <= MAX_PICTURE_BYTES:
            return shown
    return 0


def _pair(pair: Pair) -> str:
    pictures = _picture(pair.raw_jpeg, "raw") + _picture(pair.packed_jpeg, "packed")
    return (
        f'<figure><div class="two">{pictures}</div>'
        f"<figcaption>{escape(pair.caption)}<br><code>{escape(pair.key)}</code></figcaption></figure>"
    )


def _picture(jpeg: bytes, alternative: str) -> str:
    text = base64.b64encode(jpeg).decode("ascii")
    return (
        f'<div class="shot"><img src="data:image/jpeg;base64,{text}" alt="{alternative}" title="{alternative}"></div>'
    )


def reject_gallery(rejects: Sequence[Reject]) -> str:
    """Inputs that were not packed, every reason in turn, so that a rare one is seen too."""
    chosen = _in_turn(_merge(rejects))
    shown, found = (sum(reject.count for reject in group) for group in (chosen, rejects))
    parts = [
        paragraph("File names stand in quarantine.csv and excluded.csv, which stay with the site that packed.", "soft")
    ]
    if shown < found:
        parts.append(paragraph(f"{shown:,} of {found:,} are shown.", "soft"))
    return "\n".join([*parts, f'<div class="tiles one">{"".join(map(_reject, chosen))}</div>'])


def _merge(rejects: Iterable[Reject]) -> list[Reject]:
    """The same with one entry for all that would look the same, which is counted there."""
    merged: dict[tuple[object, ...], Reject] = {}
    for number, reject in enumerate(rejects):
        alike = (reject.bin, reject.reason, reject.detail, reject.place, number if reject.raw_jpeg else None)
        known = merged.get(alike)
        merged[alike] = replace(known, count=known.count + reject.count) if known else reject
    return list(merged.values())


def _in_turn(rejects: Iterable[Reject]) -> list[Reject]:
    """The first MAX_REJECTS, going round the reasons, then sorted: quarantined ones first, then by reason."""
    by_reason: defaultdict[str, list[Reject]] = defaultdict(list)
    for reject in rejects:
        by_reason[reject.reason].append(reject)
    ranked = [(rank, reason, reject) for reason, group in by_reason.items() for rank, reject in enumerate(group)]
    ranked.sort(key=lambda entry: entry[:2])
    chosen = sorted(ranked[:MAX_REJECTS], key=lambda entry: (entry[2].bin != "quarantined", entry[1], entry[0]))
    return [reject for _, _, reject in chosen]


def _reject(reject: Reject) -> str:
    picture = _picture(reject.raw_jpeg, "raw") if reject.raw_jpeg else ""
    detail = reject.detail[:MAX_DETAIL_CHARACTERS]
    place = f'<br><span class="soft">{escape(reject.place)}</span>' if reject.place else ""
    style = "bad" if reject.bin == "quarantined" else ""
    times = f" <b>× {reject.count:,}</b>" if reject.count > 1 else ""
    return (
        f"<figure>{picture}<figcaption>{badge(reject.reason, advice(reject.reason), style)}{times} "
        f"{escape(detail)}{place}</figcaption></figure>"
    )


def histogram_tiles(histograms: Mapping[str, Sequence[int]]) -> str:
    """One small histogram per dataset, all from black to white."""
    tiles = (
        f"<figure>{histogram_figure(counts)}<figcaption><b>{escape(source)}</b><br>"
        f'<span class="soft">{histogram_words(counts)}</span></figcaption></figure>'
        for source, counts in sorted(histograms.items())
    )
    text = "Stored grey levels from black to white. A red bar is cut: its bin holds more than the figure shows."
    return f'{paragraph(text, "soft")}<div class="tiles">{"".join(tiles)}</div>'
