"""DALI on the CPU: its file reader with its shuffle, its own decoder and threads."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from peers.border import Opening, keyed_images, link_images

TITLE = "DALI CPU, own decode"
REQUIREMENTS = ("nvidia-dali-cuda130==2.4.0",)
SUPPORTS = frozenset({"threads", "ranks", "state", "endless", "own decode"})
prepare = link_images


class DaliSource:
    """A pipeline as a Source; pixels are a view of its output buffers, which it uses again."""

    def __init__(self, pipeline: Any, keys: list[str], side_px: int) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._side_px = side_px

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        while True:
            decoded, numbers = self._pipeline.run()
            pixels = np.asarray(decoded.as_tensor())
            if pixels.shape[1:] != (self._side_px, self._side_px, 3):
                raise NotImplementedError("this pipeline decodes, it does not resize")
            yield pixels, [self._keys[number] for number in np.asarray(numbers.as_tensor()).ravel()]

    def state(self) -> Any:
        """The serialised checkpoint, which is not text."""
        return base64.b64encode(self._pipeline.checkpoint()).decode()

    def close(self) -> None:
        """The pipeline stops its threads when it goes."""
        self._pipeline = None


@pipeline_def
def decoding(paths: list[str], shuffle: bool, rank: int, num_ranks: int) -> Any:
    """Files of this rank's part, through a shuffle buffer, decoded."""
    encoded, numbers = fn.readers.file(
        files=paths,
        labels=list(range(len(paths))),
        random_shuffle=shuffle,
        shard_id=rank,
        num_shards=num_ranks,
        name="reader",
    )
    return fn.decoders.image(encoded, device="cpu", output_type=types.RGB), numbers


def open(out: Path, asked: Opening) -> DaliSource:
    """Endless batches of images that have the size of the canvas."""
    if asked.mix:
        raise NotImplementedError("DALI mixes no sources")
    images = keyed_images(out)
    pipeline = decoding(
        paths=[str(path) for _, path in images],
        shuffle=asked.shuffle,
        rank=asked.rank,
        num_ranks=asked.num_ranks,
        batch_size=asked.batch,
        num_threads=asked.workers,
        device_id=None,
        seed=asked.seed,
        enable_checkpointing=True,
        checkpoint=None if asked.state is None else base64.b64decode(asked.state),
    )
    pipeline.build()
    return DaliSource(pipeline, [key for key, _ in images], asked.side_px)
