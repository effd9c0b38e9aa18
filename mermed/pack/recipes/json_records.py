"""Recipe JSON: a list of flat records as the rows of a table, for label files that are JSON or JSON lines."""

import json
from collections.abc import Iterator
from typing import Any

from mermed.errors import ConfigError

MAX_JSON_BYTES = 2**28
"""Longest JSON text: it is parsed whole, so this bounds what it may cost."""


def read_records(content: bytes, place: dict[str, object], *, is_lines: bool) -> Iterator[tuple[int, list[str]]]:
    """A header line of all names in the order they appear, then the values of every record, each with its number.

    The first record is line 2, as below the header of a CSV. Numbers stay as they are written, true is "True", null is
    "". Raises ConfigError for a text that is no list of records, or a record that holds lists or records itself.
    """
    records = _parse(content, place, is_lines)
    names = list(dict.fromkeys(name for record in records for name in record))
    yield 1, names
    for line, record in enumerate(records, 2):
        yield line, [_text(record.get(name), {**place, "line": line, "column": name}) for name in names]


def _parse(content: bytes, place: dict[str, object], is_lines: bool) -> list[dict[str, Any]]:
    try:
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
        texts = content.decode("utf-8-sig")
        parts = [part for part in texts.splitlines() if part.strip()] if is_lines else [texts]
        values = [json.loads(part, parse_int=str, parse_float=str) for part in parts]
    except (ValueError, RecursionError) as error:
        raise ConfigError("a table is not JSON", where=place, found=type(error).__name__) from None
    records = values if is_lines else values[0]
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ConfigError("a JSON table is not a list of records", where=place, expected='[{"name": ...}, ...]')
    return records


def _text(value: Any, place: dict[str, object]) -> str:
    if isinstance(value, dict | list):
        raise ConfigError("a record of a JSON table is not flat", where=place, found=type(value).__name__)
    return "" if value is None else str(value)
