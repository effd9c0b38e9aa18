"""mermed-shard dedupe and split-check: one image or patient in two places, inside collections and across them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mermed.pack.checks.copies import Copies
    from mermed.pack.checks.leakage import Leak

_FOLDER = click.Path(path_type=Path)


def _options(command: Any) -> Any:
    """What both commands take."""
    for option in (
        click.option("--workers", type=click.IntRange(min=1), help="Threads that decode. [default: one per core]"),
        click.option("--crops", is_flag=True, help="Find central crops of 95 to 80 % too; decodes every image."),
        click.option("--mirrored", is_flag=True, help="Find copies mirrored left to right too."),
        click.option("--decode", is_flag=True, help="Look at the images themselves, not at splits.csv."),
        click.option(
            "--distance",
            type=click.IntRange(0, 63),
            help="Bits of 256 near copies differ in. [default: 19; cfp: 15; us: 27]",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("places", metavar="DIR...", nargs=-1, required=True)
@click.option("--out", type=_FOLDER, help="CSV to write. [default: near_duplicates.csv in the first collection]")
@_options
def dedupe(places: tuple[str, ...], out: Path | None, **options: Any) -> None:
    """List the images that packed collections hold twice: equal, stored again, resized, or made lighter.

    Nothing is removed. Copies inside a group (one patient, lesion or volume) are harmless; others may not be.
    """
    from mermed.pack.checks.copies import find_copies

    _check_out(places[0], out)
    copies = find_copies(
        _load(places, options),
        distance=options["distance"],
        mirrored=options["mirrored"],
        cropped=options["crops"],
    )
    _show_copies(copies)
    _write(copies, out or Path(places[0]) / "near_duplicates.csv")


@click.command("split-check")
@click.argument("places", metavar="DIR...", nargs=-1, required=True)
@click.option("--out", type=_FOLDER, help="CSV to write. [default: DIR/leakage.csv of the first collection]")
@click.option("--allow-near", is_flag=True, help="Report look-alikes in two splits, but accept them.")
@_options
def split_check(places: tuple[str, ...], out: Path | None, allow_near: bool, **options: Any) -> None:
    """Find groups and images that stand in two splits, inside each collection and across all of them.

    \b
    The training images of one collection must not be the test images of another. Exits 4 when anything leaks.
    Groups are compared by their salted ids: collections of other salts share none, there the images tell.
    """
    from mermed.pack.checks.leakage import find_leakage

    _check_out(places[0], out)
    leakage = find_leakage(
        _load(places, options),
        distance=options["distance"],
        mirrored=options["mirrored"],
        cropped=options["crops"],
    )
    _show_leaks(leakage.leaks, len(leakage.pairs.holdings))
    _tell_crowds(leakage.pairs)
    _write(leakage.pairs, out or Path(places[0]) / "leakage.csv")
    leakage.raise_if_leaking(allow_near=allow_near)


def _check_out(place: str, out: Path | None) -> None:
    if out is None and "://" in place:
        raise click.UsageError("name the CSV with --out: nothing is written into a collection on a store")


def _load(places: Any, options: dict[str, Any]) -> Any:
    from mermed.cli import shard_view
    from mermed.pack.checks.holdings import load_holdings
    from mermed.pack.work.hands import default_hands

    workers = options["workers"] or default_hands()
    with shard_view.shard_progress("reading") as watch:
        return load_holdings(places, decode=options["decode"], crops=options["crops"], num_workers=workers, watch=watch)


def _write(copies: "Copies", path: Path) -> None:
    from mermed.pack.collection.writer import write_atomically

    write_atomically(path, copies.to_csv().encode())
    click.echo(f"wrote {path}: {len(copies):,} pairs")


def _show_copies(copies: "Copies") -> None:
    """Pairs per modality and kind, and in what the two differ; a pair may count in several columns."""
    from rich.console import Console
    from rich.table import Table

    from mermed.pack.checks.copies import KINDS

    table = Table("modality", "kind", box=None, pad_edge=False)
    for name in ("pairs", "same group", "other group", "other split", "other label"):
        table.add_column(name, justify="right")
    differs = {name: copies.differ_in(name) for name in ("group", "split", "label")}
    modality = copies.holdings.modality[copies.first]
    for number, code in sorted({*zip(copies.kind.tolist(), modality.tolist(), strict=True)}):
        of = (copies.kind == number) & (modality == code)
        counts = [of.sum(), (of & ~differs["group"]).sum(), *((of & differs[name]).sum() for name in differs)]
        table.add_row(copies.holdings.words[code], KINDS[number], *(f"{int(count):,}" for count in counts))
    console = Console()
    console.print(table if len(copies) else f"no image of {len(copies.holdings):,} is there twice")
    _tell_crowds(copies)


def _show_leaks(leaks: "tuple[Leak, ...]", num_samples: int) -> None:
    from rich.console import Console
    from rich.table import Table

    if not leaks:
        click.echo(f"nothing of {num_samples:,} samples stands in two splits")
        return
    table = Table("kind", "modality", "from", "into", box=None, pad_edge=False)
    for name in ("pairs", "spoiled samples"):
        table.add_column(name, justify="right")
    for leak in leaks:
        table.add_row(leak.kind, leak.modality, leak.source, leak.target, f"{leak.pairs:,}", f"{leak.spoiled:,}")
    Console().print(table)


def _tell_crowds(copies: "Copies") -> None:
    for modality, count in copies.crowded.items():
        if count:
            click.echo(f"{modality}: {count:,} images look alike in such numbers that not every pair was compared")
