"""Scan guess: what folder names, file names, tables and a few pixels say about images that no recipe knows."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from mermed.errors import EnvironmentError_
from mermed.pack.readers.raw import Bounds, RawImage, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.recipes.walk import FoundFile, base_fields
from mermed.pack.treatment import Treatment

IMAGE_SUFFIXES = (
    "png jpg jpeg jfif tif tiff bmp gif webp jp2 dcm dicom dic ima nii nii.gz avi mp4 mov mkv wmv mpg mpeg "
    "svs ndpi mrxs scn vms"
).split()
SPLIT_WORDS = {
    "train": "train", "training": "train", "tr": "train", "val": "val", "valid": "val", "validation": "val",
    "validate": "val", "dev": "val", "test": "test", "testing": "test", "ts": "test",
}  # fmt: skip
_MODALITY_WORDS = {
    "cxr": r"cxr|chest|x-?rays?|xray|thorax|radiograph|pneumonia|tubercul\w*|dx|cr",
    "ct": r"ct|hu|tomograph\w*|hounsfield|hrct|cect|ncct",
    "us": r"us|ultrasound|sono\w*|echo\w*|bus\w?|doppler|fetal|pocus",
    "path": r"path|histo\w*|patholog\w*|slides?|wsi|svs|h&?e|tissue|biopsy|mitos\w*|tcga|patch\w*",
    "cfp": r"cfp|fundus|retina\w*|retino\w*|glaucoma|macula\w*|optic|drusen",
    "oct": r"oct\d*|b-?scans?|tomogram",
    "derm": r"derm\w*|skin|lesions?|melanoma|nev\w+|isic|mole",
}
_SUFFIX_MODALITY = {"svs": "path", "ndpi": "path", "mrxs": "path", "scn": "path", "nii": "ct", "nii.gz": "ct"}
_MASK_WORDS = re.compile(
    r"(?:^|[^a-z])(?:masks?|seg|segmentations?|gt|ground ?truth|annotations?|labels?tr|contours?|overlay)(?:[^a-z]|$)"
)
_PATIENT = re.compile(r"(?i)(?P<path_patient>(?:patient|subject|person|pat|subj|sub|case|pid)[-_ ]?\d+)")
_GENERIC = set(
    "images image img imgs videos video data dataset png jpg jpeg dicom raw original part parts batch chunk "
    "subset folder fold p s series study vol volume scan".split()
)
PIXEL_FILES = 4
"""Files opened per folder, to see whether they are masks."""


@dataclass(frozen=True, slots=True)
class FolderGuess:
    """What the paths of images say: patterns, tried in order, with groups that no column of a table is called by."""

    patterns: tuple[str, ...] = ()
    splits: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    has_patient: bool = False


def is_image(found: FoundFile) -> bool:
    """True when the file's suffix is one of an image, volume, slide or video."""
    return base_fields(found.view)["suffix"].lower() in IMAGE_SUFFIXES or base_fields(found.view)["suffix"] == ""


def guess_modality(views: Iterable[str], extra: str = "") -> str:
    """The modality that most words of the paths speak for, "" when none does; `extra` is text beside the paths."""
    counts: Counter[str] = Counter()
    for view in views:
        suffix = base_fields(view)["suffix"].lower()
        counts[_SUFFIX_MODALITY.get(suffix, "")] += 3 * (suffix in _SUFFIX_MODALITY)
        words = set(re.split(r"[^a-z0-9&-]+", f"{extra} {view}".lower().replace("_", " ")))
        for modality, pattern in _MODALITY_WORDS.items():
            counts[modality] += any(re.fullmatch(pattern, word.strip("0123456789")) for word in words)
    best = counts.most_common(1)
    return best[0][0] if best and best[0][1] > 0 else ""


