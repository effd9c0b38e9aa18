"""What loaders hand out as their state, as JSON and back: tensors, arrays, bytes and tuples beside plain values.

Nothing is pickled: a state is read from a file, and a file must not be able to run code.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

Records = Mapping[str, type]
"""Classes of a library by their names, whose fields are kept and which are made anew from them."""


def to_json(value: Any, records: Records | None = None) -> Any:
    """Plain values as they are, all else as `[kind, content]`; raises TypeError for what no state held so far."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value).__name__
    if records and kind in records:
        fields = dict(value) if isinstance(value, dict) else {name: getattr(value, name) for name in _fields(value)}
        return [kind, to_json(fields, records)]
    if isinstance(value, dict):
        return ["dict", [[to_json(key, records), to_json(entry, records)] for key, entry in value.items()]]
    if isinstance(value, list | tuple):
        return ["tuple" if isinstance(value, tuple) else "list", [to_json(entry, records) for entry in value]]
    if isinstance(value, bytes):
        return ["bytes", base64.b64encode(value).decode()]
    if kind == "Tensor":
        return ["tensor", to_json(value.numpy())]
    if isinstance(value, np.ndarray | np.generic):
        return ["array", [value.dtype.str, value.tolist()]]
    raise TypeError(f"a loader's state holds a {kind}, which this does not know")


def _fields(value: Any) -> list[str]:
    return list(value.__dataclass_fields__)


def from_json(value: Any, records: Records | None = None) -> Any:
    """The object that `to_json` was given."""
    if not isinstance(value, list):
        return value
    kind, content = value
    if records and kind in records:
        return records[kind](**from_json(content, records))
    if kind == "dict":
        return {from_json(key, records): from_json(entry, records) for key, entry in content}
    if kind in ("list", "tuple"):
        entries = (from_json(entry, records) for entry in content)
        return tuple(entries) if kind == "tuple" else list(entries)
    if kind == "tensor":
        import torch  # only loaders that need it have such states

        return torch.from_numpy(from_json(content))
    if kind == "array":
        return np.array(content[1], content[0])
    if kind == "bytes":
        return base64.b64decode(content)
    raise TypeError(f"a saved state holds a {kind}, which this does not know")
