"""Decode with DALI: EncodedBatch to CanvasBatch, fed in our order, on a GPU or on the CPU.

Canvas-sized JPEGs have the pixels that our own decoder gives on a CPU; docs/dali.md says where others differ. JPEGs are
always decoded whole. What DALI does not do is left to ours: 16-bit images, and those that it cannot decode.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace as replaced
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mermed.batch import CanvasBatch, EncodedBatch
from mermed.dali import DaliPipeline, dali, encoded_arrays, last_line, undecodable
from mermed.dali import decoded as decoded_by_dali
from mermed.errors import ConfigError, EnvironmentError_, SampleError
from mermed.stream.buffer import CanvasBuffer
from mermed.stream.content import content_cells
from mermed.stream.crew import Crew
from mermed.stream.decode import Decoded, Decoder, Enough, Needs, Replace, Row
from mermed.stream.header import Header
from mermed.stream.image import fitted
from mermed.stream.meters.watch import Watch

Filler = Callable[[int], Row]


class DaliDecoder(Decoder):
    """A Decoder whose images DALI decodes, a batch at a time, with `num_threads` threads of its own.

    With `device`, the number of a GPU, canvases come on that GPU. Whatever else is as in Decoder; `enough` is looked at
    for images that are left to ours. Raises EnvironmentError_ without the extra, and when DALI fails though it can
    decode each image; ConfigError where `needs` asks for maps of canvases on a GPU.
    """

    def __init__(
        self,
        encoded: Iterator[EncodedBatch],
        *,
        batch: int,
        canvas_px: int,
        num_threads: int = 1,
        crew: Crew | None = None,
        ahead: int = 2,
        pin: bool = False,
        device: int | None = None,
        enough: Enough | None = None,
        needs: Needs | None = None,
        replace: Replace | None = None,
        decoded: Decoded | None = None,
        watch: Watch | None = None,
    ) -> None:
        if device is not None and needs is not None and needs.content:
            raise ConfigError(
                "crops are to be taken by what they show, and canvases that DALI decodes on a GPU are not looked at",
                next_step="--set augment.foreground=false, or --set stream.decoder=threads",
            )
        self._canvas_px = canvas_px
        self._device = device
        self._copies = None if device is None else torch.cuda.Stream(device)
        self._on_device: deque[tuple[Tensor, list[int]]] = deque()
        self._pipeline = DaliPipeline(self._graph, batch=batch, num_threads=num_threads, device=device)
        super().__init__(
            encoded,
            batch=batch,
            canvas_px=canvas_px,
            num_threads=1,
            crew=crew,
            ahead=ahead,
            pin=pin,
            enough=enough,
            needs=needs,
            replace=replace,
            decoded=decoded,
            watch=watch,
        )

    def _graph(self) -> list[Any]:
        fn = dali().fn
        encoded, height_px, width_px = (fn.external_source(name=name) for name in ("encoded", "height_px", "width_px"))
        pixels = decoded_by_dali(encoded, height_px, width_px, self._device)
        return [fn.pad(pixels, axes=[0, 1], shape=[self._canvas_px, self._canvas_px])]

    def _filler(self, buffer: CanvasBuffer, encoded: EncodedBatch, headers: Sequence[Header | SampleError]) -> Filler:
        """Have DALI decode what it can; then only its leavings are left to threads."""
        begin = time.perf_counter()
        rows = [row for row, header in enumerate(headers) if isinstance(header, Header) and "16-bit" not in header.kind]
        canvases, rows = self._decode(encoded, rows)
        self._keep(buffer, canvases, rows, len(encoded))
        end = time.perf_counter()
        begin = end - (end - begin) / max(1, len(rows))
        done: dict[int, Row] = {}
        for row in rows:
            buffer.filled[row] = self._size(encoded, row)
            is_mapped = int(encoded.modality[row]) in self._needs.content
            content = content_cells(buffer.canvases[row], buffer.filled[row], None) if is_mapped else None
            done[row] = Row(encoded.meta[row], buffer.filled[row], begin, end, content=content)
        if len(done) == len(encoded):
            return done.__getitem__
        ours = super()._filler(buffer, encoded, headers)
        return lambda row: done[row] if row in done else ours(row)

    def _decode(self, encoded: EncodedBatch, rows: list[int]) -> tuple[Tensor | None, list[int]]:
        """Canvases of `rows`, less those that DALI cannot decode, and which these are; the memory is DALI's."""
        if not rows:
            return None, []
        try:
            return self._run(encoded, rows), rows
        except RuntimeError as error:
            failed = undecodable([encoded.images[row] for row in rows])
            if not failed:
                raise EnvironmentError_(
                    "DALI failed on images that it can decode one by one",
                    where={"slot": int(encoded.slot[rows[0]])},
                    found=last_line(error),
                    next_step="--set stream.decoder=threads, or a smaller train.batch",
                ) from None
        return self._decode(encoded, [row for place, row in enumerate(rows) if place not in failed])

    def _run(self, encoded: EncodedBatch, rows: list[int]) -> Tensor:
        sizes = np.array([self._size(encoded, row) for row in rows], np.float32)
        images = encoded_arrays([encoded.images[row] for row in rows])
        inputs = {"encoded": images, "height_px": sizes[:, 0].copy(), "width_px": sizes[:, 1].copy()}
        with torch.cuda.stream(self._copies):
            return self._pipeline(inputs)[0]

    def _keep(self, buffer: CanvasBuffer, canvases: Tensor | None, rows: list[int], count: int) -> None:
        """Copy canvases out of DALI's memory: into the buffer, or into memory of the GPU, waited for."""
        if self._copies is None:
            if canvases is not None:
                buffer.pixels[rows] = canvases
            return
        with torch.cuda.stream(self._copies):
            shape = count, self._canvas_px, self._canvas_px, 3
            kept = torch.zeros(shape, dtype=torch.uint8, device=self._copies.device)
            if canvases is not None:
                kept[rows] = canvases
        # it is this thread, which runs ahead, that waits: whoever takes the batch need not
        self._copies.synchronize()
        self._on_device.append((kept, [row for row in range(count) if row not in set(rows)]))

    def _size(self, encoded: EncodedBatch, row: int) -> tuple[int, int]:
        meta = encoded.meta[row]
        return fitted(meta.height, meta.width, self._canvas_px)

    def __next__(self) -> CanvasBatch:
        batch = super().__next__()
        if self._copies is None:
            return batch
        kept, left = self._on_device.popleft()
        # (batch, side, side, 3) -> (batch, 3, side, side), channels still innermost in memory
        pixels = kept.permute(0, 3, 1, 2)
        if left:
            pixels[left] = batch.pixels[left].to(pixels.device)
        return replaced(batch, pixels=pixels)
