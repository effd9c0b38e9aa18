"""Notices: what a reader of a pack's report should look at first; only what is true of this pack is said."""

from mermed.pack.pages.report_data import ReportData

MANY_BAD = 0.05
MOSTLY = 0.9
MAX_NAMES = 6
TOOL_REASONS = ("no_decoder", "missing_extra")


def notices(data: ReportData) -> list[str]:
    """Sentences, the most important first; empty when nothing calls for attention."""
    return [*_inputs(data), *_licences(data), *_pixels(data)]


def _inputs(data: ReportData) -> list[str]:
    totals, found = data.manifest.totals, []
    inputs, bad = totals.get("inputs", 0), totals.get("quarantined", 0)
    if bad > MANY_BAD * inputs:
        found.append(f"{bad:,} of {inputs:,} inputs ({bad / inputs:.1%}) are quarantined: see the reasons below.")
    tools = sum(count for (_, reason), count in data.reasons.items() if reason in TOOL_REASONS)
    if tools:
        found.append(f"{tools:,} inputs wait for a package that is not installed: install it and pack again.")
    burned = data.reasons.get(("quarantined", "burned_in"), 0)
    if burned:
        found.append(f"{burned:,} inputs say that text is burned into their pixels: nobody may use them unseen.")
    programs = data.reasons.get(("quarantined", "preamble_exec"), 0)
    if programs:
        found.append(f"{programs:,} inputs can be run as programs: tell whoever is responsible for security.")
    other_label = data.reasons.get(("duplicates", "same_pixels_other_label"), 0)
    if other_label:
        found.append(f"{other_label:,} pictures carry two labels: one of them is wrong.")
    return found


def _licences(data: ReportData) -> list[str]:
    found = []
    silent = [source for source in data.sources if not licence_of(data, source)]
    if silent:
        found.append(f"No licence is stated for {_names(silent)}: find out what may be done with them.")
    kept = [source for source in data.sources if redistribution_of(data, source) is False]
    if kept:
        found.append(f"This collection must not be passed on as it is: {_names(kept)} may not be redistributed.")
    return found


def _names(sources: list[str]) -> str:
    more = len(sources) - MAX_NAMES
    return ", ".join(sources[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def licence_of(data: ReportData, source: str) -> str:
    """The licence of modality/dataset: as its samples state it, else as its card does; empty when neither does."""
    return data.licences.get(source, "") or str(data.card_of(source).get("licence", ""))


def redistribution_of(data: ReportData, source: str) -> bool | None:
    """Whether the card of modality/dataset allows passing it on; None when it says nothing."""
    value = data.card_of(source).get("redistribution")
    return value if isinstance(value, bool) else None


def _pixels(data: ReportData) -> list[str]:
    found = []
    for source, counts in sorted(data.histograms.items()):
        total = sum(counts)
        for name, count in (("black", counts[0]), ("white", counts[-1])):
            if total and count > MOSTLY * total:
                found.append(f"{count / total:.0%} of the pixels of {source} are {name}: check its window or unit.")
    return found
