"""The loader in other people's loops: plan order with any workers and ranks, one integer of state, safe batches."""

import json
import os
import pickle  # nothing of ours is read with it: that others can send the dataset to their workers is tested
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from mermed import tar
from mermed.batch import Position
from mermed.config import MixConfig, StreamConfig
from mermed.contract import load_manifest
from mermed.errors import ConfigError, ResumeError
from mermed.stream.dataset import MermedDataset, current_world
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore
from mermed.world import World

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more workers than cores
    pytest.mark.filterwarnings("ignore:.set_vital. is deprecated"),  # torchdata calls it
]
STREAM = StreamConfig(canvas_px=64, num_threads=1)
BATCH = 14


def _dataset(folder, **settings):
    return MermedDataset(folder, **{"batch": BATCH, "stream": STREAM, "yields": "encoded", **settings})


def _loader(dataset, **settings):
    return DataLoader(dataset, batch_size=None, **settings)


def _take(batches, count):
    """The first `count` batches of what may be endless, and an end to its threads."""
    iterator = iter(batches)
    try:
        return list(islice(iterator, count))
    finally:
        getattr(iterator, "close", getattr(iterator, "_shutdown_workers", lambda: None))()


def _keys(batches):
    return [key for batch in batches for key in batch["key"]]


@pytest.fixture(scope="module")
def expected(collection):
    """The keys of the first 140 slots, read one by one without any loader."""
    read = SampleReader(LocalStore(collection)).read
    plan = Plan(load_manifest(collection), MixConfig(), STREAM, 0)
    return [read(reference).meta.key for reference in plan.batch(range(140))]


def test_a_plain_loop_meets_the_plan(collection, expected):
    batches = _take(_dataset(collection), 10)
    assert _keys(batches) == expected
    assert [batch["position"] for batch in batches] == list(range(BATCH, 141, BATCH))
    assert torch.cat([batch["slot"] for batch in batches]).tolist() == list(range(140))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_a_dataloader_keeps_the_order_for_any_number_of_workers(collection, expected, workers):
    dataset = _dataset(collection, num_batches=7)
    assert _keys(_loader(dataset, num_workers=workers)) == expected[: 7 * BATCH]


@pytest.mark.parametrize("ranks", [2, 7])
def test_the_ranks_together_read_the_batches_of_one(collection, expected, ranks):
    parts = [_take(_dataset(collection, world=World(rank=r, num_ranks=ranks)), 3) for r in range(ranks)]
    assert _keys(batch for step in zip(*parts, strict=True) for batch in step) == expected[: 3 * BATCH]


@pytest.mark.parametrize("kind", ["canvases", "encoded"])
def test_it_goes_on_where_the_last_yielded_batch_ended_whatever_was_read_ahead(collection, expected, kind):
    stream = replace(STREAM, batches_ahead=4)
    for cut in (0, 1, 4):
        dataset = _dataset(collection, yields=kind, stream=stream)
        _take(dataset, cut)
        again = _dataset(collection, yields=kind, stream=stream)
        again.load_state_dict(json.loads(json.dumps(dataset.state_dict())))
        assert _keys(_take(again, 2)) == expected[cut * BATCH : (cut + 2) * BATCH]


def test_iterating_anew_goes_on(collection, expected):
    dataset = _dataset(collection)
    assert _keys(_take(dataset, 2) + _take(dataset, 3)) == expected[: 5 * BATCH]
    assert dataset.position == Position(5 * BATCH)


def test_another_batch_and_other_ranks_go_on_from_the_same_state(collection, expected):
    dataset = _dataset(collection)
    _take(dataset, 3)
    parts = []
    for rank in range(3):
        part = _dataset(collection, batch=21, world=World(rank=rank, num_ranks=3))
        part.load_state_dict(dataset.state_dict())
        parts += _take(part, 1)
    assert _keys(parts) == expected[3 * BATCH : 3 * BATCH + 21]


def test_a_run_of_stated_length_ends_and_resumes_to_the_same_end(collection):
    whole = list(_dataset(collection, num_batches=5))
    assert len(whole) == 5
    dataset = _dataset(collection, num_batches=5)
    _take(dataset, 3)
    assert _keys(dataset) == _keys(whole[3:])
    assert list(dataset) == []


