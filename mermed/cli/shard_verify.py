"""mermed-shard verify and index: certainty about a packed collection, and what of it can be made again."""

from pathlib import Path
from typing import Any

import click

from mermed.cli.shard_adopt import adopt

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--quick", is_flag=True, help="Sizes, indices and the manifest alone; reads no sample.")
@click.option("--deep", is_flag=True, help="Every byte and image; what happens without an option.")
@click.option("--repair", "wants_repair", is_flag=True, help="Write lost or stale indices again.")
@click.option("--strays-to", type=_FOLDER, help="With --repair: move shards that no manifest knows into this folder.")
@click.option("--repair-manifest", is_flag=True, help="Make a lost manifest.json again from the shards.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads. [default: one per core]")
def verify(
    folder: Path,
    quick: bool,
    deep: bool,
    wants_repair: bool,
    strays_to: Path | None,
    repair_manifest: bool,
    workers: int | None,
) -> None:
    """Check every byte of a packed collection; names every problem by shard and key, and exits 4 if there is one.

    \b
    Nothing is ever deleted, and no shard is changed: what --repair makes again is indices and the manifest.
    """
    if quick and deep:
        raise click.UsageError("--quick and --deep exclude each other")
    if strays_to is not None and not wants_repair:
        raise click.UsageError("--strays-to needs --repair")
    if repair_manifest:
        _make_manifest(folder)
    if wants_repair:
        _repair(folder, strays_to)
    _verify(folder, quick, workers)


def _make_manifest(folder: Path) -> None:
    from mermed.cli import shard_view
    from mermed.pack.checks.repair import repair_manifest as make_again

    with shard_view.shard_progress("reading") as watch:
        manifest = make_again(folder, watch=watch)
    click.echo(f"made manifest.json of {len(manifest.shards):,} shards again: digest {manifest.digest[:12]}")


def _repair(folder: Path, strays_to: Path | None) -> None:
    from mermed.pack.checks.repair import repair

    done = repair(folder, strays_to=strays_to)
    moved = f", moved {len(done.strays):,} strays to {strays_to}" if done.strays else ""
    click.echo(f"rebuilt {done.indices:,} indices{moved}")


def _verify(folder: Path, quick: bool, workers: int | None) -> None:
    from mermed.cli import shard_view
    from mermed.pack.checks.verify import verify as verify_collection
    from mermed.pack.checks.verify_quick import verify_quick
    from mermed.pack.work.hands import default_hands

    if quick:
        verification, extent = verify_quick(folder), "sizes, indices and manifest as packed; no sample was read"
    else:
        with shard_view.shard_progress("verifying") as watch:
            verification = verify_collection(folder, num_workers=workers or default_hands(), watch=watch)
        extent = "all as packed"
    verification.raise_if_broken()
    click.echo(f"verified {verification.num_samples:,} samples in {verification.num_shards:,} shards: {extent}")


def _adopting_params() -> list[click.Parameter]:
    """The options of `adopt`, none of them required: without --out an index is rebuilt."""
    params: list[click.Parameter] = []
    for param in adopt.params:
        if isinstance(param, click.Option) and param.name == "out":
            param = click.Option(["--out"], type=_FOLDER, help="Adopt shards of others into this new folder.")
        params.append(param)
    return params


@click.command(params=_adopting_params())
@click.pass_context
def index(context: click.Context, patterns: tuple[str, ...], out: Path | None, **facts: Any) -> None:
    """Rebuild lost or stale .idx files of a collection; with --out, adopt WebDataset shards of others.

    Refuses for a shard whose sha256 is not that of the manifest.
    """
    if out is not None:
        context.invoke(adopt, patterns=patterns, out=out, **facts)
        return
    from mermed.pack.checks.reindex import reindex

    if len(patterns) != 1 or "://" in patterns[0]:
        raise click.UsageError("name one collection, or shards to adopt with --out DIR")
    click.echo(f"rebuilt {reindex(Path(patterns[0])):,} indices; the others were right")
