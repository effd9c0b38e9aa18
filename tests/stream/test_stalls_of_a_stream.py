"""A real stream with a known delay in one of its parts: the stall it reports is that delay, under the right name."""

import time

import pytest

from mermed.config import MixConfig, StreamConfig
from mermed.contract import load_manifest
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import rank_shares
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore

BATCH, BATCHES = 7, 5


class _SlowStore(LocalStore):
    """A folder whose reads of samples take at least `delay_s`, as the store of a busy node does."""

    def __init__(self, folder, delay_s):
        super().__init__(folder)
        self._delay_s = delay_s

    def read_at(self, name, offset, size):
        if name.endswith(".tar"):
            time.sleep(self._delay_s)
        return super().read_at(name, offset, size)


def _run(collection, delay_s=0.0, step_s=0.0, offsets=range(BATCH), batch=BATCH):
    """Stalls by cause of a consumer, the seconds it waited as it measured them itself, and the queues' figures."""
    watch = Watch()
    plan = Plan(load_manifest(collection), MixConfig(), StreamConfig(), 0)
    read = SampleReader(_SlowStore(collection, delay_s), watch).read
    shares = rank_shares(0, batch, offsets, BATCHES)
    waited_s = 0.0
    with CanvasStream(plan, read, shares, batch=len(offsets), canvas_px=64, num_threads=1, watch=watch) as canvases:
        for _ in range(BATCHES):
            begin = time.perf_counter()
            next(canvases)
            waited_s += time.perf_counter() - begin
            time.sleep(step_s)
        return canvases.stalls.read(), waited_s, canvases.stats(), watch.seconds()


def test_a_sleep_of_50_ms_in_every_read_is_found_as_disk(collection):
    stalls, waited_s, queues, thread_s = _run(collection, delay_s=0.05)
    reads = BATCH * BATCHES
    assert waited_s >= 0.9 * reads * 0.05, "one thread reads: nothing hides its sleeps"
    assert sum(stalls.values()) == pytest.approx(waited_s, rel=0.1)
    assert stalls["disk"] >= 0.75 * waited_s
    assert reads * 0.05 <= thread_s["disk"]
    assert thread_s["disk"] == pytest.approx(waited_s, rel=0.25)
    assert queues["canvas_get_wait_s"] == pytest.approx(waited_s, rel=0.1), "not only the wait for the order to begin"
    assert queues["encoded_get_wait_s"] >= 0.75 * waited_s


def test_a_starved_stream_has_empty_queues(collection):
    _, _, queues, _ = _run(collection, delay_s=0.02)
    assert queues["canvas_occupancy"] < 0.2
    assert queues["encoded_occupancy"] < 0.2


def test_a_fed_trainer_hardly_stalls_but_for_its_first_batch(collection):
    stalls, waited_s, _, _ = _run(collection, delay_s=0.002, step_s=0.15)
    # Another thread may hold the interpreter for its 5 ms between the two clocks.
    assert sum(stalls.values()) == pytest.approx(waited_s, rel=0.1, abs=0.012)
    assert waited_s < 0.15 * BATCHES


def test_of_four_ranks_the_one_on_the_slow_disk_is_told_apart(collection):
    stalls = [
        _run(collection, delay_s=0.03 if rank == 3 else 0.0, offsets=range(rank * 2, rank * 2 + 2), batch=8)[0]
        for rank in range(4)
    ]
    totals = [sum(stall.values()) for stall in stalls]
    assert totals.index(max(totals)) == 3
    assert max(stalls[3], key=stalls[3].__getitem__) == "disk"
