"""How `mermed-train views` answers: a sheet per policy, and what was drawn as a table, CSV or JSON."""

import csv
import difflib
import io
import json
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mermed.augment.sheet import MAX_SIDE_PX, ViewedImage, contact_sheet, difference_texts
from mermed.augment.view_texts import COLUMNS, field_values, parameter_cells
from mermed.cli.picture_file import check_png, write_png
from mermed.config import AugmentConfig, RunConfig
from mermed.draft import replace_file
from mermed.errors import ConfigError
from mermed.train.run import RunData, open_data
from mermed.train.view_slots import first_slots, slot_of_key
from mermed.train.views import sheet_title, viewed_images

_PIPE_WIDTH = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of the command; names are separated by commas, empty ones mean the run's own."""

    out: Path
    modalities: str = ""
    images: int = 1
    slot: int = 0
    key: str = ""
    engines: str = ""
    policies: str = ""
    as_table: bool = False
    csv_file: Path | None = None
    as_json: bool = False


def show_views(config: RunConfig, shards: str, asked: Asked) -> None:
    """Write the sheets and say what was asked for about them; names and files are checked before any work."""
    policies = _chosen(asked.policies, "policy") or [config.augment.policy]
    engines = _chosen(asked.engines, "engine") or [config.augment.engine]
    if asked.key and asked.modalities:
        raise ConfigError("a key names one image", found=f"--key and --modality {asked.modalities}")
    check_png(asked.out)
    if asked.csv_file and not asked.csv_file.parent.is_dir():
        raise ConfigError("the folder of the CSV file is not there", where={"folder": asked.csv_file.parent})
    rows: list[dict[str, Any]] = []
    for policy in policies:
        out = asked.out.with_stem(f"{asked.out.stem}-{policy}") if len(policies) > 1 else asked.out
        of_policy = replace(config, augment=replace(config.augment, policy=policy))
        images = _images(of_policy, open_data(of_policy, shards), asked, engines)
        _write_sheet(images, sheet_title(of_policy, engines), out)
        rows += [{"policy": policy, **row} for image in images for row in _numbers(image)]
        if not asked.as_json:
            _say(images, policy, out, asked)
    if asked.csv_file:
        _write_csv(rows, asked.csv_file)
    if asked.as_json:
        click.echo(json.dumps({"engines": engines, "views": rows}))


def _say(images: Sequence[ViewedImage], policy: str, out: Path, asked: Asked) -> None:
    for line in (str(out), *difference_texts(images)):
        click.echo(line)
    if asked.as_table:
        _print_tables(images, policy)


def _chosen(text: str, setting: str) -> list[str]:
    """The names in `text`, each a choice of `augment.SETTING`; raises ConfigError with the nearest one."""
    known = typing.get_args(typing.get_type_hints(AugmentConfig)[setting])
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"no augmentation {setting} '{name}'",
                expected=" | ".join(known),
                found=name,
                next_step=f"did you mean '{near[0]}'?" if near else None,
            )
    return names


def _images(config: RunConfig, data: RunData, asked: Asked, engines: Sequence[str]) -> list[ViewedImage]:
    if not asked.key:
        modalities = [name.strip() for name in asked.modalities.split(",") if name.strip()]
        return viewed_images(config, data, first_slots(data, modalities, asked.images, asked.slot), engines)
    images = viewed_images(config, data, [slot_of_key(config, data, asked.key, asked.slot)], engines)
    if images[0].key != asked.key:
        raise ConfigError(
            "the run has a stand-in for this sample, which is withdrawn or damaged",
            where={"key": asked.key, "slot": images[0].slot},
            next_step="mermed-shard verify DATA tells damaged samples; stream.tombstones lists withdrawn ones",
        )
    return images


def _write_sheet(images: Sequence[ViewedImage], title: str, out: Path) -> None:
    sheet = contact_sheet(images, title)
    if max(sheet.size) > MAX_SIDE_PX:
        raise ConfigError(
            "the sheet would be too large",
            expected=f"{MAX_SIDE_PX} pixels a side at most",
            found=f"{sheet.width} x {sheet.height}",
            next_step="choose a --modality, or fewer --images or --engines",
        )
    write_png(sheet, out)


def _numbers(image: ViewedImage) -> Iterator[dict[str, Any]]:
    """One flat row per view: what it is of, every drawn number, and how far the other engines are."""
    apart = image.differences()
    for number, (name, row) in enumerate(zip(image.names, image.draws, strict=True)):
        values: dict[str, Any] = {"modality": image.modality, "slot": image.slot, "key": image.key, "view": name}
        values |= field_values(row, image.extras)
        for engine, found in apart.items():
            values |= {f"{engine}_{of}": round(getattr(found[number], of), 4) for of in ("mean", "p99_9")}
        yield values


def _print_tables(images: Sequence[ViewedImage], policy: str) -> None:
    # A pipe has no width of its own, and columns squeezed into 80 characters are hard to read.
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    for image in images:
        apart = image.differences()
        cells = [parameter_cells(row, image.extras) for row in image.draws]
        columns = [column for column in COLUMNS if any(column in row for row in cells)]
        title = f"{policy}: {image.modality}, slot {image.slot}, {image.key}"
        table = Table("view", *columns, *(f"{engine} mean, p99.9" for engine in apart), box=None, title=title)
        for number, (name, row) in enumerate(zip(image.names, cells, strict=True)):
            levels = [f"{found[number].mean:.2f}, {found[number].p99_9:.1f}" for found in apart.values()]
            table.add_row(name, *(row.get(column, "") for column in columns), *levels)
        console.print(table)


def _write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        replace_file(path, text.getvalue().encode())
    except OSError as error:
        raise ConfigError("the CSV file cannot be written", where={"file": path}, found=error.strerror) from None
