"""Recipe arrays: images kept as the frames of one array (NPZ, NPY, HDF5), listed as one container per array."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mermed.errors import ConfigError
from mermed.pack.listing import ListedImage
from mermed.pack.recipes.frames import frame_labels, read_array
from mermed.pack.recipes.recipe import Arrays, Recipe
from mermed.pack.recipes.split_rule import SplitRule
from mermed.pack.recipes.tables import read_column
from mermed.pack.recipes.text import Template, compile_globs, compile_regex, find_fields
from mermed.pack.recipes.walk import FoundFile, base_fields


@dataclass(slots=True)
class FoundArrays:
    """The arrays of a dataset, every file they used, and files that hold what a better file has (`choose`)."""

    images: list[ListedImage] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)


def list_arrays(recipe: Recipe, files: tuple[FoundFile, ...]) -> FoundArrays:
    """One listed container per array of images, with the label and group of each frame.

    Reads the arrays of labels, not those of images. Raises ConfigError for labels that are not there or that no
    recipe explains, EnvironmentError_ when HDF5 labels need an extra that is not installed.
    """
    lister = _ArrayLister(recipe, {found.view: found for found in files})
    for number, rule in enumerate(recipe.arrays, 1):
        try:
            lister.take(rule, files)
        except ConfigError as error:
            error.add_place(array=number)
            raise
    return lister.found


class _ArrayLister:
    def __init__(self, recipe: Recipe, by_view: Mapping[str, FoundFile]) -> None:
        self.recipe, self.by_view = recipe, by_view
        self.split = SplitRule(recipe.split)
        self.found = FoundArrays()

    def take(self, rule: Arrays, files: tuple[FoundFile, ...]) -> None:
        path = [compile_regex(pattern) for pattern in rule.path]
        for found in self.choose(rule, files):
            self.found.images.append(self.container(rule, path, found))

    def choose(self, rule: Arrays, files: tuple[FoundFile, ...]) -> list[FoundFile]:
        globs = [compile_globs([glob]) for glob in rule.file]
        plain = [found for found in files if not found.raw.member]
        if rule.choose == "first":
            groups = [[found for found in plain if glob.fullmatch(found.view)] for glob in globs]
            chosen = next((group for group in groups if group), [])
            self.found.passed_over |= {found.file for group in groups for found in group}
            return chosen
        return [found for found in plain if any(glob.fullmatch(found.view) for glob in globs)]

    def container(self, rule: Arrays, path: list[re.Pattern[str]], found: FoundFile) -> ListedImage:
        recipe = self.recipe
        fields = {**(find_fields(path, found.view) or {}), **base_fields(found.view)}
        self.found.used.add(found.file)
        labels = self.labels(rule, found, fields)
        file = f"{found.file}/{rule.images}" if rule.images else found.file
        return ListedImage(
            modality=recipe.modality,
            dataset=recipe.name,
            file=file,
            place=f"{recipe.name}/{file}",
            path=found.raw.path,
            member=rule.images,
            split=self.split.named(Template(rule.split).fill(fields)),
            licence=recipe.card.licence[:80],
            namespace=recipe.namespace or recipe.name,
            treatment=recipe.treatment,
            frame_labels=labels,
            frame_findings=rule.findings if labels else (),
            frame_groups=self.groups(rule, found, fields, len(labels)),
        )

    def labels(self, rule: Arrays, found: FoundFile, fields: Mapping[str, str]) -> tuple[str, ...]:
        if not rule.labels and not rule.labels_file:
            return ()
        beside = self.beside(rule.labels_file, found, fields, "labels") if rule.labels_file else found
        return frame_labels(read_array(beside, rule.labels), rule, beside.file)

    def groups(self, rule: Arrays, found: FoundFile, fields: Mapping[str, str], num_labels: int) -> tuple[str, ...]:
        if not rule.groups:
            return ()
        table = self.beside(rule.groups_file, found, fields, "groups")
        texts = tuple(read_column(table, rule.groups))
        if num_labels and len(texts) != num_labels:
            raise ConfigError(
                "a table of frames has another number of rows than the array has labels",
                where={"file": table.file},
                expected=num_labels,
                found=len(texts),
            )
        return texts

    def beside(self, template: str, found: FoundFile, fields: Mapping[str, str], what: str) -> FoundFile:
        view = Template(template).fill(fields)
        if view not in self.by_view:
            raise ConfigError(
                f"the file of an array's {what} is not there",
                where={"file": found.file},
                expected=view,
                next_step="get the missing file; it is published with the array",
            )
        self.found.used.add(self.by_view[view].file)
        return self.by_view[view]
