"""Recipe frames: the label and the group of every frame of an array, and the arrays and lists they are read from."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.errors import ConfigError, missing_extra
from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput
from mermed.pack.recipes.recipe import Arrays
from mermed.pack.recipes.walk import FoundFile

MAX_LABEL_BYTES = 2**30
_HDF5 = (".h5", ".hdf5", ".hdf")
_MARKS = {"1": "1", "0": "0", "-1": "?", "nan": "?"}


def frame_labels(values: NDArray[Any], rule: Arrays, file: str) -> tuple[str, ...]:
    """The label of every frame: a class name, or one mark (1, 0 or ?) for each of the rule's findings.

    `values` is one value per frame, [N], [N 1] or [N 1 1 1], or [N F] for F findings. Raises ConfigError for another
    shape and for a value that the recipe does not explain.
    """
    width = max(len(rule.findings), 1)
    if values.ndim < 1 or values.size != len(values) * width:
        raise ConfigError(
            "an array of labels has another shape",
            where={"file": file},
            expected=f"{width} value(s) per frame",
            found=" x ".join(map(str, values.shape)),
            next_step="name its columns in `findings`" if width == 1 else "",
        )
    known = _MARKS if rule.findings else rule.names
    texts = [[_text(value) for value in row] for row in values.reshape(-1, width).tolist()]
    unknown = sorted({text for row in texts for text in row} - set(known)) if known else []
    if unknown:
        raise ConfigError(
            "a label has a value that the recipe does not explain",
            where={"file": file},
            expected=", ".join(known),
            found=unknown[0],
        )
    return tuple("".join(known.get(text, text) for text in row) for row in texts)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float | bool) and float(value).is_integer() else str(value)


def read_array(found: FoundFile, member: str) -> NDArray[Any]:
    """The array `member` of a file ("" for a plain NPY); raises ConfigError when it is not there, or holds objects."""
    where = {"file": found.file, "array": member or "(the file)"}
    try:
        if Path(found.view).suffix.lower() in _HDF5:
            return _read_hdf5(found.raw.path, member)
        with open_raw(RawFile(found.raw.path, member or found.raw.member), Bounds(max_bytes=MAX_LABEL_BYTES)) as stream:
            return np.load(io.BytesIO(stream.read(MAX_LABEL_BYTES)), allow_pickle=False)
    except RejectedInput as rejected:
        raise ConfigError("an array of labels cannot be read", where=where, found=rejected.detail) from None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ConfigError("an array of labels cannot be read", where=where, found=type(error).__name__) from None


def _read_hdf5(path: Path, member: str) -> NDArray[Any]:
    try:
        import h5py  # type: ignore[import-not-found]
    except ImportError:
        raise missing_extra("hdf5", "an array of labels in HDF5") from None
    with h5py.File(path, "r") as file:
        dataset = file[member]
        if not isinstance(dataset, h5py.Dataset) or dataset.nbytes > MAX_LABEL_BYTES:
            raise ValueError("not an array of labels")
        return np.asarray(dataset[()])
