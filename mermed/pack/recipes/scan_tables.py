"""Scan tables: which table names the images of an unknown dataset, and which of its columns mean what."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mermed.errors import ConfigError
from mermed.pack.recipes.recipe import Table
from mermed.pack.recipes.scan_guess import SPLIT_WORDS
from mermed.pack.recipes.tables import read_cells
from mermed.pack.recipes.text import Template
from mermed.pack.recipes.walk import FoundFile, base_fields

TABLE_SUFFIXES = {"csv", "tsv", "txt", "csv.gz", "xlsx"}
LEAST_COVERAGE = 0.5
"""Least share of the images that a table's column must name."""
PROBE_VALUES = 500
"""Values of a column that are tried first: one that names images shows it in the first of them."""
_MATCHES = ("{file}", "{folder}/{name}", "{name}", "{stem}", "{folder}")
_LABEL_WORDS = (
    "label",
    "class",
    "diagnosis",
    "dx",
    "target",
    "pathology",
    "category",
    "finding",
    "grade",
    "level",
    "type",
)
_PATIENT_WORDS = re.compile(
    r"(?i)^(?:patient|subject|person|pid|patient[ _]?(?:id|index|num\w*)|subject[ _]?id|patientid)$"
)
_GROUP_WORDS = re.compile(
    r"(?i)^(?:group|lesion|volume|video|stud(?:y|ies)|exam|series|slide)[ _]?(?:id|uid|index|name)?$"
)
_SPLIT_COLUMN = re.compile(r"(?i)^(?:split|set|fold|partition|subset|usage)$")
_BINARY = {"0", "1", "0.0", "1.0"}
_THREE_VALUED = {*_BINARY, "", "-1", "-1.0"}


@dataclass(frozen=True, slots=True)
class TableGuess:
    """A table whose column `key` names images by `match`, and the columns that look like something."""

    file: str
    key: str
    match: str
    coverage: float
    encoding: str = "utf-8"
    label: str = ""
    one_hot: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    patient: str = ""
    group: str = ""
    split: str = ""
    split_map: dict[str, str] = field(default_factory=dict)


def guess_tables(files: Sequence[FoundFile], images: Sequence[FoundFile]) -> list[TableGuess]:
    """Every table that names at least half of the images, the best first."""
    fields = [base_fields(image.view) for image in images]
    templates = {match: Template(match) for match in _MATCHES}
    known = {match: {template.fill(each) for each in fields} - {""} for match, template in templates.items()}
    guesses = []
    for found in files:
        if base_fields(found.view)["suffix"].lower() in TABLE_SUFFIXES:
            guesses += [
                guess
                for header, rows, encoding in _read(found)
                if (guess := _guess(found, header, rows, encoding, known))
            ]
    return sorted(
        guesses, key=lambda guess: (-guess.coverage, not (guess.label or guess.findings or guess.one_hot), guess.file)
    )


def _read(found: FoundFile) -> Iterator[tuple[list[str], list[list[str]], str]]:
    """The header and rows of a table that can be read as one, with the encoding that worked; nothing otherwise."""
    for encoding in ("utf-8", "latin-1"):
        try:
            rule = Table(file=("",), key="{a}", match="{a}", encoding=encoding)
            cells = [[cell.strip() for cell in row] for _, row in read_cells(found, rule, {})]
        except ConfigError:
            continue
        if len(cells) > 1 and len(cells[0]) > 1 and all(len(row) <= len(cells[0]) for row in cells):
            width = len(cells[0])
            header = [name or f"#{n}" for n, name in enumerate(cells[0], 1)]
            yield header, [[*row, *[""] * (width - len(row))] for row in cells[1:]], encoding
        return


