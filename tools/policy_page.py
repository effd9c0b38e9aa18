"""Print the policies of the presets and the extra transforms as tables; with --write put them into docs/augment.md."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from mermed.augment.extra import EXTRAS
from mermed.augment.policy import Policy, policy_for
from mermed.contract import MODALITIES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "augment.md"
BEGIN, END = "<!-- policies: tools/policy_page.py -->", "<!-- /policies -->"
GENERAL = ("seed", "released")
"""Presets with one policy for every modality."""


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def shown(value: Any) -> str:
    """A value of a policy: a span with "to", one number per kind of view with slashes."""
    if isinstance(value, tuple):
        return (" to " if len(value) == 2 else " / ").join(map(shown, value))
    return f"{value:.3g}" if isinstance(value, float) else {True: "yes", False: "no"}.get(value, value)


def table(columns: dict[str, Policy]) -> list[str]:
    """A line for each field that one of the policies sets; values that a policy does not set are those of the rest."""
    names = [field.name for field in fields(Policy) if field.name not in ("reason", "source")]
    bare = Policy(reason="", source="")
    lines = [row("field", *columns), row(*["---"] * (len(columns) + 1))]
    for name in names:
        values = [getattr(policy, name) for policy in columns.values()]
        if any(value != getattr(bare, name) for value in values):
            lines.append(row(f"`{name}`", *map(shown, values)))
    rest = ", ".join(
        f"`{name}` {shown(getattr(bare, name))}"
        for name in names
        if all(getattr(policy, name) == getattr(bare, name) for policy in columns.values())
    )
    return [*lines, "", f"The same in all of them: {rest}."]


def reasons(columns: dict[str, Policy]) -> list[str]:
    """Why each policy is as it is, and where it comes from."""
    return [f"- **{name}**: {policy.reason}. Source: {policy.source}." for name, policy in columns.items()]


def extras() -> list[str]:
    """The extra transforms in the order in which they are done."""
    lines = [row("name", "magnitude", "from", "to"), row(*["---"] * 4)]
    return lines + [row(f"`{e.name}`", e.unit, shown(e.low), shown(e.high)) for e in EXTRAS]


def block() -> str:
    """Everything between the markers."""
    general = {preset: policy_for(preset, MODALITIES[0]) for preset in GENERAL}
    medical = {name: policy_for("medical", name) for name in MODALITIES}
    parts = [("### `seed` and `released`", general), ("### `medical`", medical)]
    lines = [line for title, part in parts for line in (title, "", *table(part), "", *reasons(part), "")]
    return "\n".join([*lines, "### Extra transforms", "", *extras()])


def write_into_page() -> None:
    """Replace the page's block with what the tables give today."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{block()}\n\n{END}{rest.split(END, 1)[1]}", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_into_page()
    print(block())
