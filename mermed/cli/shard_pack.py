"""mermed-shard pack: raw medical images to a collection of shards, resumable, on one machine or many."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mermed.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED

if TYPE_CHECKING:
    from mermed.pack.listing import Listing
    from mermed.pack.options import PackOptions
    from mermed.pack.work.engine import Engine

DEFAULT_MAX_BAD = "5%"
_FOLDER = click.Path(path_type=Path)


class Share(click.ParamType):
    """A share of a whole: `0.05` or `5%`; a bare number above 1 can only mean percent, a bare 1 could mean either."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share in [0, 1]; fails the command line for anything else."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            number = float(text.rstrip("% "))
        except ValueError:
            number = -1.0
        share = number / 100.0 if text.endswith("%") or number > 1.0 else number
        if not 0.0 <= share <= 1.0 or text == "1":
            self.fail(f"{text!r} is no share; write 0.05 or 5%", param, ctx)
        return share


class Part(click.ParamType):
    """A part of the work: `3/8` is the third of eight."""

    name = "i/n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """(number from 1, of); fails the command line for anything else."""
        number, _, of = str(value).partition("/")
        if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
            self.fail(f"{value!r} is no part; write 3/8 for the third of eight", param, ctx)
        return int(number), int(of)


@click.command()
@click.argument("source", type=_FOLDER, required=False)
@click.option("--out", required=True, help="Folder or URL (s3://, gs://, az://, memory://) to write or to go on with.")
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME|FILE[=PATH]", help="Recipe of SRC, or of another path."
)
@click.option("--treat", "treatment", multiple=True, metavar="NAME=VALUE", help="Of every file; see docs/pack.md.")
@click.option(
    "--workers", type=click.IntRange(min=0), help="Decoder processes; 0 works in one. [default: one per core]"
)
@click.option("--engine", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Who does it.")
@click.option("--ray-address", help="Address of a running Ray cluster. [default: start one here]")
@click.option("--part", type=Part(), help="Make only part i of n, for job arrays; a pack without --part publishes.")
@click.option("--side-px", default=512, show_default=True, help="Longest allowed short side; never enlarges.")
@click.option("--shard-mb", default=256, show_default=True, help="Size in MiB at which a shard is closed.")
@click.option("--codec", default="jpeg", show_default=True, help="jpeg or png; per modality with jpeg,oct=png.")
@click.option(
    "--depth", default="8", show_default=True, type=click.Choice(["8", "16"]), help="16 keeps CT and CXR whole."
)
@click.option(
    "--ct-window",
    default="soft_tissue",
    show_default=True,
    help="CT in HU: soft_tissue, lung, brain, bone, blood, or centre/width such as -600/1500.",
)
@click.option("--max-pixels", default=2**28, show_default=True, help="Refuse images that claim more pixels.")
@click.option("--max-seconds", default=120.0, show_default=True, help="Wall time a file may take until its next frame.")
@click.option("--max-memory-mb", default=4096, show_default=True, help="Memory of one decoder process.")
@click.option("--salt-file", type=_FOLDER, help="Secret salt of keys and groups. [default: ~/.config/mermed/salt]")
@click.option("--max-bad", default=DEFAULT_MAX_BAD, show_default=True, type=Share(), help="Bad inputs accepted.")
@click.option("--rebuild", is_flag=True, help="Make everything again, also by other options or recipes.")
@click.option("--prune", is_flag=True, help="Let datasets that the source lacks vanish from the collection.")
@click.option("--strict", is_flag=True, help="Fail where a reader is missing, instead of quarantining its files.")
@click.option("--no-thumbnails", is_flag=True, help="No pictures in report.html.")
def pack(
    source: Path | None,
    out: str,
    recipes: tuple[str, ...],
    treatment: tuple[str, ...],
    workers: int | None,
    engine: str,
    ray_address: str | None,
    part: tuple[int, int] | None,
    max_bad: float,
    salt_file: Path | None,
    rebuild: bool,
    prune: bool,
    strict: bool,
    no_thumbnails: bool,
    **choices: Any,
) -> None:
    """Pack SRC/<modality>/<dataset>/labels.csv, or a known dataset by its recipe, into shards.

    \b
    labels.csv has the columns file and label, and may have patient_id, group_id, split (train, val, test) and licence.
    What shares a patient_id or group_id never crosses splits; an empty split is drawn 70/15/15 by that group.
    What cannot be read is listed in quarantine.csv with its reason. Exits 3 when that is more than --max-bad.
    The same command goes on after any kind of end, and packs what was added, changed or removed since.
    """
    from mermed.cli import shard_view
    from mermed.cli.shard_live import pack_live
    from mermed.pack.identity import load_identity
    from mermed.pack.packing import PackPlan, Stopped, check_bad_share, check_readers
    from mermed.pack.packing import pack as pack_collection
    from mermed.pack.treating import treat
    from mermed.pack.work.bucket import BucketSize

    options = _options(choices)
    identity, salt = load_identity(salt_file)
    if salt.is_new:
        shard_view.announce_salt(salt.path)
    listing = treat(_listing(source, recipes), treatment)
    with _stop_request() as stop, pack_live() as watch:
        plan = PackPlan(
            part=part, rebuild=rebuild, prune=prune, bucket_size=BucketSize(shows=not no_thumbnails), stop=stop
        )
        maker = _engine(engine, workers, ray_address, choices)
        try:
            result = pack_collection(
                listing, out, options=options, identity=identity, engine=maker, plan=plan, watch=watch
            )
        except Stopped:
            click.echo("stopped between two buckets; run the same command to go on", err=True)
            sys.exit(stop.exit_code)
    shard_view.show_pack(result, out)
    if strict:
        check_readers(result)
    check_bad_share(result, max_bad, out)


def _options(choices: dict[str, Any]) -> "PackOptions":
    from mermed.pack.options import PackOptions

    codec, *others = str(choices["codec"]).split(",")
    codecs = {modality: name for modality, _, name in (pair.partition("=") for pair in others)}
    return PackOptions(
        side_px=choices["side_px"],
        shard_mb=choices["shard_mb"],
        codec=codec,  # type: ignore[arg-type]
        codecs=codecs,  # type: ignore[arg-type]
        depth=int(choices["depth"]),
        ct_window=choices["ct_window"],
        max_pixels=choices["max_pixels"],
    )


def _engine(name: str, workers: int | None, ray_address: str | None, choices: dict[str, Any]) -> "Engine":
    from mermed.pack.work.engine import LocalEngine
    from mermed.pack.work.hands import Limits, default_hands

    limits = Limits(seconds=choices["max_seconds"], memory_mb=choices["max_memory_mb"])
    if name == "ray":
        from mermed.pack.work.engine_ray import RayEngine

        return RayEngine(address=ray_address, cores=workers, limits=limits)
    return LocalEngine(hands=default_hands() if workers is None else workers, limits=limits)


def _listing(source: Path | None, recipes: tuple[str, ...]) -> "Listing":
    """What is to be packed: SRC in the plain layout, or every recipe over SRC or the path behind its "="."""
    if not recipes:
        if source is None:
            raise click.UsageError("name SRC, or a recipe with --recipe NAME=PATH")
        from mermed.pack.plain import walk

        return walk(source)
    from dataclasses import asdict, replace

    from mermed.pack.recipes.lister import list_sources
    from mermed.pack.recipes.shelf import find_recipe

    pairs = []
    for text in recipes:
        name, _, path = text.partition("=")
        root = Path(path) if path else source
        if root is None:
            raise click.UsageError(f"name SRC, or a path behind {name}=")
        pairs.append((root, find_recipe(name)))
    return replace(list_sources(pairs), cards={recipe.name: asdict(recipe.card) for _, recipe in pairs})


class _StopRequest:
    """Asked for by Ctrl-C or SIGTERM: the bucket at work is finished first; asked twice, it ends at once."""

    exit_code = EXIT_INTERRUPTED

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def take(self, number: int, _: object) -> None:
        """Handle a signal; raises KeyboardInterrupt for the second."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self.exit_code = EXIT_PREEMPTED if number == signal.SIGTERM else EXIT_INTERRUPTED
        click.echo("finishing what is at work, then stopping; once more stops at once", err=True)


@contextmanager
def _stop_request() -> Iterator[_StopRequest]:
    request = _StopRequest()
    before = {number: signal.signal(number, request.take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
