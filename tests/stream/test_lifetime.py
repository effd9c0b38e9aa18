"""What a stream leaves behind: nothing, however it ends; and what it needs: few descriptors and no process."""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from itertools import islice
from pathlib import Path

import fsspec
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from mermed.batch import Position
from mermed.config import StreamConfig
from mermed.errors import ConfigError
from mermed.stream.dataset import MermedDataset

STREAM = StreamConfig(canvas_px=32, num_threads=2)


def _dataset(folder, **settings):
    return MermedDataset(folder, **{"batch": 7, "stream": STREAM, **settings})


def _descriptors():
    return len(os.listdir("/proc/self/fd"))


def _resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _python(program, *arguments):
    """Run a program of its own: its answer, and how it ended."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_two_hundred_early_ends_leave_threads_descriptors_and_memory_flat(collection):
    dataset = _dataset(collection, batch=2)
    for turn in range(200):
        batches = iter(dataset)
        assert len(list(islice(batches, 3))) == 3
        batches.close()
        if turn == 60:
            gc.collect()
            before, resident = (threading.active_count(), _descriptors()), _resident_bytes()
    gc.collect()
    assert (threading.active_count(), _descriptors()) == before
    assert _resident_bytes() - resident < 16 * 2**20


def test_a_stream_that_is_dropped_without_a_word_ends_too(collection):
    before = threading.active_count()
    for _ in range(5):
        next(iter(_dataset(collection)))
    gc.collect()
    assert threading.active_count() == before


def test_an_exception_in_the_loop_ends_the_process_although_nothing_was_closed(collection):
    program = """
        import sys
        from mermed.stream.dataset import MermedDataset
        encoded, canvases = (iter(MermedDataset(sys.argv[1], batch=7, yields=y)) for y in ("encoded", "canvases"))
        next(encoded), next(canvases)
        raise RuntimeError("in the training loop")
    """
    done = _python(program, collection)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("in the training loop")  # and no second trace of ours behind it
    assert done.stderr.count("Traceback") == 1


def test_worker_processes_of_a_dataloader_die_with_their_parent(collection):
    program = """
        import os, signal, sys
        from torch.utils.data import DataLoader
        from mermed.stream.dataset import MermedDataset
        loader = DataLoader(MermedDataset(sys.argv[1], batch=7, yields="encoded"), batch_size=None, num_workers=1)
        batches = iter(loader)
        next(batches)
        print(batches._workers[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), str(collection)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    deadline = time.monotonic() + 60
    while _is_running(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.1)


def _is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_process_is_told_of_and_the_position_goes_on_without_gap_or_repeat(collection):
    # In a process of its own: torch raises from a signal handler, wherever the main thread is at that moment.
    program = """
        import json, os, signal, sys, time
        from itertools import islice
        from torch.utils.data import DataLoader
        from mermed.config import StreamConfig
        from mermed.stream.dataset import MermedDataset
        def keys(batches):
            return [key for batch in batches for key in batch["key"]]
        settings = {"batch": 7, "yields": "encoded", "stream": StreamConfig(num_threads=2)}
        expected = keys(islice(MermedDataset(sys.argv[1], **settings), 12))
        dataset = MermedDataset(sys.argv[1], **settings)
        batches = iter(DataLoader(dataset, batch_size=None, num_workers=2))
        met, told = [next(batches)], ""
        for _ in range(3):
            met.append(next(batches))
        try:
            os.kill(batches._workers[0].pid, signal.SIGKILL)
            for _ in range(1000):
                next(batches)
            time.sleep(60)
        except RuntimeError as error:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            told = str(error)
        dataset.seek(met[-1]["position"])
        print(json.dumps([told, keys(met) + keys(islice(dataset, 8)) == expected]), flush=True)
        os._exit(0)
    """
    done = _python(program, collection)
    told, is_whole = json.loads(done.stdout)
    assert "killed by signal" in told or "exited unexpectedly" in told
    assert is_whole


def test_sixty_four_descriptors_are_enough_and_shared_memory_is_not_touched(collection):
    program = """
        import resource, sys
        from itertools import islice
        from pathlib import Path
        from mermed.config import StreamConfig
        from mermed.stream.dataset import MermedDataset
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        import torch
        def no_shared_memory(tensor):
            raise RuntimeError("unable to open shared memory object </torch_1>: No such file or directory (2)")
        torch.Tensor.share_memory_ = no_shared_memory
        dataset = MermedDataset(sys.argv[1], batch=21, stream=StreamConfig(canvas_px=32, num_threads=8))
        batches = iter(dataset)
        met = sum(len(batch["key"]) for batch in islice(batches, 8))
        print(met, "/dev/shm" in Path("/proc/self/maps").read_text())
        batches.close()
    """
    done = _python(program, collection)
    assert done.stdout.split() == ["168", "False"], done.stderr


def test_a_stream_starts_no_process_and_no_process_group_and_workers_may_fork_beside_its_threads(collection):
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text().split() if children.exists() else None
    batches = iter(_dataset(collection))
    next(batches)
    assert not dist.is_initialized()
    if before is not None:
        assert children.read_text().split() == before
    forked = DataLoader(_dataset(collection, num_batches=3), batch_size=None, num_workers=1)
    again = _dataset(collection, num_batches=3)
    for one, two in zip(forked, again, strict=True):
        assert one["key"] == two["key"]
        assert torch.equal(one["pixels"], two["pixels"])
    batches.close()


def test_reading_on_does_not_grow_the_process(collection):
    batches = iter(_dataset(collection, batch=10, yields="encoded"))
    blocks = []
    for number in range(500):
        next(batches)
        if number in (99, 499):  # after 1,000 and after 5,000 samples
            gc.collect()
            blocks.append(sys.getallocatedblocks())
    batches.close()
    # Less than one object per sample; the queues hold some hundred more or fewer at each moment.
    assert blocks[1] - blocks[0] < 3000


@pytest.fixture
def in_memory(collection):
    """The collection in a store that is not local."""
    store = fsspec.filesystem("memory")
    for path in collection.rglob("*"):
        if path.suffix in {".tar", ".idx"} or path.name == "manifest.json":
            store.pipe(f"/packed/{path.relative_to(collection)}", path.read_bytes())
    yield "memory://packed"
    store.rm("/packed", recursive=True)


def test_a_cache_smaller_than_the_plan_needs_is_refused_with_the_need(in_memory, tmp_path):
    stream = StreamConfig(num_threads=1, cache_dir=str(tmp_path), cache_gib=1e-5)
    with pytest.raises(ConfigError, match="smaller than what the order draws") as caught:
        next(iter(_dataset(in_memory, stream=stream)))
    assert "cache_gib of" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_store_through_a_cache_gives_what_the_folder_gives_and_leaves_no_thread(collection, in_memory, tmp_path):
    stream = StreamConfig(canvas_px=32, num_threads=2, cache_dir=str(tmp_path / "cache"), cache_gib=1.0)
    before = threading.active_count()
    cached, local = (_dataset(place, stream=stream, num_batches=6) for place in (in_memory, collection))
    for one, two in zip(cached, local, strict=True):
        assert one["key"] == two["key"]
        assert torch.equal(one["pixels"], two["pixels"])
    assert threading.active_count() == before
    assert any((tmp_path / "cache").rglob("*"))


@pytest.mark.parametrize("ahead", [1, 2, 8])
def test_the_position_names_the_next_batch_whatever_lies_in_the_queues(collection, ahead):
    stream = StreamConfig(canvas_px=32, num_threads=2, batches_ahead=ahead)
    dataset = _dataset(collection, stream=stream)
    batches = iter(dataset)
    for number in range(1, 6):
        batch = next(batches)
        time.sleep(0.05)  # the queues fill; what lies in them is not consumed
        assert batch["position"] == 7 * number
        assert dataset.position == Position(7 * number)
        assert dataset.state_dict()["slots"] == 7 * number
    batches.close()