def test_the_position_of_a_batch_moves_a_loader_with_workers(collection, expected):
    dataset = _dataset(collection)
    first = _take(_loader(dataset, num_workers=2), 3)
    dataset.seek(first[-1]["position"])
    assert _keys(first + _take(_loader(dataset, num_workers=3), 3)) == expected[: 6 * BATCH]


def test_spawned_workers_keep_the_order_too(collection, expected):
    loader = _loader(_dataset(collection, num_batches=2), num_workers=1, multiprocessing_context="spawn")
    assert _keys(loader) == expected[: 2 * BATCH]


def test_an_epoch_that_would_come_again_in_workers_is_refused(collection):
    loader = _loader(_dataset(collection), num_workers=2)
    _take(loader, 1)
    with pytest.raises(ConfigError, match="already begun at this position"):
        _take(loader, 1)


def test_a_state_of_another_collection_seed_order_or_mix_is_refused(collection):
    state = _dataset(collection).state_dict()
    for name, noun in (
        ("manifest", "another collection"),
        ("seed", "another seed"),
        ("order_version", "another version of the order"),
        ("mix", "another mixture"),
        ("shuffle", "other splits or shuffle"),
    ):
        with pytest.raises(ResumeError, match=noun):
            _dataset(collection).load_state_dict({**state, name: "other"})
    with pytest.raises(ResumeError, match="another seed"):
        _dataset(collection, seed=1).load_state_dict(state)
    with pytest.raises(ResumeError, match="another mixture"):
        _dataset(collection, mix=MixConfig(weights={"us": 2})).load_state_dict(state)
    with pytest.raises(ResumeError, match="shuffle"):
        _dataset(collection, stream=replace(STREAM, window_blocks=4)).load_state_dict(state)
    with pytest.raises(ResumeError, match="lacks an entry"):
        _dataset(collection).load_state_dict({"slots": 3})


def test_threads_cache_and_read_ahead_are_no_part_of_the_state(collection):
    state = _dataset(collection).state_dict()
    other = replace(STREAM, num_threads=3, batches_ahead=5, cache_gib=1.0, canvas_px=32)
    assert _dataset(collection, stream=other).state_dict() == state
    assert _dataset(collection, world=World(rank=1, num_ranks=2)).state_dict() == state


def test_canvases_stay_valid_unless_they_are_asked_to_be_lent(collection):
    kept = _take(_dataset(collection, yields="canvases"), 6)
    assert len({batch["pixels"].data_ptr() for batch in kept}) == 6
    assert kept[0]["pixels"].shape == (BATCH, 3, 64, 64)
    again = _take(_dataset(collection, yields="canvases"), 1)[0]
    assert torch.equal(again["pixels"], kept[0]["pixels"])
    assert torch.equal(again["size_px"], kept[0]["size_px"])
    lent = _take(_dataset(collection, yields="canvases", copy=False), 12)
    assert len({batch["pixels"].data_ptr() for batch in lent}) < 12


def test_lent_buffers_are_refused_in_worker_processes(collection):
    dataset = _dataset(collection, yields="canvases", copy=False)
    with pytest.raises(ConfigError, match="lent buffers"):
        _take(_loader(dataset, num_workers=1), 1)


def test_canvases_of_worker_processes_equal_those_of_threads(collection):
    dataset = _dataset(collection, yields="canvases", num_batches=4)
    for ours, theirs in zip(
        _take(dataset, 4), _loader(_dataset(collection, yields="canvases", num_batches=4), num_workers=2), strict=True
    ):
        assert ours["key"] == theirs["key"]
        assert ours["labels"] == theirs["labels"]
        for name in ("pixels", "size_px", "modality", "slot"):
            assert torch.equal(ours[name], theirs[name])


def test_a_transform_gets_the_batch_and_its_failure_is_no_progress(collection):
    dataset = _dataset(collection, transform=lambda batch: len(batch["image"]))
    assert _take(dataset, 2) == [BATCH, BATCH]

    def fail(batch):
        raise RuntimeError("in the user's code")

    failing = _dataset(collection, transform=fail)
    with pytest.raises(RuntimeError, match="user's code"):
        _take(failing, 1)
    assert failing.position == Position(0)


