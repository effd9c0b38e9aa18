"""mermed-eval: judge an encoder on labelled shards. torch is imported inside the commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from mermed.cli.door import Door

_NARROWEST = 100


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mermed")
def main() -> None:
    """Judge a pretrained encoder on labelled shards.

    \b
    mermed-eval run RUN --shards DIR --out EVAL       k-NN and linear AUROC beside random and initial weights
    """


@main.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--shards", required=True, type=click.Path(path_type=Path), help="Packed collection to judge on.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for features, summary and report.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--feature",
    type=click.Choice(["cls", "patch_mean", "both"]),
    default="cls",
    show_default=True,
    help="Class token, mean patch token, or the two side by side.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples and of the random weights.")
@click.option("--threads", default=0, show_default=True, help="Threads that decode and compute; 0 means one per core.")
def run(
    run: Path,
    shards: Path,
    out: Path,
    device: Literal["auto", "cpu", "cuda"],
    feature: Literal["cls", "patch_mean", "both"],
    seed: int,
    threads: int,
) -> None:
    """Judge the teacher of RUN on every labelled dataset of a collection.

    Features are frozen; its initial weights and three draws of random weights stand beside it. Running it again goes on
    where it stopped.
    """
    import torch
    from rich.console import Console

    from mermed.eval.evaluation import REPORT_NAME, SUMMARY_NAME, EvalSettings, evaluate

    if threads:
        torch.set_num_threads(threads)
    settings = EvalSettings(device=device, feature=feature, seed=seed, num_threads=threads)
    summary = evaluate(run, shards, out, settings, Console(stderr=True))
    _print_summary(summary)
    click.echo(f"report   {out / REPORT_NAME}\nnumbers  {out / SUMMARY_NAME}")


def _print_summary(summary: Mapping[str, Any]) -> None:
    """The closing table: a row per dataset, a column per probe and model."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from mermed.eval.comparison import MODELS, PROBES
    from mermed.eval.verdict import verdict

    console = Console()
    # a pipe has no width of its own, and eight columns need more than 80
    console = console if console.is_terminal else Console(width=max(_NARROWEST, console.width))
    table = Table(title="macro AUROC, 95 % intervals over patients", box=box.SIMPLE_HEAD)
    table.add_column("dataset", overflow="fold")
    for column in (f"{probe}\n{model}" for probe in PROBES for model in MODELS):
        table.add_column(column, justify="right")
    for task in summary["tasks"]:
        if task["results"]:
            table.add_row(_title(task), *(_cell(task["results"][p][m]["auroc"]) for p in PROBES for m in MODELS))
    overall = summary["overall"]
    means = [_cell(overall[probe]["mean_auroc"][model]) for probe in PROBES for model in MODELS]
    table.add_section()
    table.add_row(f"mean of {overall[PROBES[0]]['tasks_averaged']}", *means)
    console.print(table)
    for task in summary["tasks"]:
        if task["reason"]:
            console.print(f"not scored: {task['name']}: {task['reason']}", markup=False, highlight=False)
    console.print(verdict(summary), markup=False, highlight=False)


def _title(task: Mapping[str, Any]) -> str:
    leaky = " [bold red]LEAKY[/]" if task["leak"]["status"] == "LEAKY" else ""
    return f"{task['modality']}{leaky}\n{task['dataset']}"


def _cell(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return "n/a"
    interval = "" if measure["low"] is None else f"\n[dim]{measure['low']:.2f}-{measure['high']:.2f}[/]"
    return f"{measure['value']:.3f}{interval}"
