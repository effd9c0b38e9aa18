"""Recipes made of a few lines of TOML, and what a listing says, for tests of the engine."""

import tomllib

from mermed.pack.recipes.parse import parse
from mermed.pack.recipes.recipe import Recipe

CARD = {"licence": "CC0", "access": "open"}
HEAD = {"name": "set", "modality": "us", "title": "Set", "fingerprint": "x", "card": CARD}
TABLE = 'file = "labels.csv"\nkey = "{id}"\nmatch = "{stem}"\n'


def recipe(text, **head):
    return parse(Recipe, {**HEAD, "images": {"include": "**/*.png"}, **tomllib.loads(text), **head})


def classes(listing):
    return {image.file: image.labels.get("class") for image in listing.images}


def reasons(listing):
    return {row.place: row.reason for row in listing.rejected}


def write_root(folder, *files, labels=None):
    """Files below `folder` that no listing opens, and a labels.csv."""
    folder.mkdir(exist_ok=True)
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")
    if labels is not None:
        (folder / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    return folder


CLASS = recipe(f'[[tables]]\n{TABLE}required = true\n[labels]\nclass = "{{dx}}"\n')