def test_an_iteration_that_was_overtaken_says_so(collection):
    dataset = _dataset(collection)
    old = iter(dataset)
    next(old)
    _take(dataset, 1)
    with pytest.raises(ConfigError, match="this iteration is over"):
        next(old)


def test_the_modality_numbers_are_those_of_the_names(collection):
    dataset = _dataset(collection)
    batch = _take(dataset, 1)[0]
    names = [dataset.modalities[number] for number in batch["modality"]]
    assert all(key.startswith(name) or name for key, name in zip(batch["key"], names, strict=True))
    assert sorted(names) == sorted(list(load_manifest(collection).modalities) * 2)


def test_the_world_comes_from_torch_distributed_or_torchrun_and_never_from_a_guess():
    assert current_world({}) == World()
    assert current_world({"RANK": "1", "WORLD_SIZE": "2"}) == World(rank=1, num_ranks=2)
    with pytest.raises(ConfigError, match="which one this is"):
        current_world({"WORLD_SIZE": "2"})


def test_settings_that_make_no_sense_are_refused(collection):
    with pytest.raises(ConfigError):
        _dataset(collection, batch=0)


def test_a_damaged_sample_is_replaced_at_its_slots_alone_and_journalled(collection, expected, tmp_path):
    folder, run = tmp_path / "damaged", tmp_path / "run"
    shutil.copytree(collection, folder)
    run.mkdir()
    reference = Plan(load_manifest(collection), MixConfig(), STREAM, 0).batch(range(1))[0]
    span = tar.parse_index((folder / reference.row.index_name).read_text(), reference.row.name)[reference.index]
    with (folder / reference.row.name).open("r+b") as shard:
        shard.seek(span.image.offset + 60)
        shard.write(b"\0\1\2\3")
    lenient = replace(STREAM, max_failed=0.5)
    met = _keys(_take(_dataset(folder, stream=lenient, run=run), 10))
    changed = [slot for slot, (key, was) in enumerate(zip(met, expected, strict=True)) if key != was]
    assert changed == [slot for slot, key in enumerate(expected) if key == span.key]
    lines = [json.loads(line) for path in run.iterdir() for line in path.read_text().splitlines()]
    assert {line["key"] for line in lines} == {span.key}


def test_a_dataset_pickles_without_an_open_file(collection, expected):
    dataset = _dataset(collection)
    _take(dataset, 2)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert _keys(_take(copy, 1)) == expected[2 * BATCH : 3 * BATCH]


GLOO = """
    import json, os, sys, time
    import torch.distributed as dist
    from mermed.config import StreamConfig
    from mermed.stream.dataset import MermedDataset
    dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=int(sys.argv[3]), world_size=2)
    rank = dist.get_rank()
    time.sleep(1.5 * rank)  # one rank starts late: the other must wait, not fail
    dataset = MermedDataset(sys.argv[1], batch=14, yields="encoded", num_batches=4, stream=StreamConfig(num_threads=1))
    mine = [batch["key"] for batch in dataset]
    gathered = [None, None]
    dist.all_gather_object(gathered, (dataset.state_dict(), mine))
    if rank == 0:
        print(json.dumps(gathered))
    dist.destroy_process_group()
"""


def test_two_ranks_of_a_process_group_share_the_order_also_when_one_starts_late(collection, expected, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(GLOO), str(collection), str(tmp_path / "meet")]
    ranks = [
        subprocess.Popen(
            [*command, str(rank)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=120)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0]
    (state, first), (other_state, second) = json.loads(answers[0])
    assert state == other_state
    assert [key for pair in zip(first, second, strict=True) for part in pair for key in part] == expected[: 4 * BATCH]


stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", [1, 4])
def test_torchdatas_stateful_loader_goes_on_without_gap_or_repeat(collection, expected, workers, cut):
    def loader():
        return stateful.StatefulDataLoader(_dataset(collection, num_batches=8), batch_size=None, num_workers=workers)

    first = loader()
    iterator = iter(first)
    _ = [next(iterator) for _ in range(cut)]
    state = first.state_dict()
    del iterator
    again = loader()
    again.load_state_dict(state)
    assert _keys(again) == expected[cut * BATCH : 8 * BATCH]
