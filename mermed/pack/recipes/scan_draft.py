"""Scan draft: an editable recipe for a folder that no shipped recipe knows; every guess says what it was made of."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from mermed.contract import DATASET_GRAMMAR, MODALITIES
from mermed.errors import ConfigError
from mermed.pack.listing import Listing
from mermed.pack.plain import slug
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.recipe import Recipe, read_recipe
from mermed.pack.recipes.scan_guess import FolderGuess, guess_folders, guess_masks, guess_modality, is_image
from mermed.pack.recipes.scan_tables import TableGuess, guess_tables
from mermed.pack.recipes.text import compile_globs
from mermed.pack.recipes.walk import base_fields, walk_files

UNKNOWN_MODALITY = "unknown"
_MODALITY_SAMPLE = 500


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted recipe: its text, and what it makes of the folder it was drafted from."""

    text: str
    recipe: Recipe
    listing: Listing


def draft_recipe(path: Path) -> Draft:
    """Draft a recipe for the images below `path`; it is read and used once, so it is known to load and list.

    Opens a few images per folder, to tell masks. Raises ConfigError when there is no image.
    """
    path = Path(path)
    files = walk_files(path, "scan").files
    candidates = [found for found in files if is_image(found)]
    if not candidates:
        raise ConfigError(
            "no image found",
            where={"folder": path},
            expected="files of an image, volume, slide or video format",
            found=f"{len(files)} other files",
        )
    masks = guess_masks(candidates)
    mask_glob = compile_globs([glob for glob, _ in masks])
    images = [found for found in candidates if not mask_glob.fullmatch(found.view)] or candidates
    masks = masks if len(images) < len(candidates) else []
    views = [found.view for found in images]
    tables = guess_tables(files, images)
    folders = guess_folders(views)
    modality = guess_modality(views[:: max(len(views) // _MODALITY_SAMPLE, 1)], f"{path.resolve().name} ")
    name = _name(path)
    sections = [
        _head(name, modality, _fingerprint(views, tables)),
        _images(views, folders, masks),
        *(_table(table) for table in tables[:1]),
        _labels(folders, tables[:1]),
    ]
    text = "\n".join(sections)
    recipe = read_recipe(text.encode("utf-8"), f"{name}.toml")
    return Draft(text, recipe, list_recipe(path, recipe))


def _name(path: Path) -> str:
    try:
        return slug(path.resolve().name, DATASET_GRAMMAR, "dataset")
    except ConfigError:
        return "my_dataset"


def _key(key: str, value: object) -> str:
    if isinstance(value, list):
        return f"{key} = [" + ", ".join(_key("x", each).removeprefix("x = ") for each in value) + "]"
    return tomli_w.dumps({key: value}).strip()


def _head(name: str, modality: str, fingerprint: list[str]) -> str:
    known = " | ".join(MODALITIES)
    why = "guessed from names" if modality else "nothing tells it: fill it in"
    return "\n".join(
        (
            "# A draft by mermed-shard scan: every line is a guess. The keys: shards/recipes/README.md",
            _key("name", name),
            f"{_key('modality', modality or UNKNOWN_MODALITY)}  # {why}; one of {known}, or another name",
            _key("title", name),
            _key("fingerprint", fingerprint),
            "",
            "[card]",
            'licence = "not stated"  # fill in: it is written into every sample',
            'access = "agreement"  # open | registration | agreement | credentialed',
            "",
        )
    )


def _fingerprint(views: list[str], tables: list[TableGuess]) -> list[str]:
    return [table.file for table in tables[:1]] or [f"**/*.{base_fields(views[0])['suffix']}"]


def _images(views: list[str], folders: FolderGuess, masks: list[tuple[str, str]]) -> str:
    suffixes = Counter(base_fields(view)["suffix"] for view in views)
    lines = ["[images]", "# " + ", ".join(f"{n:,} .{suffix}" for suffix, n in suffixes.most_common(12))]
    globs = [f"**/*.{suffix}" if suffix else "**/[!.]*" for suffix in sorted(suffixes)]
    lines.append(_key("include", globs))
    if folders.patterns:
        lines.append(_key("path", list(folders.patterns)))
    for glob, why in masks:
        reason = "looks like masks by its name" if why == "name" else "the first images have at most 2 values"
        lines += ["", f"[[images.exclude]]  # {reason}", 'reason = "mask"', _key("pattern", glob)]
    return "\n".join((*lines, ""))


def _table(table: TableGuess) -> str:
    keep = [*filter(None, (table.label, table.patient, table.group, table.split)), *table.one_hot, *table.findings]
    lines = [
        f"[[tables]]  # names {table.coverage:.0%} of the images",
        _key("file", table.file),
        _key("key", table.key),
        _key("match", table.match),
    ]
    lines += [_key("encoding", table.encoding)] if table.encoding != "utf-8" else []
    lines += [_key("keep", keep)] if keep else []
    lines.append('conflict = "blank"  # rows of one image that differ leave their values empty')
    return "\n".join((*lines, ""))


def _labels(folders: FolderGuess, tables: list[TableGuess]) -> str:
    """The sections labels, groups and split, from the table where it says something and from the folders otherwise."""
    table = tables[0] if tables else TableGuess("", "", "", 0.0)
    label = f"{{{table.label}}}" if table.label else ""
    if label or (folders.classes and not (table.one_hot or table.findings)):
        labels = _key("class", label or "{path_class}")
        labels += "" if label else f"\n# folders: {', '.join(map(repr, folders.classes[:20]))}"
    elif table.one_hot or table.findings:
        labels = _key("one_hot" if table.one_hot else "findings", [*table.one_hot, *table.findings])
    else:
        labels = "# nothing looks like a label: the images stay unlabelled"
    patient = f"{{{table.patient}}}" if table.patient else "{path_patient}" if folders.has_patient else ""
    groups = _key("patient", patient) if patient else "# no patient found: images of one patient may cross splits"
    groups += "\n" + _key("group", f"{{{table.group}}}") if table.group else ""
    split = f"{{{table.split}}}" if table.split else "{path_split}" if folders.splits else ""
    lines = ["[labels]", labels, "", "[groups]", groups, "", "[split]"]
    if split:
        found = table.split_map if table.split else folders.splits
        lines += [_key("field", split), 'conflict = "hold_out"']
        lines += ["[split.map]", *(_key(value, to) for value, to in found.items() if value)]
    else:
        lines.append("# none found: drawn by a keyed hash of the patient, 70/15/15")
    return "\n".join((*lines, ""))
