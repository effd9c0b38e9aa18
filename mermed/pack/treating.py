"""Treating: choices of the command line about pixels, laid over what recipes say, for every image of a listing."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from mermed.errors import ConfigError
from mermed.pack.listing import Listing
from mermed.pack.recipes.parse import parse
from mermed.pack.treatment import Treatment


def treat(listing: Listing, choices: Sequence[str]) -> Listing:
    """The listing with every choice such as "crop=none" or "sampling.max_frames=16" in every image's treatment.

    Raises ConfigError for a name that `Treatment` lacks, with the nearest one, and for a value of another kind.
    """
    if not choices:
        return listing
    values = _nested(choices)
    parsed = parse(Treatment, values)

    @cache
    def changed(before: Treatment) -> Treatment:
        given = {name: getattr(parsed, name) for name in values if name != "sampling"}
        sampling = {name: getattr(parsed.sampling, name) for name in values.get("sampling", ())}
        return replace(before, **given, sampling=replace(before.sampling, **sampling))

    images = tuple(replace(image, treatment=changed(image.treatment)) for image in listing.images)
    return replace(listing, images=images)


def _nested(choices: Sequence[str]) -> dict[str, Any]:
    """Choices as one table; a value that is no TOML is a text."""
    values: dict[str, Any] = {}
    for choice in choices:
        name, mark, text = choice.partition("=")
        if not mark:
            raise ConfigError("a choice has no value", expected="NAME=VALUE", found=choice)
        table: dict[str, Any] = values
        *above, last = name.strip().split(".")
        for part in above:
            table = table.setdefault(part, {})
            if not isinstance(table, Mapping):
                raise ConfigError(f"'{part}' is no table", found=choice)
        table[last] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
