"""mermed-shard tombstones: the keys of groups (patients, lesions, volumes) that must not be drawn any more."""

from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--group", "groups", multiple=True, required=True, help="A group of splits.csv; repeatable.")
def tombstones(folder: Path, groups: tuple[str, ...]) -> None:
    """Print the keys of every sample of a group, one a line: a file for --set stream.tombstones=FILE.

    \b
    mermed-shard tombstones DATA --group 8c1f0a2b9d3e4f556677 >> tombstones.txt
    mermed-train run PRESET --shards DATA --out RUN --set stream.tombstones=tombstones.txt
    """
    from mermed.stream.replace.tombstones import keys_of_groups

    keys = keys_of_groups(folder, groups)
    click.echo(f"# {len(keys)} samples of {' '.join(sorted(set(groups)))}")
    for key in keys:
        click.echo(key)
