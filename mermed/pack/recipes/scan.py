"""Scan: which known datasets lie below a folder, told by their fingerprints and never by the folder's name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mermed.pack.recipes.recipe import Recipe
from mermed.pack.recipes.text import compile_globs, compile_regex, find_fields
from mermed.pack.recipes.walk import FoundFile, walk_files

GLANCE = 200
"""Folders, and files of one suffix, looked at in every folder: a fingerprint shows in the first of them."""
MAX_DEPTH = 4
"""How many folders below the scanned one a dataset's root may lie."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A known dataset: its recipe, and the root to pack it from."""

    recipe: Recipe
    root: Path


def recognise(path: Path, recipes: Mapping[str, Recipe]) -> list[Recognised]:
    """Every known dataset below `path`, also several in one folder, by name.

    A dataset is there when each pattern of its fingerprint matches something below one root. Of roots inside each other
    the outermost counts, unless everything the recipe reads lies in one folder of it.
    """
    path = Path(path)
    files = walk_files(path, "scan", glance=GLANCE).files
    views = [found.view for found in files]
    roots = sorted({"", *_folders(views)})
    found: list[Recognised] = []
    for _, recipe in sorted(recipes.items()):
        for root in _outermost(_roots(recipe.fingerprint, views, roots), recipe, views):
            if folder := _real_folder(path, files, _narrow(recipe, views, root)):
                found.append(Recognised(recipe, folder))
    return found


def _outermost(roots: Iterable[str], recipe: Recipe, views: list[str]) -> list[str]:
    """Those of `roots`, outermost first, that hold an image of the recipe and lie in no other of them."""
    images = compile_globs(_image_globs(recipe))
    chosen: list[str] = []
    for root in roots:
        is_inside = any(root.startswith(outer) for outer in chosen)
        if not is_inside and any(v.startswith(root) and images.fullmatch(v[len(root) :]) for v in views):
            chosen.append(root)
    return chosen


def _image_globs(recipe: Recipe) -> list[str]:
    return [*(recipe.images.include if recipe.images else ()), *(g for arrays in recipe.arrays for g in arrays.file)]


def _folders(views: Iterable[str]) -> Iterator[str]:
    """Every folder down to MAX_DEPTH, with a slash behind it."""
    for view in views:
        parts = view.split("/")[:-1][:MAX_DEPTH]
        for depth in range(1, len(parts) + 1):
            yield "/".join(parts[:depth]) + "/"


def _roots(fingerprint: tuple[str, ...], views: list[str], roots: list[str]) -> list[str]:
    """The roots below which every pattern matches something, outermost first."""
    left = set(roots)
    for pattern in sorted(fingerprint, key=lambda each: each.startswith("**/")):
        left &= _roots_of(pattern, views) if not pattern.startswith("**/") else _above(pattern, views, left)
    return sorted(left, key=lambda root: (root.count("/"), root))


def _roots_of(pattern: str, views: list[str]) -> set[str]:
    """The roots of a pattern that says how deep below them its files lie."""
    compiled = re.compile(f"(?P<root>(?:[^/]+/){{0,{MAX_DEPTH}}}?)(?:{compile_globs([pattern]).pattern})", re.DOTALL)
    return {match["root"] for view in views if (match := compiled.fullmatch(view))}


def _above(pattern: str, views: list[str], roots: set[str]) -> set[str]:
    """Those of `roots` that hold a match of a pattern for any depth."""
    compiled = compile_globs([pattern])
    matches = [view for view in views if compiled.fullmatch(view)]
    return {root for root in roots if any(v.startswith(root) and compiled.fullmatch(v[len(root) :]) for v in matches)}


def _narrow(recipe: Recipe, views: list[str], root: str) -> str:
    """The innermost folder that holds everything the recipe reads, as long as its fingerprint still shows there."""
    globs = [*_image_globs(recipe), *(glob for table in recipe.tables for glob in table.file)]
    if not all(glob.startswith("**/") for glob in (*globs, *recipe.fingerprint)):
        return root
    read = _read_by(recipe, [view[len(root) :] for view in views if view.startswith(root)])
    while read and len(tops := {view.partition("/")[0] for view in read}) == 1:
        inner = f"{root}{tops.pop()}/"
        inside = [view.partition("/")[2] for view in read]
        all_inside = [view[len(inner) :] for view in views if view.startswith(inner)]
        patterns = [compile_globs([pattern]) for pattern in recipe.fingerprint]
        shows = all(any(pattern.fullmatch(view) for view in all_inside) for pattern in patterns)
        if not shows or len(_read_by(recipe, inside)) < len(read):
            break
        root, read = inner, inside
    return root


def _read_by(recipe: Recipe, views: list[str]) -> list[str]:
    """The files that a recipe reads, of those below its root: images whose path fits, and tables."""
    images = compile_globs(_image_globs(recipe))
    tables = compile_globs([glob for table in recipe.tables for glob in table.file])
    path = [compile_regex(pattern) for pattern in recipe.images.path] if recipe.images else []

    def is_read(view: str) -> bool:
        is_image = images.fullmatch(view) is not None and (not path or find_fields(path, view) is not None)
        return is_image or tables.fullmatch(view) is not None

    return [view for view in views if is_read(view)]


def _real_folder(path: Path, files: Iterable[FoundFile], root: str) -> Path | None:
    """The folder on disk behind a root; the one that holds the archive when the root is an archive."""
    if not root:
        return path
    depth = root.count("/")
    for found in files:
        if found.view.startswith(root):
            parts = found.file.split("/")[:depth]
            while parts and not path.joinpath(*parts).is_dir():
                parts.pop()
            return path.joinpath(*parts)
    return None
