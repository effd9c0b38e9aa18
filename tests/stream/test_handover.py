"""The hand-over to a device: no buffer is written while it is copied from, whatever the copy's speed."""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from mermed.batch import CanvasBatch, Position
from mermed.stream.handover import CudaCopier, Handover
from mermed.stream.meters.timeline import StallMeter
from mermed.stream.meters.watch import Watch


class Ring:
    """A decoder in small: two buffers, each written anew when the batch after the next is asked for."""

    def __init__(self, batches):
        self.buffers = [torch.zeros((2, 3, 4, 4), dtype=torch.uint8) for _ in range(2)]
        self.sizes = [torch.zeros((2, 2), dtype=torch.int32) for _ in range(2)]
        self.batches, self.asked = batches, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.asked == self.batches:
            raise StopIteration
        number, self.asked = self.asked, self.asked + 1
        self.buffers[number % 2].fill_(number + 1)
        self.sizes[number % 2].fill_(number + 1)
        return CanvasBatch(
            pixels=self.buffers[number % 2],
            size_px=self.sizes[number % 2],
            modality=torch.zeros(2, dtype=torch.int64),
            slot=np.arange(2) + 2 * number,
            meta=(),
            position=Position(2 * number + 2),
        )


class LateCopier:
    """A device so slow that nothing is copied before someone waits for it or uses it."""

    def __init__(self, log):
        self.log = log

    def start(self, pixels):
        self.log.append("start")
        return LateCopy(pixels, self.log)


class LateCopy:
    def __init__(self, pixels, log):
        self.pixels, self.log, self.copied = pixels, log, None

    def wait(self):
        self.log.append("wait")
        if self.copied is None:
            self.copied = self.pixels.clone()

    def take(self):
        self.log.append("take")
        return LateTensor(self)


class LateTensor:
    """What a kernel would read, looked up when it runs."""

    def __init__(self, copy):
        self.copy = copy

    def value(self):
        return int((self.copy.copied if self.copy.copied is not None else self.copy.pixels).unique())


@pytest.fixture
def untyped(monkeypatch):
    """`replace` without the batch's type check: a late tensor stands in for one on a device."""
    from mermed.stream import handover

    def put(batch, **changes):
        for name, value in changes.items():
            object.__setattr__(batch, name, value)
        return batch

    monkeypatch.setattr(handover, "replace", put)


def test_every_batch_arrives_whole_however_late_its_copy_ends(untyped):
    log = []
    met = [
        (batch.pixels.value(), int(batch.size_px.unique()), batch.position.slots)
        for batch in Handover(Ring(6), LateCopier(log))
    ]
    assert met == [(n, n, 2 * n) for n in range(1, 7)]


def test_a_buffer_is_asked_for_again_only_after_the_copy_from_the_one_before_has_ended(untyped):
    log = []
    list(Handover(Ring(4), LateCopier(log)))
    starts = [place for place, what in enumerate(log) if what == "start"]
    assert len(starts) == 4
    for former, latter in pairwise(starts):
        assert "wait" in log[former:latter]


def test_the_next_copy_is_under_way_before_a_batch_is_used(untyped):
    log = []
    handover = Handover(Ring(3), LateCopier(log))
    next(handover)
    assert log.count("start") == 2


def test_no_batches_are_no_batches():
    assert list(Handover(Ring(0), LateCopier([]))) == []


def test_the_wait_for_a_copy_is_counted_as_copy(untyped):
    watch = Watch()
    list(Handover(Ring(3), LateCopier([]), watch))
    assert "copy" in watch.seconds()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_pixels_are_those_of_the_ring():
    ring = Ring(8)
    ring.buffers = [buffer.pin_memory() for buffer in ring.buffers]
    device = torch.device("cuda")
    for number, batch in enumerate(Handover(ring, CudaCopier(device)), start=1):
        torch.cuda._sleep(10_000_000)
        assert batch.pixels.device.type == "cuda"
        assert batch.pixels.unique().tolist() == [number]


def test_a_wait_for_a_copy_is_a_stall_of_the_trainer(untyped):
    class SlowCopy(LateCopy):
        def wait(self):
            time.sleep(0.05)
            super().wait()

    class SlowCopier(LateCopier):
        def start(self, pixels):
            return SlowCopy(pixels, self.log)

    stalls, watch = StallMeter(), Watch()
    assert len(list(Handover(Ring(4), SlowCopier([]), watch, stalls))) == 4
    stalled_s = stalls.read()
    assert set(stalled_s) == {"copy"}
    assert stalled_s["copy"] == pytest.approx(watch.seconds()["copy"])
    assert stalled_s["copy"] >= 3 * 0.05
