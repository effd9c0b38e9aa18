"""report.html: verdict, what needs attention, figures, tables, settings; one file that asks the network for nothing.

All numbers come from the summary, so the page and summary.json cannot disagree. It names datasets and classes, never a
file, a key or a group.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mermed.eval.comparison import MIN_GROUPS, MODELS, PROBES
from mermed.eval.figures import forest_plot, map_figure
from mermed.eval.maps import EmbeddingMap
from mermed.eval.verdict import MAX_ATTENTION, Notice, notices, verdict
from mermed.page import badge, figure, page, paragraph, section, table

PROBE_NAMES = {"knn": "k-NN", "linear": "linear probe"}
_EXPLANATION = (
    "Features are frozen: no weight of an encoder was trained on labels. Intervals are 95 % percentile intervals of "
    "1,000 resamples of the test patients or groups. Random weights are three draws: their mean with its interval, and "
    "the range of the three. A difference is paired: both models on the same resamples. In the mean over datasets each "
    "dataset counts once and is resampled by itself."
)


def render(summary: Mapping[str, Any], maps: Sequence[EmbeddingMap]) -> str:
    """The whole page of an evaluation."""
    scored = [task for task in summary["tasks"] if task["results"]]
    known = notices(summary)
    body = [
        f"<h1>Evaluation of {escape(summary['run']['name'])} on {escape(summary['data']['name'])}</h1>",
        paragraph(verdict(summary), "verdict"),
        section("What needs your attention", _notice_list(known[:MAX_ATTENTION])),
    ]
    if scored:
        body += [
            section(
                "AUROC by dataset",
                figure(forest_plot(scored)),
                _result_table(scored, summary["overall"]),
                paragraph(_EXPLANATION, "soft"),
            ),
            section("Teacher against its baselines", _difference_table(scored, summary["overall"])),
        ]
    if maps:
        text = "First two principal axes of the teacher's features. Distances are real, directions mean nothing."
        body.append(section("Where images lie", paragraph(text, "soft"), figure(map_figure(maps))))
    body += [section("Each dataset", *(_task_details(task) for task in summary["tasks"]))]
    if known[MAX_ATTENTION:]:
        body.append(section("Also to know", _notice_list(known[MAX_ATTENTION:])))
    body.append(section("Run, data, settings", _settings_table(summary)))
    return page(f"Evaluation of {summary['run']['name']}", "\n".join(body))


def _notice_list(found: Sequence[Notice]) -> str:
    if not found:
        return paragraph("Nothing.", "soft")
    items = []
    for notice in found:
        step = f'<br><span class="soft">Next: {escape(notice.next_step)}</span>' if notice.next_step else ""
        items.append(f"<li>{escape(notice.text)}{step}</li>")
    return f"<ul>{''.join(items)}</ul>"


def measure_cell(measure: Mapping[str, Any], extra: str = "", *, signed: bool = False) -> str:
    """A number with its interval below it, or n/a with the reason as the tooltip."""
    if measure["value"] is None:
        return f'<span class="soft" title="{escape(measure["reason"])}">n/a</span>'
    form = "+.3f" if signed else ".3f"
    # + 0.0 turns a rounded -0.0 into 0.0
    value, low, high = (
        None if number is None else round(number, 3) + 0.0 for number in (measure[n] for n in ("value", "low", "high"))
    )
    text = f"{value:{form}}"
    if low is not None:
        text += f"<small>{low:{form}} to {high:{form}}</small>"
    else:
        text += f"<small>{escape(measure['reason'])}</small>"
    return text + (f"<small>{escape(extra)}</small>" if extra else "")


def _result_table(scored: Sequence[Mapping[str, Any]], overall: Mapping[str, Any]) -> str:
    head = ["dataset", "test images", "test groups"]
    head += [f"{PROBE_NAMES[probe]}: {model}" for probe in PROBES for model in MODELS]
    rows = []
    for task in scored:
        cells = [_title_cell(task), str(sum(task["images"]["test"].values())), str(task["groups"]["test"])]
        for probe in PROBES:
            results = task["results"][probe]
            cells += [measure_cell(results[model]["auroc"], _range_text(results, model)) for model in MODELS]
        rows.append(cells)
    means = [measure_cell(overall[probe]["mean_auroc"][model]) for probe in PROBES for model in MODELS]
    return table(head, [*rows, [_mean_title(overall), "", "", *means]])


def _mean_title(overall: Mapping[str, Any]) -> str:
    return f"<b>mean of {overall[PROBES[0]]['tasks_averaged']}</b>"


def _range_text(results: Mapping[str, Any], model: str) -> str:
    spread = results[model].get("range")
    return f"range {spread[0]:.3f} to {spread[1]:.3f}" if spread else ""


def _title_cell(task: Mapping[str, Any]) -> str:
    badges = [badge(flaw["badge"], flaw["reason"]) for flaw in task["flaws"]]
    if task["leak"]["status"] == "LEAKY":
        badges.insert(0, badge("LEAKY", task["leak"]["reason"], "bad"))
    return f"{escape(task['name'])}<br>{''.join(badges)}"


def _difference_table(scored: Sequence[Mapping[str, Any]], overall: Mapping[str, Any]) -> str:
    names = ("teacher - random", "teacher - initial")
    head = ["dataset", *(f"{PROBE_NAMES[probe]}: {name.replace('-', '−')}" for probe in PROBES for name in names)]
    rows = []
    for task in scored:
        cells = [escape(task["name"])]
        for probe in PROBES:
            differences = task["results"][probe]["differences"]
            cells += [_difference_cell(differences[name], task["groups"]["test"] >= MIN_GROUPS) for name in names]
        rows.append(cells)
    means = [_difference_cell(overall[probe]["mean_difference"][name]) for probe in PROBES for name in names]
    return table(head, [*rows, [_mean_title(overall), *means]])


def _difference_cell(measure: Mapping[str, Any], decides: bool = True) -> str:
    """A difference, coloured only where it decides something: its whole interval lies on one side of 0."""
    style = ""
    if decides and measure["low"] is not None:
        style = "good" if measure["low"] > 0 else "bad" if measure["high"] < 0 else ""
    return f'<span class="{style}">{measure_cell(measure, signed=True)}</span>'


def _task_details(task: Mapping[str, Any]) -> str:
    lines = [paragraph(f"Not scored: {task['reason']}.")] if task["reason"] else []
    lines += [_count_table(task)] if task["classes"] else []
    if task["unlabelled"]:
        lines.append(paragraph(f"{task['unlabelled']} images without a label were skipped."))
    lines += [paragraph(f"Known flaw, {flaw['badge']}: {flaw['reason']}.") for flaw in task["flaws"]]
    lines.append(paragraph(f"Leak check, {task['leak']['status']}: {task['leak']['reason']}."))
    if task["results"]:
        lines += [paragraph(f"Class {name} has no AUROC: {why}.") for name, why in task["excluded_classes"].items()]
        lines += [_measure_table(task), *_probe_lines(task)]
    state = "" if task["results"] else ' <span class="soft">(not scored)</span>'
    return f"<details><summary>{escape(task['name'])}{state}</summary>{''.join(lines)}</details>"


def _count_table(task: Mapping[str, Any]) -> str:
    splits = list(task["images"])
    rows = [[escape(name), *(str(task["images"][split][name]) for split in splits)] for name in task["classes"]]
    rows.append(['<span class="soft">patients or groups</span>', *(str(task["groups"][split]) for split in splits)])
    return table(["images per class", *splits], rows)


def _measure_table(task: Mapping[str, Any]) -> str:
    """Accuracy, balanced accuracy and the AUROC of each class; random weights by their first draw."""
    names = {model: f"{model} (first draw)" if model == "random" else model for model in MODELS}
    head = ["", *(f"{PROBE_NAMES[probe]}: {names[model]}" for probe in PROBES for model in MODELS)]
    entries = [task["results"][probe][model] for probe in PROBES for model in MODELS]
    rows = [
        ["accuracy", *(measure_cell(entry["accuracy"]) for entry in entries)],
        ["balanced accuracy", *(measure_cell(entry["balanced_accuracy"]) for entry in entries)],
    ]
    for name in task["classes"]:
        cells = [measure_cell(entry["class_auroc"][name]) for entry in entries]
        rows.append([f"AUROC of {escape(name)}", *cells])
    return table(head, rows)


def _probe_lines(task: Mapping[str, Any]) -> list[str]:
    """What the probes say about themselves, and how many resamples lacked a class."""
    lines = []
    for probe in PROBES:
        for model in MODELS:
            entry = task["results"][probe][model]
            said = [f"C = {entry['c']:g}, chosen on {entry['chosen_on']}"] if "c" in entry else []
            said += entry["notes"]
            if said:
                lines.append(paragraph(f"{PROBE_NAMES[probe]}, {model}: {'; '.join(said)}.", "soft"))
    lacking = max(task["results"][probe]["teacher"]["auroc"]["lacking"] for probe in PROBES)
    if lacking:
        text = f"{lacking} resamples held no image of some class and were averaged over the other classes."
        lines.append(paragraph(text, "soft"))
    return lines


def _settings_table(summary: Mapping[str, Any]) -> str:
    rows = []
    for group in ("run", "data", "settings"):
        for name, value in summary[group].items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append([escape(f"{group}: {name.replace('_', ' ')}"), f"<code>{escape(shown) or '-'}</code>"])
    for name, facts in summary["models"].items():
        rows.append([escape(f"weights: {name}"), f"<code>{escape(facts['weights'])}</code>"])
    return table(["", "value"], rows, "text")
