"""The limit: libjpeg-turbo alone, from memory, whole batches split over threads beforehand, into buffers made once."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from peers import files
from peers.border import keyed_images
from peers.decoding import decode_into

TITLE = "limit (decoder alone)"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "endless"})
prepare = files.prepare


class LimitSource:
    """Thread t decodes the batches t, t + threads, ... one after the other and waits for nobody."""

    def __init__(self, images: list[tuple[str, bytes]], *, batch: int, workers: int, side_px: int) -> None:
        self._images = images
        self._batch = batch
        self._buffers = [np.empty((batch, side_px, side_px, 3), np.uint8) for _ in range(workers)]
        self._done: list[queue.SimpleQueue[list[str]]] = [queue.SimpleQueue() for _ in range(workers)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._decode, args=(part,), daemon=True) for part in range(workers)]

    def _decode(self, part: int) -> None:
        buffer, number = self._buffers[part], part
        while not self._stop.is_set():
            keys = []
            for row in range(self._batch):
                key, image = self._images[(number * self._batch + row) % len(self._images)]
                decode_into(image, buffer[row])
                keys.append(key)
            self._done[part].put(keys)
            number += len(self._buffers)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        for thread in self._threads:
            thread.start()
        while True:
            for buffer, done in zip(self._buffers, self._done, strict=True):
                yield buffer, done.get()

    def state(self) -> Any:
        raise NotImplementedError("the limit is no loader")

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()


def open(
    out: Path,
    *,
    batch: int,
    workers: int,
    seed: int,
    side_px: int,
    rank: int = 0,
    num_ranks: int = 1,
    state: Any = None,
    shuffle: bool = True,
    mix: bool = False,
) -> LimitSource:
    """All images in memory, in a random order; `side_px` must be the side of the stored images."""
    images = [(key, path.read_bytes()) for key, path in keyed_images(out)]
    order = np.random.default_rng(seed).permutation(len(images)) if shuffle else range(len(images))
    return LimitSource([images[index] for index in order], batch=batch, workers=workers, side_px=side_px)
