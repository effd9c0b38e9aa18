"""Our tar shards as a plain list, for peers that bring threads and order but no format: the leanest reader we know."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mermed import tar
from mermed.contract import load_manifest
from peers.decoding import decode, decode_into


class IndexedShards:
    """Samples by number, read with one `pread` each and nothing checked; safe in threads."""

    def __init__(self, out: Path) -> None:
        self._spans: list[tuple[int, int, int]] = []
        self.keys: list[str] = []
        self._files: list[int] = []
        for row in load_manifest(out).shards:
            self._files.append(os.open(out / row.name, os.O_RDONLY))
            for span in tar.parse_index((out / row.index_name).read_text("utf-8"), row.name):
                self._spans.append((self._files[-1], span.image.offset, span.image.size))
                self.keys.append(span.key)

    def __len__(self) -> int:
        return len(self._spans)

    def by_modality(self) -> dict[str, list[int]]:
        """The numbers of each modality's samples."""
        numbers: dict[str, list[int]] = {}
        for number, key in enumerate(self.keys):
            numbers.setdefault(key.partition("-")[0], []).append(number)
        return numbers

    def read(self, number: int) -> bytes:
        """The JPEG bytes of one sample."""
        file, offset, size = self._spans[number]
        return os.pread(file, size, offset)

    def load(self, numbers: Sequence[int], side_px: int) -> tuple[np.ndarray, list[str]]:
        """A batch decoded into one new array [B, S, S, 3]."""
        pixels = np.empty((len(numbers), side_px, side_px, 3), np.uint8)
        for row, number in enumerate(numbers):
            load_into(self.read(number), pixels[row])
        return pixels, [self.keys[number] for number in numbers]

    def close(self) -> None:
        """Close the shards; safe to call twice."""
        while self._files:
            os.close(self._files.pop())


def load_into(encoded: bytes, canvas: np.ndarray) -> None:
    """Decode into `canvas`; an image that is larger is decoded apart and reduced to it."""
    try:
        decode_into(encoded, canvas)
    except ValueError:
        canvas[:] = decode(encoded, canvas.shape[0])
