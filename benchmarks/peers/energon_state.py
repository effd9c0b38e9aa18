"""The savable state of Megatron-Energon as JSON and back: it hands out objects, and pickle is not read here."""

import base64
import dataclasses
from typing import Any

import numpy as np
import torch
from megatron.energon.flavors.webdataset.sample_loader import SliceState
from megatron.energon.rng import SystemRngState
from megatron.energon.savable_loader import SavableDataLoaderState, SavableDatasetCheckpoint, SavableDatasetState
from megatron.energon.state import FlexState

RECORDS = {
    record.__name__: record
    for record in (SavableDataLoaderState, SavableDatasetCheckpoint, SavableDatasetState, SystemRngState, SliceState)
}


def to_json(value: Any) -> Any:
    """Plain values as they are, all else as `[kind, content]`; raises TypeError for what no state held so far."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        entries = [[to_json(key), to_json(entry)] for key, entry in value.items()]
        return ["flex" if isinstance(value, FlexState) else "dict", entries]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [to_json(entry) for entry in value]]
    if isinstance(value, bytes):
        return ["bytes", base64.b64encode(value).decode()]
    if isinstance(value, torch.Tensor):
        return ["tensor", to_json(value.numpy())]
    if isinstance(value, np.ndarray):
        return ["array", [value.dtype.str, value.tolist()]]
    if type(value).__name__ in RECORDS:
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [type(value).__name__, to_json(fields)]
    raise TypeError(f"a state of Energon holds a {type(value).__name__}, which this does not know")


def from_json(value: Any) -> Any:
    """The object that `to_json` was given."""
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind in RECORDS:
        return RECORDS[kind](**from_json(content))
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](from_json(entry) for entry in content)
    if kind in ("dict", "flex"):
        entries = {from_json(key): from_json(entry) for key, entry in content}
        return FlexState(entries) if kind == "flex" else entries
    if kind == "tensor":
        return torch.from_numpy(from_json(content))
    if kind == "array":
        return np.array(content[1], content[0])
    return base64.b64decode(content)
