"""Schema: the JSON Schema of manifest.json and of a sample's JSON, derived from the classes of the contract."""

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import msgspec

from mermed.contract import DATASET_GRAMMAR, FORMAT_VERSION, KEY_GRAMMAR, SLUG_GRAMMAR, SPLITS, Manifest, SampleMeta
from mermed.contract import ShardRow as Row

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
# Version 1 had samples before it had these.
_ADDED_LATER = {"rescale", "steps"}
_GRAMMARS = {"key": KEY_GRAMMAR, "modality": SLUG_GRAMMAR, "dataset": DATASET_GRAMMAR}


def contract_schema() -> dict[str, Any]:
    """The schema that shards/manifest.schema.json holds: the manifest, with rows and samples under `$defs`."""
    sample = _object(SampleMeta)
    sample["properties"]["xxh3"] = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
    sample["required"] = sorted(set(sample["properties"]) - _ADDED_LATER)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"MerMED packed collection, format version {FORMAT_VERSION}",
        **_object(Manifest),
        "$defs": {"ShardRow": _object(Row), "Sample": sample},
    }


def _object(cls: type[Any]) -> dict[str, Any]:
    """One class of the contract as an object schema: its fields, no others, and those without a default required."""
    hints = typing.get_type_hints(cls)
    is_required = _fields(cls)
    properties = {name: _field(name, hints[name]) for name in is_required}
    required = [name for name in is_required if is_required[name]]
    if "format_version" in properties:
        properties["format_version"] = {"const": FORMAT_VERSION}
        required.append("format_version")
    return {"type": "object", "properties": properties, "required": sorted(required), "additionalProperties": False}


def _fields(cls: type[Any]) -> dict[str, bool]:
    """The fields of a class of the contract, and whether each must be given."""
    if issubclass(cls, msgspec.Struct):
        return {entry.name: entry.required for entry in msgspec.structs.fields(cls)}
    return {entry.name: entry.default is MISSING and entry.default_factory is MISSING for entry in fields(cls)}


def _field(name: str, hint: Any) -> dict[str, Any]:
    if name in _GRAMMARS:
        return {"type": "string", "pattern": f"^{_GRAMMARS[name].pattern}$"}
    return {"enum": list(SPLITS)} if name == "split" else _type(hint)


def _type(hint: Any) -> dict[str, Any]:
    """The schema of one annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type(argument) for argument in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _type(arguments[0])}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_type(argument) for argument in arguments], "items": False}
    return {"$ref": f"#/$defs/{hint.__name__}"} if isinstance(hint, type) and is_dataclass(hint) else {}
