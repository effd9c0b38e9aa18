"""Recipe labels: from the fields of an image to its class or its three-valued findings."""

from collections.abc import Iterable, Mapping
from typing import Any

from mermed.errors import ConfigError
from mermed.pack.readers.raw import RejectedInput
from mermed.pack.recipes.recipe import Labels, TextList
from mermed.pack.recipes.tables import Row
from mermed.pack.recipes.text import Template

Place = dict[str, object]


class Labeller:
    """Makes the labels of images as one recipe says."""

    def __init__(self, labels: Labels, known: Iterable[str]) -> None:
        """`known` are the fields images may have; raises ConfigError for a label that none of them gives."""
        self.labels = labels
        self.class_names = [Template(text) for text in labels.class_]
        self.names = frozenset(labels.names)
        self.columns = (*labels.findings, *([labels.list_.field] if labels.list_ else []))
        # Images of equal texts share one value: most images of a large set have one of a few sets of findings.
        self.known: dict[tuple[str | None, ...], dict[str, Any]] = {}
        names = set(known)
        for template in self.class_names:
            template.check(names, "labels.class")
        for key, columns in (("one_hot", labels.one_hot), ("findings", labels.findings)):
            for column in columns:
                Template(f"{{{column}}}").check(names, f"labels.{key}")
        if labels.list_:
            Template(f"{{{labels.list_.field}}}").check(names, "labels.list.field")

    def label(self, fields: Mapping[str, str], rows: Iterable[Row]) -> dict[str, Any]:
        """The labels of one image, {} when it has none.

        Raises ConfigError with table and line for a value that the recipe does not explain, and RejectedInput for an
        image that has several classes at once.
        """
        rule = self.labels
        if rule.class_:
            return self._one_class(fields, rows)
        if rule.one_hot:
            return self._one_hot(fields, rows)
        texts = tuple(fields.get(column) for column in self.columns)
        if texts not in self.known:
            self.known[texts] = self._findings(fields, rows)
        return self.known[texts]

    def _findings(self, fields: Mapping[str, str], rows: Iterable[Row]) -> dict[str, Any]:
        rule = self.labels
        if rule.findings and any(column in fields for column in rule.findings):
            values = {self._rename(c): self._three_valued(c, fields.get(c, ""), rows) for c in rule.findings}
            return {"findings": values}
        if rule.list_ and rule.list_.field in fields:
            return self._list(rule.list_, fields[rule.list_.field], rows)
        return {}

    def _rename(self, name: str) -> str:
        return self.labels.map.get(name, name)

    def _one_class(self, fields: Mapping[str, str], rows: Iterable[Row]) -> dict[str, Any]:
        filled = ((template, template.fill(fields)) for template in self.class_names)
        template, value = next(((t, value) for t, value in filled if value not in self.labels.drop), (None, ""))
        if template is None:
            return {}
        name = self._rename(value)
        if self.names and name not in self.names:
            column = next((name for name in template.names if fields.get(name)), "")
            raise _unexplained(value, self.labels.names, column, rows)
        return {"class": name} if name else {}

    def _one_hot(self, fields: Mapping[str, str], rows: Iterable[Row]) -> dict[str, Any]:
        positive = [c for c in self.labels.one_hot if self._three_valued(c, fields.get(c, ""), rows) == 1]
        if len(positive) > 1:
            raise RejectedInput("label_conflict", f"{len(positive)} classes at once", bin="excluded")
        return {"class": self._rename(positive[0])} if positive else {}

    def _three_valued(self, column: str, value: str, rows: Iterable[Row]) -> int | None:
        rule = self.labels
        if value in rule.positive:
            return 1
        if value in rule.negative:
            return 0
        if value in rule.unknown:
            return None
        raise _unexplained(value, (*rule.positive, *rule.negative, *rule.unknown), column, rows)

    def _list(self, rule: TextList, text: str, rows: Iterable[Row]) -> dict[str, Any]:
        stripped = text.strip(rule.strip)
        if text in self.labels.drop or (not stripped and "" not in rule.none):
            return {}
        parts = {part.strip(rule.strip) for part in stripped.split(rule.separator)} - {"", *rule.none}
        others = parts - set(rule.names)
        if others and not rule.ignore_other:
            raise _unexplained(min(others), rule.names, rule.field, rows)
        return {"findings": {self._rename(name): int(name in parts) for name in rule.names}}


def _unexplained(value: str, known: Iterable[str], column: str, rows: Iterable[Row]) -> ConfigError:
    """The error for a label text the recipe does not know, with the table and line it stands in."""
    place: Place = {"column": column} if column else {}
    row = next((row for row in rows if column in row.values), None)
    if row:
        place = {"table": row.table, "line": row.line, **place}
    return ConfigError(
        "a label has a value that the recipe does not explain",
        where=place,
        expected=", ".join(repr(name) for name in known)[:400],
        found=repr(value)[:80],
        next_step="correct the table, or add the value to the recipe",
    )
