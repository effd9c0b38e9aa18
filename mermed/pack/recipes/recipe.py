"""Recipe: where a dataset keeps its images, labels, patients and splits, as read from one TOML file without code."""

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mermed.contract import DATASET_GRAMMAR, canonical_json
from mermed.errors import ConfigError
from mermed.pack.recipes.parse import parse
from mermed.pack.treatment import Treatment

MAX_RECIPE_BYTES = 2**20
Access = Literal["open", "registration", "agreement", "credentialed"]
Conflict = Literal["refuse", "first", "vote", "blank", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The facts of a dataset that a program needs; the text beside it tells the rest. 0 and "" mean not stated."""

    licence: str
    access: Access
    url: str = ""
    citation: str = ""
    images: int = 0
    patients: int = 0
    split_source: str = ""
    redistribution: bool = False
    flaws: tuple[str, ...] = ()
    used_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclude:
    """Files left out, with the reason as it stands in excluded.csv: by name, by the values of fields, or by both."""

    reason: str
    pattern: str = ""
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Which files are images, and the fields that their paths hold."""

    include: tuple[str, ...]
    exclude: tuple[Exclude, ...] = ()
    path: tuple[str, ...] = ()
    licence: str = ""
    most_per_group: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pivot:
    """Several rows per image, one per finding, folded into columns: `name` and `value` are templates over a row."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One label, patient or split list, and how its rows find their images."""

    file: tuple[str, ...]
    key: str
    match: str
    delimiter: str = ""
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    skip_lines: int = 0
    extract: dict[str, str] = field(default_factory=dict)
    where: dict[str, tuple[str, ...]] = field(default_factory=dict)
    set: dict[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    pivot: Pivot | None = None
    conflict: Conflict = "refuse"
    required: bool = False
    expect: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextList:
    """Findings written as one text: names with a separator between them."""

    field: str
    names: tuple[str, ...]
    separator: str = "|"
    none: tuple[str, ...] = ()
    strip: str = "[]'\" "
    ignore_other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels in one of four forms: `class`, `one_hot`, `findings` or `list`; none of them means unlabelled images."""

    class_: tuple[str, ...] = ()
    one_hot: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    list_: TextList | None = None
    map: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    drop: tuple[str, ...] = ("", "nan", "NaN", "NA", "N/A")
    positive: tuple[str, ...] = ("1", "1.0", "True", "true")
    negative: tuple[str, ...] = ("0", "0.0", "False", "false")
    unknown: tuple[str, ...] = ("", "-1", "-1.0", "nan", "NaN", "NA", "N/A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """What must never be divided between splits: templates for the patient and for a lesion, volume or pair.

    `pair` are templates that name the members of one group in any order, such as an eye and its fellow.
    """

    patient: str = ""
    group: str = ""
    pair: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The split a dataset ships: a template, its values in our words, and what to do where one group has several."""

    field_: tuple[str, ...] = ()
    map: dict[str, str] = field(default_factory=dict)
    conflict: Literal["refuse", "hold_out"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Images whose pixels need another treatment than the others, told by the values of fields."""

    where: dict[str, tuple[str, ...]]
    treatment: Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """Images kept as the frames of one array of an NPZ, NPY or HDF5 file, their labels and their groups."""

    file: tuple[str, ...]
    choose: Literal["all", "first"] = "all"
    images: str = ""
    labels: str = ""
    labels_file: str = ""
    path: tuple[str, ...] = ()
    split: str = ""
    names: dict[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    groups: str = ""
    groups_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole recipe; `shards/recipes/README.md` explains every key. `digest` changes with what decides bytes."""

    name: str
    modality: str
    title: str
    fingerprint: tuple[str, ...]
    card: Card
    namespace: str = ""
    images: Images | None = None
    tables: tuple[Table, ...] = ()
    labels: Labels = field(default_factory=Labels)
    groups: Groups = field(default_factory=Groups)
    split: Split = field(default_factory=Split)
    treatment: Treatment = field(default_factory=Treatment)
    variants: tuple[Variant, ...] = ()
    arrays: tuple[Arrays, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        if not DATASET_GRAMMAR.fullmatch(self.name):
            raise ConfigError("a recipe's name breaks the grammar of dataset names", expected=DATASET_GRAMMAR.pattern)
        if not self.images and not self.arrays:
            raise ConfigError("a recipe names no images", expected="[images] or [[arrays]]")
        labels = self.labels
        forms = [bool(labels.class_), bool(labels.one_hot), bool(labels.findings), labels.list_ is not None]
        if sum(forms) > 1:
            raise ConfigError("a recipe gives labels in several forms", expected="class, one_hot, findings or list")
        for number, table in enumerate(self.tables, 1):
            if table.optional and not (table.keep or table.set or table.pivot):
                raise ConfigError(
                    "an optional table does not say which fields it gives",
                    where={"table": number},
                    expected="keep = [...] with its columns",
                )


def load_recipe(path: Path) -> Recipe:
    """Read one recipe file; raises ConfigError naming the file and the key, with the nearest known key."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError("the recipe is not there", where={"file": path}, next_step="mermed-shard recipes")
    return read_recipe(path.read_bytes(), path.name)


def read_recipe(content: bytes, name: str) -> Recipe:
    """Read the TOML of a recipe; `name` stands for it in errors, which are those of `load_recipe`."""
    where = {"recipe": name}
    try:
        if len(content) > MAX_RECIPE_BYTES:
            raise ConfigError("the recipe is too large to be one", expected=f"{MAX_RECIPE_BYTES} bytes at most")
        values = tomllib.loads(content.decode("utf-8"))
        return parse(Recipe, {**values, "digest": _digest(values)})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("a recipe is not TOML", where=where, found=error) from None
    except ConfigError as error:
        error.add_place(**where)
        raise


def _digest(values: dict[str, Any]) -> str:
    """The sha256 of what decides the packed bytes: everything but the words about the dataset."""
    silent = {"title", "fingerprint", "card"}
    deciding = {name: value for name, value in values.items() if name not in silent}
    deciding["licence"] = values.get("card", {}).get("licence") if isinstance(values.get("card"), dict) else None
    return hashlib.sha256(canonical_json(_plain(deciding))).hexdigest()


def _plain(value: Any) -> Any:
    """TOML values as JSON values; dates, which no key of ours takes, become texts."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool) and value == value else str(value)
