"""Phantoms: a small synthetic source folder of seven modalities as real files, a few of them broken on purpose."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mermed.errors import ConfigError
from mermed.keyed import key
from mermed.pack.phantoms.dicom import save_ct, save_cxr
from mermed.pack.phantoms.scenes_colour import draw_cfp, draw_derm, draw_path
from mermed.pack.phantoms.scenes_grey import draw_ct, draw_cxr, draw_oct, draw_us
from mermed.pack.phantoms.strokes import Array, Person, draw_person

IMAGES_PER_PATIENT = (2, 3, 4)
UNLABELLED_SHARE = 0.08
SPLIT_CYCLE = ("train", "val", "test", "train", "train", "train", "train")
"""Splits of the one modality whose table gives them, over rounds of one patient per label."""
_AVI_STUB = b"RIFF\x24\0\0\0AVI LIST\x10\0\0\0hdrlavih" + bytes(16)


@dataclass(frozen=True, slots=True)
class Scene:
    """How one modality is made: what draws it, its labels, its file extension and what saves it."""

    draw: Callable[[np.random.Generator, Person, str], Array]
    labels: tuple[str, ...]
    extension: str
    save: Callable[[Array, Path, int], None]


def _save_8bit(image: Array, path: Path, patient: int) -> None:
    picture = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    if path.suffix == ".jpg":
        picture.save(path, quality=92)
    else:
        picture.save(path)


def _save_png16(image: Array, path: Path, patient: int) -> None:
    """Every other patient's scanner fills only 12 of the 16 bits, as real ones do."""
    top = 65535 if patient % 2 else 4095
    Image.fromarray(np.rint(image * top).astype(np.uint16)).save(path)


SCENES = {
    "cfp": Scene(draw_cfp, ("normal", "glaucoma", "retinopathy"), ".jpg", _save_8bit),
    "ct": Scene(draw_ct, ("normal", "cyst", "metastases"), ".dcm", save_ct),
    "cxr": Scene(draw_cxr, ("normal", "consolidation", "effusion"), ".dcm", save_cxr),
    "derm": Scene(draw_derm, ("nevus", "melanoma", "keratosis"), ".jpg", _save_8bit),
    "oct": Scene(draw_oct, ("normal", "fluid", "drusen"), ".png", _save_png16),
    "path": Scene(draw_path, ("benign", "tumour", "lymphoid"), ".jpg", _save_8bit),
    "us": Scene(draw_us, ("normal", "benign", "malignant"), ".png", _save_8bit),
}


def make_phantoms(out: Path, *, images_per_modality: int = 60, seed: int = 0) -> dict[str, int]:
    """Write the folder `out` (must be empty or absent), ready for `pack`; equal arguments give equal bytes.

    Returns the number of files per modality. `out/salt` is a salt for `pack --salt-file`: synthetic patients have
    nothing to hide, and a fixed salt makes the pack the same everywhere.
    """
    if images_per_modality < 1:
        raise ConfigError("too few images", expected="1 or more per modality", found=images_per_modality)
    if out.exists() and any(out.iterdir()):
        raise ConfigError("the output folder is not empty", where={"folder": out}, next_step="choose another folder")
    for modality, scene in SCENES.items():
        folder = out / modality / f"{modality}_phantoms"
        (folder / "images").mkdir(parents=True)
        rows = _draw_all(folder, modality, scene, images_per_modality, seed)
        rows += _BREAK[modality](folder, rows) if modality in _BREAK else []
        _write_rows(folder / "labels.csv", modality, rows)
    (out / "salt").write_text(f"{key(seed, 'phantom salt'):032x}\n", "ascii")
    return {m: len(list((out / m).rglob("images/*"))) for m in SCENES}


def _draw_all(folder: Path, modality: str, scene: Scene, count: int, seed: int) -> list[dict[str, str]]:
    """Draw `count` images of patients who each have one label, and return their rows."""
    rows: list[dict[str, str]] = []
    patient = 0
    while len(rows) < count:
        rng = np.random.default_rng(key(seed, "phantom patient", modality, patient))
        person, label = draw_person(rng), scene.labels[patient % len(scene.labels)]
        split = SPLIT_CYCLE[patient // len(scene.labels) % len(SPLIT_CYCLE)]
        for _ in range(min(int(rng.choice(IMAGES_PER_PATIENT)), count - len(rows))):
            file = f"images/{modality}_{len(rows):04d}{scene.extension}"
            scene.save(scene.draw(rng, person, label), folder / file, patient)
            is_labelled = rng.uniform() >= UNLABELLED_SHARE
            rows.append(_row(file, label if is_labelled else "", f"{modality}-patient-{patient:04d}", split))
        patient += 1
    return rows


def _row(file: str, label: str, patient: str, split: str) -> dict[str, str]:
    return {"file": file, "label": label, "patient_id": patient, "group_id": patient, "split": split}


def _write_rows(path: Path, modality: str, rows: list[dict[str, str]]) -> None:
    """One labels.csv; the columns differ between modalities as they do between real datasets."""
    columns = {"derm": ("patient_id", "split"), "us": ("group_id",), "path": ("patient_id", "group_id")}
    names = ("file", "label", *columns.get(modality, ("patient_id",)))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer: Any = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _break_path(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """A JPEG that was cut, and a copy of an image under another name."""
    content = (folder / rows[0]["file"]).read_bytes()
    (folder / "images/cut.jpg").write_bytes(content[: len(content) * 6 // 10])
    (folder / "images/copy.jpg").write_bytes(content)
    return [{**rows[0], "file": "images/cut.jpg"}, {**rows[0], "file": "images/copy.jpg"}]


def _break_us(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """An empty file, and the first bytes of a video that was cut there."""
    (folder / "images/empty.png").write_bytes(b"")
    (folder / "images/clip.avi").write_bytes(_AVI_STUB)
    return [{**rows[0], "file": "images/empty.png"}, {**rows[0], "file": "images/clip.avi"}]


def _break_derm(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The error page of a web server saved under an image's name."""
    (folder / "images/page.jpg").write_text("<html><body>404 Not Found</body></html>\n", "ascii")
    return [{**rows[0], "file": "images/page.jpg"}]


def _break_cfp(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """A row whose file was never there."""
    return [{**rows[0], "file": "images/lost.jpg"}]


def _break_oct(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """A file that no row names."""
    (folder / "images/not_in_the_table.png").write_bytes((folder / rows[-1]["file"]).read_bytes())
    return []


_BREAK: dict[str, Callable[[Path, list[dict[str, str]]], list[dict[str, str]]]] = {
    "cfp": _break_cfp,
    "derm": _break_derm,
    "oct": _break_oct,
    "path": _break_path,
    "us": _break_us,
}