def _guess(
    found: FoundFile, header: list[str], rows: list[list[str]], encoding: str, known: dict[str, set[str]]
) -> TableGuess | None:
    columns = {name: [row[n] for row in rows] for n, name in enumerate(header) if not re.search(r"[{}|]", name)}
    coverage, key, match = max(
        (_coverage(name, values, known) for name, values in columns.items()), default=(0.0, "", ""), key=lambda g: g[0]
    )
    if coverage < LEAST_COVERAGE:
        return None
    named = Template(key).names[0]
    others = {name: values for name, values in columns.items() if name != named}
    patient = next((name for name in others if _PATIENT_WORDS.match(name)), "")
    group = next((name for name in others if _GROUP_WORDS.match(name)), "")
    split = next((name for name in others if _is_split(name, others[name])), "")
    rest = {name: values for name, values in others.items() if name not in (patient, group, split)}
    label = _label(rest)
    one_hot, findings = ((), ()) if label else _marks(rest)
    return TableGuess(
        found.view,
        key,
        match,
        coverage,
        encoding=encoding,
        label=label,
        one_hot=one_hot,
        findings=findings,
        patient=patient,
        group=group,
        split=split,
        split_map={value: SPLIT_WORDS.get(value.lower(), "") for value in sorted(set(others.get(split, ())))},
    )


def _coverage(name: str, values: list[str], known: dict[str, set[str]]) -> tuple[float, str, str]:
    """The best share of the images that a column names, with the templates that say how."""
    best = (0.0, "", "")
    distinct = set(values)
    probe = list(islice(distinct, PROBE_VALUES))
    for match in _MATCHES:
        for key in (f"{{{name}}}", f"{{{name}|stem}}", f"{{{name}|name}}"):
            template = Template(key)
            if not any(template.fill({name: value}) in known[match] for value in probe):
                continue
            filled = {template.fill({name: value}) for value in distinct} - {""}
            coverage = len(filled & known[match]) / max(len(known[match]), 1)
            if coverage > best[0]:
                best = (coverage, key, match)
        if best[0] == 1.0:
            break
    return best


def _is_split(name: str, values: list[str]) -> bool:
    words = {value.lower() for value in values if value}
    return bool(words) and (words <= set(SPLIT_WORDS) or (bool(_SPLIT_COLUMN.match(name)) and len(words) <= 20))


def _label(columns: dict[str, list[str]]) -> str:
    """The column that looks most like a class: few values that recur, preferably under a fitting name."""
    counts = {name: Counter(value for value in values if value) for name, values in columns.items()}
    fitting = [n for n, c in counts.items() if 2 <= len(c) <= 100 and sum(c.values()) >= 2 * len(c)]
    named = {name: rank for name in fitting if (rank := _label_rank(name)) is not None}
    single = [name for name, count in counts.items() if len(count) == 1 and _label_rank(name) == (False, 0)]
    wordy = [name for name in fitting if not all(re.fullmatch(r"-?[\d.]*", value) for value in counts[name])]
    marks = [name for name, values in columns.items() if set(values) <= _THREE_VALUED]
    if named or single:
        return min(named or single, key=lambda name: (named.get(name, (False, 0)), len(counts[name]), name))
    return min(wordy, key=lambda name: (len(counts[name]), name), default="") if len(marks) < 3 else ""


def _label_rank(name: str) -> tuple[bool, int] | None:
    """How much a column's name sounds like a label, least is most: the word alone before the word in a longer name."""
    words = re.split(r"[^a-z]+", name.lower())
    ranks = [n for n, word in enumerate(_LABEL_WORDS) if any(each in (word, f"{word}s", f"{word}es") for each in words)]
    return (len(words) > 1, ranks[0]) if ranks else None


def _marks(columns: dict[str, list[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns of marks as (one_hot, findings): one_hot when no row has two."""
    names = [name for name, values in columns.items() if set(values) <= _THREE_VALUED and set(values) & {"1", "1.0"}]
    if len(names) < 2:
        return (), ()
    is_binary = all(set(columns[name]) <= _BINARY for name in names)
    sums = [sum(float(value or 0) for value in row) for row in zip(*(columns[name] for name in names), strict=True)]
    return (tuple(names), ()) if is_binary and max(sums) <= 1 else ((), tuple(names))
