"""ReportData: everything the report of a pack shows, collected while packing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mermed.contract import DATASET_GRAMMAR, KEY_GRAMMAR, SLUG_GRAMMAR, Manifest, SampleMeta, check_name

HISTOGRAM_BINS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One sample: raw and packed, as JPEG thumbnails. `source` is modality/dataset; the caption names no file."""

    source: str
    key: str
    caption: str
    raw_jpeg: bytes
    packed_jpeg: bytes

    def __post_init__(self) -> None:
        _check_source(self.source)
        check_name(self.key, KEY_GRAMMAR, "sample key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Inputs that were not packed, for one reason. `place` is modality/dataset, or empty when unknown; never a path.

    The thumbnail is None where there are no pixels to show.
    """

    reason: str
    detail: str
    place: str = ""
    raw_jpeg: bytes | None = None
    bin: str = "quarantined"
    count: int = 1

    def __post_init__(self) -> None:
        if self.place:
            _check_source(self.place)


def _check_source(source: str) -> None:
    """Raise ContractError unless `source` is modality/dataset: a path must not reach the page by accident."""
    modality, _, dataset = source.partition("/")
    check_name(modality, SLUG_GRAMMAR, "modality")
    check_name(dataset, DATASET_GRAMMAR, "dataset name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """What the report shows. Sources are named modality/dataset; nothing in it names a file or a person.

    `reasons` counts inputs per (bin, reason) and `flows` those of each modality per bin; what no modality claims is
    shown apart. `histograms` count stored grey levels in 64 bins, `cards` are the [card] tables of recipes by dataset
    or modality/dataset, `options` those of the pack. `near_duplicates` counts samples per modality that nearly look
    like another one; None when nobody looked.
    """

    manifest: Manifest
    reasons: Mapping[tuple[str, str], int]
    flows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    histograms: Mapping[str, Sequence[int]] = field(default_factory=dict)
    pairs: Sequence[Pair] = ()
    rejects: Sequence[Reject] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    near_duplicates: Mapping[str, int] | None = None

    def card_of(self, source: str) -> Mapping[str, Any]:
        """The card of modality/dataset, by that name or by the dataset's; empty where no recipe has one."""
        return self.cards.get(source) or self.cards.get(source.partition("/")[2], {})

    @property
    def sources(self) -> list[str]:
        """modality/dataset of everything packed, sorted."""
        return sorted({f"{row.modality}/{row.dataset}" for row in self.manifest.shards})

    def all_flows(self) -> dict[str, dict[str, int]]:
        """Inputs per bin of every modality; they add up to the totals. The last row is what no modality claims."""
        modalities = sorted({*self.manifest.modalities, *self.flows})
        flows: dict[str, dict[str, int]] = {name: {"packed": 0, **self.flows.get(name, {})} for name in modalities}
        for row in self.manifest.shards:
            flows[row.modality]["packed"] += row.samples
        rest = {}
        for bin in ("duplicates", "excluded", "quarantined"):
            left = self.manifest.totals.get(bin, 0) - sum(flow.get(bin, 0) for flow in flows.values())
            if left > 0:
                rest[bin] = left
        return {**flows, "other": rest} if rest else flows


def caption(meta: SampleMeta) -> str:
    """A sample in a few words: label, size, bits, window, crop, steps; no name of a file or a person."""
    findings = sorted(name for name, value in meta.labels.get("findings", {}).items() if value == 1)
    parts = [str(meta.labels.get("class") or ", ".join(findings) or "no label"), f"{meta.width} × {meta.height}"]
    if meta.source_bits != 8:
        parts.append(f"{meta.source_bits} bit")
    if meta.window is not None:
        centre, width = meta.window
        parts.append(f"window {centre:.6g} / {width:.6g}")
    if meta.frame is not None:
        parts.append(f"frame {meta.frame}")
    return " · ".join([*parts, *([" ".join(meta.steps)] if meta.steps else [])])
