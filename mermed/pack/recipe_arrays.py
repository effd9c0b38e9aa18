"""Recipe arrays: images kept as the frames of one array (NPZ, NPY, HDF5), and the class of every frame."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mermed.errors import ConfigError, missing_extra
from mermed.pack.archive import open_raw
from mermed.pack.listing import ListedImage
from mermed.pack.raw import Bounds, RawFile, RejectedInput
from mermed.pack.recipe import Arrays, Recipe
from mermed.pack.recipe_split import SplitRule
from mermed.pack.recipe_text import Template, compile_globs, compile_regex, find_fields
from mermed.pack.recipe_walk import FoundFile, base_fields

_HDF5 = (".h5", ".hdf5", ".hdf")
MAX_LABEL_BYTES = 2**30


def list_arrays(recipe: Recipe, files: tuple[FoundFile, ...]) -> tuple[list[ListedImage], set[str]]:
    """One listed container per array of images, with the class of each frame, and the names of all files used.

    Reads the arrays of labels, not those of images. Raises ConfigError for labels that are not there or that no
    recipe explains, EnvironmentError_ when HDF5 labels need an extra that is not installed.
    """
    by_view = {found.view: found for found in files}
    images: list[ListedImage] = []
    used: set[str] = set()
    for number, rule in enumerate(recipe.arrays, 1):
        try:
            glob, path = compile_globs(rule.file), [compile_regex(pattern) for pattern in rule.path]
            for found in files:
                if glob.fullmatch(found.view) and not found.raw.member:
                    images.append(_container(recipe, rule, path, found, by_view, used))
        except ConfigError as error:
            error.add_place(array=number)
            raise
    return images, used


def _container(
    recipe: Recipe, rule: Arrays, path: list[Any], found: FoundFile, by_view: dict[str, FoundFile], used: set[str]
) -> ListedImage:
    fields = {**(find_fields(path, found.view) or {}), **base_fields(found.view)}
    used.add(found.file)
    labels: tuple[str, ...] = ()
    if rule.labels or rule.labels_file:
        view = Template(rule.labels_file).fill(fields) if rule.labels_file else found.view
        if view not in by_view:
            raise ConfigError("the file of an array's labels is not there", where={"file": found.file}, expected=view)
        used.add(by_view[view].file)
        labels = _names(read_array(by_view[view], rule.labels), rule, by_view[view].file)
    file = f"{found.file}/{rule.images}" if rule.images else found.file
    return ListedImage(
        modality=recipe.modality,
        dataset=recipe.name,
        file=file,
        place=f"{recipe.name}/{file}",
        path=found.raw.path,
        member=rule.images,
        split=SplitRule(recipe.split).named(Template(rule.split).fill(fields)),
        licence=recipe.card.licence[:80],
        namespace=recipe.namespace or recipe.name,
        treatment=recipe.treatment,
        frame_labels=labels,
    )


def _names(values: NDArray[Any], rule: Arrays, file: str) -> tuple[str, ...]:
    """The class name of every frame: one value per frame, of any shape [N], [N 1] or [N 1 1 1]."""
    flat = values.reshape(len(values), -1)
    if flat.shape[1] != 1:
        raise ConfigError("an array of labels has several values per frame", where={"file": file}, found=values.shape)
    texts = [_text(value) for value in flat[:, 0].tolist()]
    unknown = sorted(set(texts) - set(rule.names)) if rule.names else []
    if unknown:
        raise ConfigError(
            "a label has a value that the recipe does not explain",
            where={"file": file},
            expected=", ".join(rule.names),
            found=unknown[0],
        )
    return tuple(rule.names.get(text, text) for text in texts)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
