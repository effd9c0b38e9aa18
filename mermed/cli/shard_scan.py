"""mermed-shard scan and recipes: known datasets in a folder, a draft for an unknown one, all that are known."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mermed.pack.listing import Listing
    from mermed.pack.recipes.scan import Recognised
    from mermed.pack.recipes.scan_draft import Draft

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("path", type=_FOLDER)
@click.option("--out", type=_FOLDER, help="File to write the draft of a recipe to, for a folder that no recipe knows.")
@click.option("--draft", "wants_draft", is_flag=True, help="Draft a recipe even where one is known.")
def scan(path: Path, out: Path | None, wants_draft: bool) -> None:
    """Recognise known datasets below PATH, or draft a recipe for what is there.

    \b
    A dataset is known by its files, never by the name of its folder. For each one the counts of a pack are shown, and
    the command that packs it; the plain layout of `pack SRC` is told as well. A draft is printed, or written to --out;
    it loads and lists as it is, and is to be read and corrected before it is used.
    """
    from mermed.pack.recipes.scan import recognise
    from mermed.pack.recipes.shelf import known_recipes

    found = [] if wants_draft else recognise(path, known_recipes())
    if found:
        _show_found(found)
        return
    if not wants_draft and any(path.glob("*/*/labels.csv")):
        _show_plain(path)
        return
    from mermed.pack.recipes.scan_draft import draft_recipe

    draft = draft_recipe(path)
    _show_draft(draft, path, out)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recipes(as_json: bool) -> None:
    """List the datasets that MerMED has a recipe for, with modality, access and licence."""
    from dataclasses import asdict

    from mermed.pack.recipes.shelf import known_recipes

    known = known_recipes().values()
    if as_json:
        rows = [{"name": r.name, "modality": r.modality, "title": r.title, **asdict(r.card)} for r in known]
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("recipe", "modality", "images", "access", "licence", "title"):
        is_text = column in ("licence", "title")
        table.add_column(column, justify="right" if column == "images" else "left", no_wrap=not is_text)
    for recipe in known:
        images = f"{recipe.card.images:,}" if recipe.card.images else "-"
        modality = "mixed" if "{" in recipe.modality else recipe.modality
        table.add_row(recipe.name, modality, images, recipe.card.access, recipe.card.licence, recipe.title)
    Console().print(table)
    click.echo(f"\n{len(known)} recipes; a new one: mermed-shard scan PATH --out my.toml")


def _show_found(found: "list[Recognised]") -> None:
    from mermed.errors import ConfigError
    from mermed.pack.recipes.lister import list_recipe

    packable = []
    for each in found:
        click.echo(f"{each.recipe.name}  {each.recipe.title}  ({each.root})")
        try:
            listing = list_recipe(each.root, each.recipe)
        except ConfigError as error:
            click.echo("  cannot be packed as it is: " + str(error).replace("\n", "\n  "))
            continue
        packable.append(each)
        for line in _counts(listing):
            click.echo(f"  {line}")
    if len(packable) == 1:
        click.echo(f"next  mermed-shard pack {packable[0].root} --recipe {packable[0].recipe.name} --out DIR")
    elif packable:
        pairs = " ".join(f"--recipe {each.recipe.name}={each.root}" for each in packable)
        click.echo(f"next  mermed-shard pack {pairs} --out DIR")


def _show_plain(path: Path) -> None:
    from mermed.pack.plain import walk

    click.echo(f"the plain layout, <modality>/<dataset>/labels.csv  ({path})")
    for line in _counts(walk(path)):
        click.echo(f"  {line}")
    click.echo(f"next  mermed-shard pack {path} --out DIR")


def _show_draft(draft: "Draft", path: Path, out: Path | None) -> None:
    if out is None:
        click.echo(draft.text)
        click.echo("# " + "\n# ".join(_counts(draft.listing)))
        return
    from mermed.errors import ConfigError

    if out.exists():
        raise ConfigError("the file is there already", where={"file": out}, next_step="choose another --out")
    out.write_text(draft.text, "utf-8")
    click.echo(f"no known dataset below {path}; drafted {out}")
    for line in _counts(draft.listing):
        click.echo(f"  {line}")
    click.echo(f"next  read and correct {out}, then: mermed-shard pack {path} --recipe {out} --out DIR")


def _counts(listing: "Listing") -> list[str]:
    """What a listing holds, a line each: images, labels, patients, splits, and what is left out and why."""
    from collections import Counter

    images = listing.images
    modalities = Counter(image.modality for image in images)
    labelled = sum(bool(image.labels or image.frame_labels) for image in images)
    patients = {image.patient_id for image in images if image.patient_id}
    splits = Counter(image.split or "to be drawn" for image in images)
    left_out = Counter(row.reason for row in listing.rejected)
    lines = [
        f"{len(images):,} files to pack: " + _tally(modalities),
        f"{labelled:,} with labels, {len(patients):,} patients, splits: {_tally(splits)}",
    ]
    classes = Counter(image.labels["class"] for image in images if "class" in image.labels)
    lines += [f"classes: {_tally(classes)}"] if classes else []
    return [*lines, f"left out: {_tally(left_out)}"] if left_out else lines


def _tally(counts: "dict[str, int]") -> str:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f", and {len(most) - 12} more" if len(most) > 12 else ""
    return ", ".join(f"{count:,} {name}" for name, count in most[:12]) + more
