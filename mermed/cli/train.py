"""mermed-train: plan a run, look at its views, train it, go on with it. torch is imported inside the commands."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mermed.cli.door import Door
from mermed.config import RunConfig
from mermed.errors import EXIT_PREEMPTED

Handler = Callable[..., None]
SETTING_HELP = "Change one setting, such as train.lr=5e-5 or mix.drop=us; repeatable."


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mermed")
def main() -> None:
    """Pretrain a medical image encoder from tar shards.

    \b
    mermed-train plan PRESET --shards DIR             what a run will read, without a GPU
    mermed-train views --shards DIR --out FILE.png    look at the views of one image per modality
    mermed-train run PRESET --shards DIR --out RUN    train
    mermed-train resume RUN                           go on after any kind of end
    mermed-train report RUN                           look at what it did: RUN/report.html
    """


def _shards(command: Handler) -> Handler:
    return click.option(
        "--shards",
        required=True,
        envvar="MERMED_SHARDS",
        metavar="PLACE",
        help="Packed collection (holds manifest.json): a folder or a URL; a signed URL is safer in MERMED_SHARDS.",
    )(command)


def _mix(command: Handler) -> Handler:
    return click.option(
        "--mix",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Mix file: weight of each modality, alpha between datasets. Without it every modality weighs the same.",
    )(command)


def _settings(command: Handler) -> Handler:
    return click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=SETTING_HELP)(command)


def _configured(preset_name: str, mix: Path | None, settings: tuple[str, ...]) -> RunConfig:
    """Preset, then mix file, then `--set`, each laid over the one before."""
    from dataclasses import replace

    from mermed.config import load_mix, with_settings
    from mermed.presets import preset

    config = preset(preset_name)
    if mix is not None:
        config = replace(config, mix=load_mix(mix.read_text("utf-8"), config.mix))
    return with_settings(config, settings)


@main.command()
@click.argument("preset")
@_shards
@_mix
@_settings
@click.option("--nodes", default=1, show_default=True, help="Machines the run is planned for.")
@click.option("--gpus-per-node", default=1, show_default=True, help="GPUs of each machine.")
@click.option("--images-per-s", default=0.0, help="Images one GPU trains on per second: adds times and rates.")
@click.option("--decode-per-s", default=0.0, help="Images one core decodes per second: adds the cores needed.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as one JSON line instead of tables.")
def plan(
    preset: str,
    shards: str,
    mix: Path | None,
    settings: tuple[str, ...],
    nodes: int,
    gpus_per_node: int,
    images_per_s: float,
    decode_per_s: float,
    as_json: bool,
) -> None:
    """Print what a run of PRESET will read: shares, repeats, bytes, cache, first keys. Needs neither GPU nor torch."""
    from rich.console import Console

    from mermed.cli.train_plan import print_outlook
    from mermed.stream.outlook.outlook import Machines, outlook

    machines = Machines(
        nodes=nodes, gpus_per_node=gpus_per_node, gpu_images_per_s=images_per_s, core_images_per_s=decode_per_s
    )
    facts = outlook(_configured(preset, mix, settings), shards, machines)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        print_outlook(facts, Console())


@main.command()
@click.argument("preset")
@_shards
@_mix
@_settings
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to create.")
def run(preset: str, shards: str, mix: Path | None, settings: tuple[str, ...], out: Path) -> None:
    """Train PRESET on the shards of DIR into the run folder RUN. Under torchrun every process runs this."""
    from mermed.cli.console import RunConsole
    from mermed.train.run import begin_folder, open_data
    from mermed.train.views import try_run_views
    from mermed.world import world_from

    config = _configured(preset, mix, settings)
    data = open_data(config, shards)
    if world_from().is_main:
        begin_folder(out, config, data)
        console = RunConsole(stderr=True)
        try_run_views(config, data, out, lambda text: console.print(text, markup=False, soft_wrap=True))
    _train(config, data.shards, out, resume=False)


@main.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--shards", metavar="PLACE", help="The collection, if it has moved since the run began.")
@_settings
def resume(run: Path, shards: str | None, settings: tuple[str, ...]) -> None:
    """Go on with RUN from its newest whole checkpoint, also with another number of processes.

    --set may change what this machine decides, such as stream.cache_dir, and stream.tombstones.
    """
    from mermed.train.run import reopen_folder

    config, location = reopen_folder(run, shards, settings)
    _train(config, location, run, resume=True)


def _train(config: RunConfig, shards: str, out: Path, *, resume: bool) -> None:
    from mermed.cli.console import RunConsole
    from mermed.train.loop import train
    from mermed.train.report import try_report
    from mermed.train.run import open_data
    from mermed.world import world_from

    console, world = RunConsole(stderr=True), world_from()
    outcome = train(config, open_data(config, shards), out, world, console, resume=resume)
    if world.is_main:
        console.print(try_report(out), highlight=False, markup=False, soft_wrap=True)
        state = outcome.state
        click.echo(f"{out}: step {state.step} of {config.train.steps}, {state.slots} images, audit {state.audit:016x}")
    if outcome.was_preempted:
        if world.is_main:
            click.echo(f"stopped on request; go on with: mermed-train resume {out}", err=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(EXIT_PREEMPTED)


@main.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
def report(run: Path) -> None:
    """Write RUN/report.html from what the run left so far; also while it goes on. Needs neither GPU nor torch."""
    from mermed.train.report import write_report

    click.echo(str(write_report(run)))


@main.command()
@click.argument("preset", default="vit_b16")
@_shards
@_mix
@_settings
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="PNG file to write.")
@click.option("--modality", "modalities", metavar="NAMES", default="", help="Only these. [default: all]")
@click.option("--images", default=1, show_default=True, type=click.IntRange(1, 100), help="Images of each modality.")
@click.option(
    "--slot", default=0, show_default=True, type=click.IntRange(0), help="Take the first images from here on."
)
@click.option("--key", default="", help="The sample of this key instead, in the first slot from --slot on that has it.")
@click.option("--engines", metavar="NAMES", default="", help="Compare engines with the first of them, as kornia,cpu.")
@click.option("--policies", metavar="NAMES", default="", help="A sheet FILE-POLICY.png for each, as seed,medical.")
@click.option("--table", "as_table", is_flag=True, help="Print what was drawn for each view as a table.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every number as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print every number as one JSON line, and nothing else.")
def views(preset: str, shards: str, mix: Path | None, settings: tuple[str, ...], **asked: Any) -> None:
    """Write a contact sheet: images of each modality, all their views, the drawn parameters beside them.

    \b
    mermed-train views --shards DIR --out v.png --modality ct,us --images 6
    mermed-train views --shards DIR --out v.png --policies seed,released,medical
    mermed-train views --shards DIR --out v.png --engines kornia,cpu,torch

    NAMES are separated by commas. A sheet shows pixels of patients: keep it where the collection is.
    """
    from mermed.cli.train_views import Asked, show_views

    show_views(_configured(preset, mix, settings), shards, Asked(**asked))
