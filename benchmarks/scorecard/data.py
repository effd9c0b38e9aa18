"""The image sets of the scorecard: tiny JPEGs with telling keys, converted once to the format of each loader."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from peers.images import COLOUR, MODALITIES, picture

from mermed.pack.pixels.encode import encode_image
from scorecard.crew import Crew

SIDE_PX = 32
CORRUPT = "oct-000072"
PREPARE_S = 240.0


@dataclass(frozen=True, slots=True)
class Set:
    """Sources with equal numbers of images; the image `CORRUPT` of a set with `corrupt` cannot be decoded."""

    sources: tuple[str, ...]
    each: int
    corrupt: bool = False

    @property
    def samples(self) -> int:
        """Images in all."""
        return len(self.sources) * self.each


SMALL = Set(MODALITIES, 144)
DAMAGED = Set(MODALITIES, 144, corrupt=True)
PRIME = Set(("cfp",), 1009)
LARGE = Set(MODALITIES, 1440)
MEDIUM = Set(MODALITIES, 576)


class Sets:
    """Makes sets below `folder` when they are first asked for, and converts them for a loader."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole: set[Path] = set()

    def of(self, wanted: Set, crew: Crew) -> str:
        """Where `crew`'s loader finds the set in its own format; raises PeerFailed when it cannot be converted."""
        name = f"{len(wanted.sources)}x{wanted.each}{'-corrupt' if wanted.corrupt else ''}"
        images = self._folder / "images" / name
        if not images.is_dir():
            write_set(wanted, images)
        out = self._folder / crew.name / name
        if out not in self._whole:
            # what a field left that ran out of time would fail the next one
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(exist_ok=True)
            crew.ask("prepare_set", images=str(images), out=str(out), limit_s=PREPARE_S)
            self._whole.add(out)
        return str(out)

    def forget(self, crew: Crew) -> None:
        """Delete what was converted for a loader."""
        shutil.rmtree(self._folder / crew.name, ignore_errors=True)
        self._whole = {out for out in self._whole if out.parent.name != crew.name}


def write_set(wanted: Set, folder: Path) -> None:
    """All images of a source are one picture: only their keys matter here."""
    folder.mkdir(parents=True)
    for place, source in enumerate(wanted.sources):
        encoded, extension = encode_image(picture(SIDE_PX, source in COLOUR, place), "jpeg")
        for number in range(wanted.each):
            path = folder / f"{source}-{number:06d}.{extension}"
            damaged = wanted.corrupt and path.stem == CORRUPT
            path.write_bytes(damage(encoded) if damaged else encoded)


def damage(encoded: bytes) -> bytes:
    """A JPEG of the same length whose header can be read and whose pixels cannot: zeros from the scan to the end."""
    scan = encoded.index(b"\xff\xda") + 16
    return encoded[:scan] + bytes(len(encoded) - scan)
