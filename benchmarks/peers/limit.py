"""The limit: libjpeg-turbo alone, from memory, whole batches split over threads beforehand, into buffers made once."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from peers.border import Opening, keyed_images, link_images
from peers.decoding import decode_into

TITLE = "limit (decoder alone)"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "endless"})
prepare = link_images


class LimitSource:
    """Thread t decodes the batches t, t + threads, ... into two buffers in turn; a quick consumer never halts it."""

    def __init__(self, images: list[tuple[str, bytes]], *, batch: int, workers: int, side_px: int) -> None:
        self._images = images
        self._batch = batch
        self._stop = threading.Event()
        self._done: list[queue.SimpleQueue[tuple[np.ndarray, list[str]]]] = []
        self._free: list[queue.SimpleQueue[np.ndarray | None]] = []
        for _ in range(workers):
            self._done.append(queue.SimpleQueue())
            self._free.append(queue.SimpleQueue())
            for _ in range(2):
                self._free[-1].put(np.empty((batch, side_px, side_px, 3), np.uint8))
        self._threads = [threading.Thread(target=self._decode, args=(part,), daemon=True) for part in range(workers)]

    def _decode(self, part: int) -> None:
        number = part
        while (buffer := self._free[part].get()) is not None and not self._stop.is_set():
            keys = []
            for row in range(self._batch):
                if self._stop.is_set():
                    return
                key, image = self._images[(number * self._batch + row) % len(self._images)]
                decode_into(image, buffer[row])
                keys.append(key)
            self._done[part].put((buffer, keys))
            number += len(self._done)

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        for thread in self._threads:
            thread.start()
        while True:
            for done, free in zip(self._done, self._free, strict=True):
                buffer, keys = done.get()
                yield buffer, keys
                free.put(buffer)

    def state(self) -> Any:
        raise NotImplementedError("the limit is no loader")

    def close(self) -> None:
        self._stop.set()
        for free, thread in zip(self._free, self._threads, strict=True):
            free.put(None)
            if thread.ident is not None:
                thread.join()


def open(out: Path, asked: Opening) -> LimitSource:
    """All images in memory, in a random order; `side_px` must be the side of the stored images."""
    images = [(key, path.read_bytes()) for key, path in keyed_images(out)]
    order = np.random.default_rng(asked.seed).permutation(len(images)) if asked.shuffle else range(len(images))
    return LimitSource(
        [images[index] for index in order], batch=asked.batch, workers=asked.workers, side_px=asked.side_px
    )
