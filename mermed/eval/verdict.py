"""The report in words: one verdict line, what needs attention, what else a reader should know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mermed.eval.comparison import MIN_GROUPS

MAX_ATTENTION = 5

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to know, and what to do about it ("" when there is nothing)."""

    text: str
    next_step: str = ""


def verdict(summary: Summary) -> str:
    """What this evaluation showed, in plain words, by the linear probe."""
    scored = [task for task in summary["tasks"] if task["results"]]
    if not scored:
        return "Nothing could be scored: no dataset has two classes in its train and its test split."
    linear = summary["overall"]["linear"]
    against = {what: len(names) for what, names in linear["teacher_against"]["random"].items()}
    seen = f"After {summary['run']['images_seen']:,} images, the trained teacher"
    text = f"{seen} is better than random weights on {against['better']} of {_datasets(len(scored))}, "
    text += f"worse on {against['worse']}, and cannot be told apart from them on {against['undecided']}"
    if against["too small"]:
        text += f"; {against['too small']} with fewer than {MIN_GROUPS} test patients decide nothing"
    if against["n/a"]:
        text += f"; {against['n/a']} gave no number"
    text += " (linear probe, paired 95 % intervals)."
    text += _means(linear)
    leaky = [task["name"] for task in scored if task["leak"]["status"] == "LEAKY"]
    return f"LEAKY, test images of {_datasets(len(leaky))} were seen in pretraining. {text}" if leaky else text


def _means(overall: Mapping[str, Any]) -> str:
    """The sentence on the means over datasets; empty when there are none."""
    means, gap = overall["mean_auroc"], overall["mean_difference"]["teacher - random"]
    if gap["value"] is None:
        return ""
    values = {model: f"{measure['value']:.3f}" for model, measure in means.items()}
    text = f" Mean AUROC over {_datasets(overall['tasks_averaged'])}: teacher {values['teacher']}, initial weights "
    text += f"{values['initial']}, random weights {values['random']}; teacher minus random {gap['value']:+.3f}"
    return text + ("." if gap["low"] is None else f" ({gap['low']:+.3f} to {gap['high']:+.3f}).")


def _datasets(count: int) -> str:
    return f"{count} dataset{'' if count == 1 else 's'}"


def notices(summary: Summary) -> list[Notice]:
    """Everything that needs attention, the gravest first."""
    tasks = summary["tasks"]
    scored = [task for task in tasks if task["results"]]
    found = [
        *_leaks(scored),
        *_worse(summary),
        *_run_notices(summary),
        *_not_scored(tasks),
        *_probe_notices(scored),
        *_small_tests(scored),
        *_flawed(scored),
        *_no_correction(scored),
    ]
    return [notice for notice in found if notice.text]


def _names(tasks: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(task["name"] for task in tasks)


def _leaks(scored: Sequence[Mapping[str, Any]]) -> list[Notice]:
    leaky = [task for task in scored if task["leak"]["status"] == "LEAKY"]
    unchecked = [task for task in scored if task["leak"]["status"] == "not checked"]
    found = []
    if leaky:
        step = "pretrain without the test split: --set stream.splits=train"
        found.append(Notice(f"LEAKY, the encoder saw the test images in pretraining: {_names(leaky)}.", step))
    if unchecked:
        text = "The run was pretrained on another collection; whether it saw these test images was not checked."
        found.append(Notice(text, "evaluate on the collection it was pretrained on, or compare the sources by hand"))
    return found


def _worse(summary: Summary) -> list[Notice]:
    against = summary["overall"]["linear"]["teacher_against"]
    return [
        Notice(
            f"The teacher is worse than {'random' if what == 'random' else 'its initial'} weights on "
            f"{', '.join(tally['worse'])}.",
            "train longer, on larger views, or look at its views: mermed-train views",
        )
        for what, tally in against.items()
        if tally["worse"]
    ]


def _run_notices(summary: Summary) -> list[Notice]:
    run, found = summary["run"], []
    if run["step"] < run["steps_planned"]:
        text = f"The run stands at step {run['step']:,} of {run['steps_planned']:,}."
        found.append(Notice(text, f"mermed-train resume {run['name']}"))
    if run["skipped_checkpoints"]:
        found.append(Notice(f"Damaged checkpoints were passed over: {'; '.join(run['skipped_checkpoints'])}."))
    unknown = summary["data"]["unknown_modalities"]
    if unknown:
        text = f"The run never saw {', '.join(unknown)}: they are normalised with this collection's own mean and std."
        found.append(Notice(text))
    if run["initial_weights"] == "random":
        text = "The run began from random weights, so its initial weights are one more random draw, not a baseline."
        found.append(Notice(text, "to start from public weights: --set model.init=FILE"))
    return found


def _not_scored(tasks: Sequence[Mapping[str, Any]]) -> list[Notice]:
    left = [task for task in tasks if not task["results"]]
    text = f"{len(left)} of {len(tasks)} datasets could not be scored: {_names(left)} (reasons under each dataset)."
    return [Notice(text)] if left else []


def _probe_notices(scored: Sequence[Mapping[str, Any]]) -> list[Notice]:
    held_out = [task for task in scored if task["results"]["linear"]["teacher"].get("chosen_on") != "val"]
    slow = [task for task in scored if task["results"]["linear"]["teacher"].get("converged") is False]
    found = []
    if held_out:
        text = f"No usable validation split, so the probe's strength was not chosen on one: {_names(held_out)}."
        found.append(Notice(text, "fill the split column of labels.csv and pack again"))
    if slow:
        found.append(Notice(f"The linear probe did not converge within its iterations: {_names(slow)}."))
    return found


def _small_tests(scored: Sequence[Mapping[str, Any]]) -> list[Notice]:
    small = [f"{task['name']} ({task['groups']['test']})" for task in scored if task["groups"]["test"] < MIN_GROUPS]
    text = f"Fewer than {MIN_GROUPS} patients or groups in test, too few to believe an interval: {', '.join(small)}."
    return [Notice(text)] if small else []


def _flawed(scored: Sequence[Mapping[str, Any]]) -> list[Notice]:
    flawed = [
        f"{task['name']} ({'; '.join(flaw['badge'] for flaw in task['flaws'])})" for task in scored if task["flaws"]
    ]
    text = f"Known flaws of public datasets, to be told with every number: {', '.join(flawed)}."
    return [Notice(text)] if flawed else []


def _no_correction(scored: Sequence[Mapping[str, Any]]) -> list[Notice]:
    text = f"The intervals of {len(scored)} datasets are not corrected for their number: expect chance findings."
    return [Notice(text)] if len(scored) > 1 else []
