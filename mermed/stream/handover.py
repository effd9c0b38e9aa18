"""Hand-over: canvases to the GPU on a stream of their own, one batch ahead of the step that uses them.

A page-locked buffer must not be written again while it is still being copied from, and memory on the device must not be
given away while a kernel still reads it. Both orders are kept here: the ring's next batch is asked for only once the
copy out of the one before has ended, and the copy is tied to the stream that computes with it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mermed.batch import CanvasBatch
from mermed.stream.meters.timeline import StallMeter
from mermed.stream.meters.watch import Watch


@runtime_checkable
class Copy(Protocol):
    """One copy to a device that may still be under way."""

    def wait(self) -> None:
        """Return once the host memory that was copied from may be written again."""
        ...

    def take(self) -> Tensor:
        """The copy, safe to use in kernels started from now on."""
        ...


@runtime_checkable
class Copier(Protocol):
    """Starts copies to a device."""

    def start(self, pixels: Tensor) -> Copy:
        """Begin to copy and return at once."""
        ...


class CudaCopier:
    """Copies from page-locked memory on a side stream, beside the kernels of the step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, pixels: Tensor) -> Copy:
        """Begin to copy on the side stream."""
        with torch.cuda.stream(self._stream):
            copied = pixels.to(self._device, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self._stream)
        return _CudaCopy(copied, done)


class _CudaCopy:
    def __init__(self, copied: Tensor, done: torch.cuda.Event) -> None:
        self._copied = copied
        self._done = done

    def wait(self) -> None:
        self._done.synchronize()

    def take(self) -> Tensor:
        compute = torch.cuda.current_stream(self._copied.device)
        compute.wait_event(self._done)
        # The allocator of the side stream must not reuse this memory before the step's kernels are through with it.
        self._copied.record_stream(compute)
        return self._copied


class Handover:
    """Yields each batch of `canvases` with its pixels on the copier's device, the next copy already under way.

    Sizes, modalities and slots stay on the host, where the views are drawn. What it waits for a copy to end is added to
    `stalls`: it is the consumer that waits.
    """

    def __init__(
        self,
        canvases: Iterator[CanvasBatch],
        copier: Copier,
        watch: Watch | None = None,
        stalls: StallMeter | None = None,
    ) -> None:
        self._canvases = canvases
        self._copier = copier
        self._watch = watch or Watch()
        self._stalls = stalls or StallMeter()
        self._under_way: tuple[CanvasBatch, Copy] | None = None
        self._last: Copy | None = None
        self._started = False

    def __iter__(self) -> "Handover":
        return self

    def __next__(self) -> CanvasBatch:
        if not self._started:
            self._started = True
            self._under_way = self._start_next()
        if self._under_way is None:
            raise StopIteration
        batch, copy = self._under_way
        pixels = copy.take()
        self._under_way = self._start_next()
        return replace(batch, pixels=pixels)

    def _start_next(self) -> tuple[CanvasBatch, Copy] | None:
        """Ask for a batch, which frees the buffer of the last one, and begin to copy it."""
        if self._last is not None:
            with self._watch.lap() as spent_s, self._watch.timing("copy"):
                self._last.wait()
            self._stalls.add(spent_s)
        batch = next(self._canvases, None)
        if batch is None:
            return None
        # The sizes lie in the ring too, and it is written again before this batch is used.
        batch = replace(batch, size_px=batch.size_px.clone())
        self._last = self._copier.start(batch.pixels)
        return batch, self._last
