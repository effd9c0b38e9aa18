"""mermed-shard preview: a contact sheet of a packed collection."""

from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--out", metavar="FILE.png", required=True, type=_FOLDER, help="The sheet to write.")
@click.option("--modality", help="Only this one. [default: all]")
@click.option("--per-source", default=8, show_default=True, type=click.IntRange(1, 64), help="Samples of each split.")
def preview(folder: Path, out: Path, modality: str | None, per_source: int) -> None:
    """Draw some samples of every dataset and split, each with its label, size, window and key.

    \b
    The sheet shows pixels of patients: keep it where the collection is.
    """
    from mermed.cli.picture_file import check_png, write_png
    from mermed.pack.pages.preview import choose_samples, make_sheet

    check_png(out)
    strips = choose_samples(folder, modality=modality, per_source=per_source)
    write_png(make_sheet(strips), out)
    click.echo(f"wrote {out}: {sum(len(strip.samples) for strip in strips):,} samples of {len(strips):,} sources")
