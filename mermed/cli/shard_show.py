"""mermed-shard show: one packed sample by its key: what is known of it, and what it looks like."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from mermed.pack.pages.show import FoundSample

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.argument("key")
@click.option("--out", metavar="FILE.png", type=_FOLDER, help="Write the picture, as a screen shows it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and no picture.")
def show(folder: Path, key: str, out: Path | None, as_json: bool) -> None:
    """Show one sample: its metadata and, on a terminal, its picture.

    \b
    Keys stand in splits.csv, in the report and on the sheet of mermed-shard preview.
    """
    from mermed.cli.picture_file import check_png, write_png
    from mermed.pack.pages.show import find_sample

    check_png(out)
    found = find_sample(folder, key)
    if out is not None:
        write_png(found.picture(), out)
    if as_json:
        click.echo(json.dumps(found.describe(), indent=1))
        return
    from rich.console import Console

    console = Console()
    console.print(_facts(found.describe()))
    if console.is_terminal and not console.is_dumb_terminal:
        _print_picture(console, found)
    if out is not None:
        click.echo(f"wrote {out}")


def _facts(description: dict[str, Any]) -> Any:
    """A table of what is known; fields that hold nothing are left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", box=None, pad_edge=False, show_header=False)
    for name, value in description.items():
        if value not in (None, {}, [], ()):
            shown = json.dumps(value) if isinstance(value, dict | list | tuple) else str(value)
            table.add_row(Text(name.replace("_", " "), "dim"), Text(shown))
    return table


def _print_picture(console: "Console", found: "FoundSample") -> None:
    from mermed.cli.half_blocks import half_blocks, letters

    draw = letters if console.no_color or console.color_system is None else half_blocks
    # Room for the facts above and the prompt below.
    console.print(draw(found.picture(), min(console.width, 100), max(min(console.height - 4, 40), 4)), highlight=False)
