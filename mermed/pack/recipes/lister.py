"""Recipe list: a dataset's folder and its recipe to a listing: images with what is known of them, and the rest."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mermed.contract import SLUG_GRAMMAR
from mermed.errors import ConfigError
from mermed.pack.listing import ListedImage, Listing, RejectedRow
from mermed.pack.readers.raw import RejectedInput
from mermed.pack.recipes.arrays import list_arrays
from mermed.pack.recipes.labels import Labeller
from mermed.pack.recipes.recipe import Exclude, Images, Recipe
from mermed.pack.recipes.split_rule import SplitRule, hold_out
from mermed.pack.recipes.tables import LoadedTable, Row, load_table
from mermed.pack.recipes.text import Template, compile_globs, compile_regex, find_fields
from mermed.pack.recipes.thin import thin
from mermed.pack.recipes.walk import FoundFile, base_fields, walk_files
from mermed.pack.treatment import Treatment


def list_sources(sources: Sequence[tuple[Path, Recipe]]) -> Listing:
    """List several datasets, each with its recipe, as one source; raises ConfigError when two have one name."""
    listings: dict[str, Listing] = {}
    for root, recipe in sources:
        if recipe.name in listings:
            raise ConfigError(
                "two recipes give one dataset name",
                where={"recipe": recipe.name},
                next_step="pack them into two collections, or copy the recipe and give the copy another name",
            )
        listings[recipe.name] = list_recipe(root, recipe)
    images = [image for listing in listings.values() for image in listing.images]
    return Listing(
        images=tuple(sorted(images, key=lambda image: (image.modality, image.dataset, image.file))),
        rejected=tuple(row for listing in listings.values() for row in listing.rejected),
        recipes={name: digest for listing in listings.values() for name, digest in listing.recipes.items()},
    )


def list_recipe(root: Path, recipe: Recipe) -> Listing:
    """List the dataset below `root` as `recipe` says: every file becomes an image or a row with a reason.

    Opens tables and archive directories, no image. Raises ConfigError naming recipe, table, line and column for what
    the recipe does not explain, and when nothing below `root` is an image of it.
    """
    try:
        return _list(Path(root), recipe)
    except ConfigError as error:
        error.add_place(recipe=recipe.name)
        raise


def _list(root: Path, recipe: Recipe) -> Listing:
    walk = walk_files(root, recipe.name)
    tables = [load_table(recipe, number, walk.files) for number in range(1, len(recipe.tables) + 1)]
    used = {file for table in tables for file in table.files}
    images: list[ListedImage] = []
    rejected = list(walk.rejected)
    if recipe.images:
        lister = _Lister(recipe, recipe.images, tables)
        for found in walk.files:
            if lister.glob.fullmatch(found.view) and found.file not in used:
                used.add(found.file)
                item = lister.take(found)
                (images if isinstance(item, ListedImage) else rejected).append(item)  # type: ignore[arg-type]
        rejected += lister.missing()
    arrays = list_arrays(recipe, walk.files)
    images += arrays.images
    used |= arrays.used
    if not images:
        raise _nothing_found(root, recipe, len(walk.files))
    passed_over = arrays.passed_over - used
    for found in walk.files:
        if found.file in passed_over:
            rejected.append(_row(recipe, found.file, "other_version", "a better version of it is there"))
        elif found.file not in used:
            rejected.append(_row(recipe, found.file, "not_listed", "the recipe does not list it"))
    if recipe.split.conflict == "hold_out":
        images = hold_out(images)
    if recipe.images and recipe.images.most_per_group > 0:
        images, thinned = thin(images, recipe.images.most_per_group)
        detail = f"at most {recipe.images.most_per_group} unlabelled images of one group are packed"
        rejected += [_row(recipe, image.file, "thinned", detail) for image in thinned]
    images.sort(key=lambda image: (image.modality, image.file))
    digests = {f"{modality}/{recipe.name}": recipe.digest for modality in sorted({i.modality for i in images})}
    return Listing(images=tuple(images), rejected=tuple(rejected), recipes=digests)


def _nothing_found(root: Path, recipe: Recipe, num_files: int) -> ConfigError:
    globs = [*(recipe.images.include if recipe.images else ()), *(glob for each in recipe.arrays for glob in each.file)]
    return ConfigError(
        "the recipe finds no image here",
        where={"folder": root},
        expected=" or ".join(globs)[:400],
        found=f"{num_files} other files",
        next_step=f"point at the folder that holds these; mermed-shard scan {root} says what is there",
    )


def _row(recipe: Recipe, file: str, reason: str, detail: str) -> RejectedRow:
    return RejectedRow(place=f"{recipe.name}/{file}", reason=reason, detail=detail, bin="excluded")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One compiled [[images.exclude]]."""

    rule: Exclude
    glob: re.Pattern[str] | None

    def fits(self, view: str, fields: dict[str, str]) -> bool:
        by_name = self.glob is None or self.glob.fullmatch(view) is not None
        return by_name and all(fields.get(name, "") in values for name, values in self.rule.where.items())


