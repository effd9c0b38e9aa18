"""Recipe parse: a TOML table to a frozen dataclass, strictly: unknown, missing and ill-typed keys are errors."""

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from mermed.errors import ConfigError

T = TypeVar("T")


def parse(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Make a `cls` of `values`; a field named after a Python word ends in "_", its key does not.

    A lone text stands for a list of one. Raises ConfigError naming the key by its full path.
    """
    known = {each.name.rstrip("_"): each for each in fields(cls)}  # type: ignore[arg-type]
    types_of = typing.get_type_hints(cls)
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown key '{path}{name}'", next_step=did_you_mean(name, known))
    missing = [name for name, each in known.items() if name not in values and _is_required(each)]
    if missing:
        raise ConfigError(f"the key '{path}{missing[0]}' is missing")
    return cls(
        **{known[name].name: _convert(value, types_of[known[name].name], path + name) for name, value in values.items()}
    )


def did_you_mean(name: str, known: typing.Iterable[str]) -> str:
    """A next step that names the nearest of the known names, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else "known here: " + ", ".join(names[:40])


def _is_required(each: "Field[Any]") -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _convert(value: Any, wanted: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return _convert(value, next(each for each in arguments if each is not types.NoneType), path)
    if origin is Literal:
        return _expect(value in arguments, value, path, " | ".join(map(str, arguments)))
    if origin is tuple:
        entries = value if isinstance(value, list) else [value]
        return tuple(_convert(entry, arguments[0], f"{path}[{n}]") for n, entry in enumerate(entries, 1))
    if origin is dict:
        _expect(isinstance(value, Mapping), value, path, "a table")
        return {str(name): _convert(entry, arguments[1], f"{path}.{name}") for name, entry in value.items()}
    if is_dataclass(wanted):
        _expect(isinstance(value, Mapping), value, path, "a table")
        return parse(typing.cast(type[Any], wanted), value, f"{path}.")
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    return _expect(is_right, value, path, "a text" if wanted is str else wanted.__name__)


def _expect(is_right: bool, value: Any, path: str, expected: str) -> Any:
    if not is_right:
        raise ConfigError(f"the key '{path}' has the wrong value", expected=expected, found=repr(value)[:80])
    return value
