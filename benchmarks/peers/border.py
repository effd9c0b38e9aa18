"""What a file of this folder must hold to take part, and the names of all that do.

A peer is a module `peers/<name>.py` that imports its library at the top and defines

- `TITLE`: its name in the tables;
- `REQUIREMENTS`: exact pins, as pip takes them; empty when the project's own environment has all it needs;
- `SUPPORTS`: what it can do, of the words in FEATURES;
- `prepare(images, out)`: turn the folder of images into the peer's own format below `out`, the JPEG bytes untouched.
  `images` holds `<modality>-<number>.jpg`; a sample's key is the name without `.jpg`, its modality what stands before
  the dash;
- `open(out, asked)`: a `Source`, opened as the `Opening` says; what it cannot do raises NotImplementedError.

It decodes with `peers.decoding`, unless its title says "own decode".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

PEERS = (
    "ours",
    "webdataset",
    "files",
    "files_pil",
    "torchdata_nodes",
    "grain",
    "dali",
    "mosaicml",
    "litdata",
    "energon",
    "spdl",
)
"""Modules of contestants. `limit` and `cached`, measured beside them, are no loaders; `ours_scaled` and `ours_remote`
are ours under other conditions."""

FEATURES = frozenset({"threads", "processes", "ranks", "state", "mix", "endless", "own decode"})
"""threads, processes: what `workers` counts. ranks: `rank` and `num_ranks` are obeyed. state: it can go on from
`state()`. mix: with `mix=True` every modality is drawn equally often by its own mixing. endless: epoch follows epoch
without an end; a source without it ends with its epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a loader is to be opened, for one rank: batches of `batch` images, larger ones reduced to `side_px`.

    `workers` are threads or processes, as the peer SUPPORTS; `state` is what its `state()` gave; with `mix` every
    modality is drawn equally often.
    """

    batch: int
    workers: int
    seed: int
    side_px: int
    rank: int = 0
    num_ranks: int = 1
    state: Any = None
    shuffle: bool = True
    mix: bool = False


@runtime_checkable
class Source(Protocol):
    """An opened loader of one rank."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Batches: pixels as one uint8 array [B, S, S, 3] or [B, 3, S, S], and the keys of their samples, in order.

        A third part may say the (height, width) that each image fills of its canvas.
        """
        ...

    def state(self) -> Any:
        """What `open` needs, as JSON, to go on after the last batch taken; raises NotImplementedError without it."""
        ...

    def close(self) -> None:
        """Stop all workers and wait for them; safe to call twice."""
        ...


class Peer(Protocol):
    """A peer's module, for the type checker."""

    TITLE: str
    REQUIREMENTS: tuple[str, ...]
    SUPPORTS: frozenset[str]

    @staticmethod
    def prepare(images: Path, out: Path) -> None:
        """Convert the images; `out` is a new folder."""
        ...

    @staticmethod
    def open(out: Path, asked: Opening) -> Source:
        """Open the loader of one rank."""
        ...


def keyed_images(images: Path) -> list[tuple[str, Path]]:
    """(key, file) of every image of the folder, sorted by key."""
    return [(path.stem, path) for path in sorted(images.glob("*.jpg"))]


def link_images(images: Path, out: Path) -> None:
    """`prepare` of a peer that reads plain files: nothing to convert, the files are linked."""
    out.mkdir(parents=True)
    for _, path in keyed_images(images):
        (out / path.name).hardlink_to(path)