class _Lister:
    """Turns the files of one recipe into listed images, and remembers which table rows found their image."""

    def __init__(self, recipe: Recipe, images: Images, tables: list[LoadedTable]) -> None:
        self.recipe, self.tables = recipe, tables
        self.glob = compile_globs(images.include)
        self.path = [compile_regex(pattern) for pattern in images.path]
        self.exclude = [_Rule(rule, compile_globs([rule.pattern]) if rule.pattern else None) for rule in images.exclude]
        self.found_keys: set[tuple[str, str]] = set()
        self.fixed = set(base_fields("")) | {name for pattern in self.path for name in pattern.groupindex}
        known = set(self.fixed)
        for number, table in enumerate(tables, 1):
            table.match.check(known, f"tables.{number}.match")
            known |= table.names
        for rule in images.exclude:
            for name in rule.where:
                Template(f"{{{name}}}").check(known, "images.exclude.where")
        for variant in recipe.variants:
            for name in variant.where:
                Template(f"{{{name}}}").check(known, "variants.where")
        self.labeller = Labeller(recipe.labels, known)
        self.modality = self.template("modality", recipe.modality, known)
        self.patient = self.template("groups.patient", recipe.groups.patient, known)
        self.group = self.template("groups.group", recipe.groups.group, known)
        self.pair = [self.template("groups.pair", text, known) for text in recipe.groups.pair]
        self.licence = self.template("images.licence", images.licence, known)
        self.split = SplitRule(recipe.split)
        self.split.field.check(known, "split.field")

    @staticmethod
    def template(key: str, text: str, known: set[str]) -> Template:
        template = Template(text)
        template.check(known, key)
        return template

    def take(self, found: FoundFile) -> ListedImage | RejectedRow:
        fields = base_fields(found.view)
        if self.path:
            groups = find_fields(self.path, found.view)
            if groups is None:
                return _row(self.recipe, found.file, "other_name", "its path follows no pattern of the recipe")
            fields = {**groups, **fields}
        rows, lacks_row = self.join(fields)
        for rule in self.exclude:
            if rule.fits(found.view, fields):
                return _row(self.recipe, found.file, rule.rule.reason, "the recipe leaves it out")
        if lacks_row:
            return _row(self.recipe, found.file, "no_row", f"no row of {lacks_row} names it")
        if any(row.is_conflicting for row in rows):
            return _row(self.recipe, found.file, "label_conflict", "its rows disagree")
        try:
            return self.listed(found, fields, rows)
        except RejectedInput as rejected:
            return _row(self.recipe, found.file, rejected.reason_slug, rejected.detail)

    def join(self, fields: dict[str, str]) -> tuple[list[Row], str]:
        """Add the columns of the rows that belong to an image to its fields; its own path wins over a column."""
        rows, lacks_row = [], ""
        for table in self.tables:
            key = table.match.fill(fields)
            row = table.rows.get(key) if key else None
            if row:
                rows.append(row)
                self.found_keys.add((table.rule.match, key))
                fields.update((name, value) for name, value in row.values.items() if name not in self.fixed)
            elif table.rule.required:
                lacks_row = lacks_row or " or ".join(table.rule.file)
        return rows, lacks_row

    def listed(self, found: FoundFile, fields: dict[str, str], rows: list[Row]) -> ListedImage:
        recipe = self.recipe
        return ListedImage(
            modality=self.modality_of(fields),
            dataset=recipe.name,
            file=found.file,
            place=f"{recipe.name}/{found.file}",
            path=found.raw.path,
            member=found.raw.member,
            labels=self.labeller.label(fields, rows),
            patient_id=self.patient.fill(fields),
            group_id=self.group.fill(fields) or self.pair_of(fields),
            split=self.split.of(fields),
            licence=(self.licence.fill(fields) or recipe.card.licence)[:80],
            namespace=recipe.namespace or recipe.name,
            treatment=self.treatment_of(fields),
        )

    def pair_of(self, fields: dict[str, str]) -> str:
        """One name for all members of a pair, whichever of them is asked; "" when the image has no partner."""
        members = sorted({name for template in self.pair if (name := template.fill(fields))})
        return " ".join(members) if len(members) > 1 else ""

    def treatment_of(self, fields: dict[str, str]) -> Treatment:
        for variant in self.recipe.variants:
            if all(fields.get(name, "") in values for name, values in variant.where.items()):
                return variant.treatment
        return self.recipe.treatment

    def modality_of(self, fields: dict[str, str]) -> str:
        modality = self.modality.fill(fields)
        if not SLUG_GRAMMAR.fullmatch(modality):
            raise RejectedInput("no_modality", "its fields give no modality", bin="excluded")
        return modality

    def missing(self) -> Iterator[RejectedRow]:
        """The table rows that name an image which is not there, each once."""
        told: set[tuple[str, str]] = set()
        for table in self.tables:
            for key, row in table.rows.items() if table.rule.expect else ():
                mark = (table.rule.match, key)
                if mark not in self.found_keys and mark not in told:
                    told.add(mark)
                    yield _row(self.recipe, f"{row.table}:{row.line}", "missing", "the row's image is not there")
