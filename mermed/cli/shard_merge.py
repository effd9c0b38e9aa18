"""mermed-shard merge: several packed collections as one."""

from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("out", type=_FOLDER)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=_FOLDER)
def merge(out: Path, folders: tuple[Path, ...]) -> None:
    """Join packed collections into the new folder OUT without decoding an image.

    Shards are linked where the disk allows it, else copied. Keys must be unique, and no group may stand in two splits.
    """
    from mermed.cli import shard_view
    from mermed.pack.checks.merge import merge as merge_collections

    with shard_view.shard_progress("merging") as watch:
        manifest = merge_collections(out, folders, watch=watch)
    click.echo(f"merged {manifest.totals['packed']:,} samples in {len(manifest.shards):,} shards from {len(folders)}")
    click.echo(f"next  mermed-shard split-check {out}")
