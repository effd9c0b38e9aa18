"""HDF5: images of one dataset of an HDF5 file, such as PatchCamelyon's, block by block. Needs the extra 'hdf5'."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mermed.errors import missing_extra
from mermed.pack.readers.array_layout import ArrayLayout
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedInput
from mermed.pack.readers.sniff import sniff
from mermed.pack.treatment import Treatment

try:
    import h5py
except ImportError:
    raise missing_extra("hdf5", "reading HDF5 files") from None

_USUAL_NAMES = ("x", "images")
_BLOCK_BYTES = 2**26
"""Most bytes read at a time; as many whole rows of chunks as fit, so that no chunk is unfolded twice."""


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The images of one dataset: the one that `file.member` names, else `x`, `images` or the only one.

    Every row is an image of its own, so all are taken, whatever the sampling. See `mermed.pack.readers.reading`.
    """
    if sniff(file.path) != "hdf5":
        raise RejectedInput("needs_file", "an HDF5 file cannot be read inside an archive; unpack it")
    with h5py.File(file.path, "r") as opened:
        dataset = _find(opened, file.member)
        layout = ArrayLayout.of(tuple(dataset.shape), dataset.dtype, bounds, treatment.bits)
        block = _rows_per_block(dataset, layout, bounds)
        name = str(dataset.name)
    return Frames(_images(file.path, name, layout, block), layout.total)


def _find(opened: Any, member: str) -> Any:
    """The dataset of that name, reached over plain groups of this very file; raises RejectedInput."""
    item: Any = opened
    for part in [part for part in (member or _usual_name(opened)).split("/") if part]:
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise RejectedInput("missing", "the file holds no dataset of that name")
        if not isinstance(link, h5py.HardLink):
            raise RejectedInput("path_escape", "the dataset is a link; only what lies in the file itself is read")
        item = item[part]
    if not isinstance(item, h5py.Dataset):
        raise RejectedInput("missing", "the name is that of a group, not of a dataset")
    if item.external or item.is_virtual:
        raise RejectedInput("path_escape", "the values of the dataset lie in other files")
    return item


def _usual_name(opened: Any) -> str:
    names = [name for name in opened if isinstance(opened.get(name, getlink=True), h5py.HardLink)]
    names = [name for name in names if isinstance(opened[name], h5py.Dataset)]
    usual = next((name for name in _USUAL_NAMES if name in names), None)
    if usual is None and len(names) != 1:
        raise RejectedInput(
            "not_an_image", f"{len(names)} datasets, none of a usual name; a recipe names the one to read"
        )
    return usual or names[0]


def _rows_per_block(dataset: Any, layout: ArrayLayout, bounds: Bounds) -> int:
    """Rows that are read together: whole chunks; raises RejectedInput for chunks beyond the bounds."""
    if layout.count is None or dataset.chunks is None:
        return max(1, _BLOCK_BYTES // max(1, layout.frame_bytes)) if layout.count else 1
    if np.prod(dataset.chunks, dtype=np.float64) * dataset.dtype.itemsize > bounds.max_bytes:
        raise RejectedInput("limits", f"chunks of more than {bounds.max_bytes} bytes")
    rows = int(dataset.chunks[0])
    return rows * max(1, _BLOCK_BYTES // max(1, rows * layout.frame_bytes))


def _images(path: Path, name: str, layout: ArrayLayout, block: int) -> Iterator[RawImage]:
    with h5py.File(path, "r") as opened:
        dataset: Any = opened[name]
        if layout.count is None:
            yield layout.image(dataset[()], 0)
            return
        for start in range(0, layout.count, block):
            for offset, row in enumerate(dataset[start : start + block]):
                yield layout.image(row, start + offset)