def guess_masks(images: Sequence[FoundFile]) -> list[tuple[str, str]]:
    """Globs of files that look like masks, each with why: by their names, or because a few have at most 2 values."""
    by_name = sorted(
        {_mask_glob(found.view) for found in images if _MASK_WORDS.search(found.view.lower().replace("_", " "))}
    )
    named = [(glob, "name") for glob in by_name]
    left = [found for found in images if not _MASK_WORDS.search(found.view.lower().replace("_", " "))]
    folders: dict[str, list[FoundFile]] = defaultdict(list)
    for found in left:
        folders[base_fields(found.view)["dir"]].append(found)
    flat = sorted(folder for folder, files in folders.items() if folder and _are_masks(files))
    return [*named, *((f"{_escape(folder)}/*", "values") for folder in flat)]


def _mask_glob(view: str) -> str:
    """The glob for a file whose path has a mask's word: its folder, or names of its kind anywhere."""
    directory, _, name = view.rpartition("/")
    if _MASK_WORDS.search(directory.lower().replace("_", " ")):
        parts = directory.split("/")
        last = max(n for n, part in enumerate(parts) if _MASK_WORDS.search(part.lower().replace("_", " ")))
        return _escape("/".join(parts[: last + 1])) + "/**"
    word = _MASK_WORDS.search(name.lower().replace("_", " "))
    assert word is not None
    return f"**/*{_escape(name[word.start() : word.end()].strip('. 0123456789'))}*"


def _are_masks(files: list[FoundFile]) -> bool:
    """True when the first few images of a folder can be read and all have at most two values."""
    values = [_num_values(found) for found in files[:PIXEL_FILES]]
    return bool(values) and all(0 < number <= 2 for number in values)


def _num_values(found: FoundFile) -> int:
    try:
        frames = list(islice(read_frames(found.raw, Bounds(max_pixels=2**26, max_bytes=2**26), Treatment()), 1))
    except (RejectedInput, EnvironmentError_):
        return 0
    return len(np.unique(frames[0].pixels)) if frames and isinstance(frames[0], RawImage) else 0


def guess_folders(views: Sequence[str]) -> FolderGuess:
    """Splits, classes and patients as the paths show them."""
    dirs = [view.split("/")[:-1] for view in views]
    depth = min((len(parts) for parts in dirs), default=0)
    split_level = next((n for n in range(depth) if _are_splits({parts[n] for parts in dirs})), None)
    levels = [n for n in range(depth) if n != split_level and _are_classes([parts[n] for parts in dirs])]
    class_level = levels[-1] if levels else None
    pattern = "^" + "".join(_level(n, split_level, class_level) for n in range(depth))
    patients = {match["path_patient"] for view in views if (match := _PATIENT.search(view))}
    has_patient = sum(bool(_PATIENT.search(view)) for view in views) >= 0.9 * len(views) and len(patients) > 1
    patterns = [] if split_level is None and class_level is None else [pattern]
    if has_patient:
        ahead = f"(?i)^(?=.*?{_PATIENT.pattern.removeprefix('(?i)')})"
        patterns = [ahead + pattern.removeprefix("^") if patterns else ahead, pattern]
    return FolderGuess(
        patterns=tuple(patterns),
        splits={} if split_level is None else {p[split_level]: SPLIT_WORDS[p[split_level].lower()] for p in dirs},
        classes=() if class_level is None else tuple(sorted({parts[class_level] for parts in dirs})),
        has_patient=has_patient,
    )


def _are_splits(names: set[str]) -> bool:
    return all(name.lower() in SPLIT_WORDS for name in names)


def _are_classes(names: list[str]) -> bool:
    """True for a level whose few names each stand above several images, and that are not just names of containers."""
    counts = Counter(names)
    is_generic = all(name.lower().strip("0123456789_- ") in _GENERIC or _PATIENT.search(name) for name in counts)
    return 2 <= len(counts) <= 100 and not is_generic and len(names) >= 2 * len(counts)


def _level(n: int, split_level: int | None, class_level: int | None) -> str:
    group = "(?P<path_split>[^/]+)" if n == split_level else "(?P<path_class>[^/]+)" if n == class_level else "[^/]+"
    return group + "/"


def _escape(text: str) -> str:
    """A path as a glob that matches nothing else."""
    return re.sub(r"[*?\[\]{},]", "?", text)
