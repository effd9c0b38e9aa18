"""The outlook: what it says a run will read is what the plan, walked slot by slot, does read."""

from dataclasses import replace

import fsspec
import pytest

from mermed.config import MixConfig, RunConfig, StreamConfig, TrainConfig, with_settings
from mermed.contract import MANIFEST_NAME, Manifest, ShardRow, load_manifest
from mermed.errors import ConfigError
from mermed.presets import preset
from mermed.stream.order.footprint import footprints
from mermed.stream.order.plan import Plan
from mermed.stream.outlook.outlook import Machines, outlook
from mermed.stream.reader import SampleReader
from mermed.stream.store import open_store

BATCH = 32


def _row(modality, number, samples):
    return ShardRow(
        name=f"{modality}/train/{modality}-train-{number:06d}.tar",
        modality=modality,
        dataset="one",
        split="train",
        samples=samples,
        bytes=samples * 1024,
        sha256="0" * 64,
        index_sha256="0" * 64,
    )


MANIFEST = Manifest(
    shards=(*(_row("cxr", number, 256) for number in range(4)), *(_row("us", number, 128) for number in range(4)))
)
MANY_SHARDS = Manifest(shards=tuple(_row("ct", number, 32) for number in range(48)))
STREAM = StreamConfig(block_samples=16, window_blocks=8)


def _walk(stream, slots, nodes, manifest=MANIFEST):
    """Bytes each source is sent, window by window and once for all: every slot looked at, pieces counted by hand."""
    plan = Plan(manifest, MixConfig(), stream, 0)
    sources = {source.name: source for sources in plan.sources for source in sources}
    draws = dict.fromkeys(sources, 0)
    fetched: dict[tuple, int] = {}
    kept: dict[tuple, int] = {}
    for reference in plan.batch(range(slots)):
        name = f"{reference.row.modality}/one"
        source, node = sources[name], reference.slot % BATCH * nodes // BATCH
        cycle, place = divmod(draws[name], source.samples)
        draws[name] += 1
        start, size = reference.block.start, len(reference.block) * 1024
        if stream.cache_unit == "shard":
            start, size = 0, reference.row.bytes
        piece = (name, node, reference.row.name, start)
        fetched[*piece, cycle, place // (source.window or source.samples)] = size
        kept[piece] = size
    totals = {name: draws[name] for name in sources}
    return totals, *(
        {name: sum(size for piece, size in found.items() if piece[0] == name) for name in sources}
        for found in (fetched, kept)
    )


@pytest.mark.parametrize("slots", [2 * 1024, 4 * 1024, 8 * 1024])
@pytest.mark.parametrize("stream", [STREAM, replace(STREAM, window_blocks=0)])
def test_for_one_node_and_whole_windows_the_bytes_of_blocks_are_exact(slots, stream):
    plan = Plan(MANIFEST, MixConfig(), stream, 0)
    draws, fetched, kept = _walk(stream, slots, nodes=1)
    for name, mark in footprints(plan, "block").items():
        whole = draws[name] % mark.window == 0
        assert mark.fetched_bytes(draws[name], 1) == pytest.approx(fetched[name], rel=1e-9 if whole else 0.03)
        assert mark.kept_bytes(draws[name], 1) == pytest.approx(kept[name], rel=1e-9 if whole else 0.03)


@pytest.mark.parametrize("slots", [320, 1000, 3000])
@pytest.mark.parametrize("nodes", [1, 2, 8])
@pytest.mark.parametrize(("window_blocks", "unit"), [(8, "block"), (0, "block"), (8, "shard"), (0, "shard")])
def test_for_several_nodes_and_begun_windows_the_bytes_are_near_those_of_a_walk(slots, nodes, window_blocks, unit):
    stream = replace(STREAM, window_blocks=window_blocks, cache_unit=unit)
    manifest = MANY_SHARDS if unit == "shard" else MANIFEST
    draws, fetched, kept = _walk(stream, slots, nodes, manifest)
    for name, mark in footprints(Plan(manifest, MixConfig(), stream, 0), unit).items():
        assert mark.fetched_bytes(draws[name], nodes) == pytest.approx(fetched[name], rel=0.15)
        assert mark.kept_bytes(draws[name], nodes) == pytest.approx(kept[name], rel=0.15)


def test_a_window_holds_what_a_walk_through_it_touches():
    plan = Plan(MANIFEST, MixConfig(), STREAM, 0)
    references = [reference for reference in plan.batch(range(256)) if reference.row.modality == "cxr"]
    touched = {(reference.row.name, reference.block) for reference in references[:128]}
    mark = footprints(plan, "block")["cxr/one"]
    assert mark.window_bytes == sum(len(block) for _, block in touched) * 1024 == 128 * 1024
    assert mark.need_bytes == 2 * mark.window_bytes
    whole = footprints(Plan(MANIFEST, MixConfig(), replace(STREAM, window_blocks=0), 0), "block")["us/one"]
    assert whole.window_bytes == whole.need_bytes == whole.size == 512 * 1024


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A collection without shards: the outlook must need none but for its first keys, which are left out here."""
    monkeypatch.setattr("mermed.stream.outlook.outlook.FIRST_KEYS", 0)
    (tmp_path / MANIFEST_NAME).write_bytes(MANIFEST.encode())
    return tmp_path


@pytest.fixture
def config():
    return RunConfig(stream=STREAM, train=TrainConfig(steps=100, batch=BATCH))


@pytest.fixture
def remote(monkeypatch):
    """The outlook of the same collection at a URL: an object store in this process."""
    monkeypatch.setattr("mermed.stream.outlook.outlook.FIRST_KEYS", 0)
    store = fsspec.filesystem("memory")
    store.pipe(f"/outlook/{MANIFEST_NAME}", MANIFEST.encode())
    yield lambda config, machines=None: outlook(config, "memory://outlook", machines)
    store.rm("/outlook", recursive=True)


def test_blocks_and_shards_touched_are_counted_not_guessed(folder, config):
    facts = outlook(config, folder)
    references = Plan(MANIFEST, config.mix, config.stream, 0).batch(range(100 * BATCH))
    assert facts["touched"] == {
        "steps": 100,
        "blocks": len({(reference.row.name, reference.block) for reference in references}),
        "shards": len({reference.row.name for reference in references}),
    }
    assert facts["read_bytes"] == 100 * BATCH * 1024
    assert facts["advice"] == []


def test_rates_follow_from_the_rate_of_one_gpu(folder, config):
    machines = Machines(nodes=2, gpus_per_node=4, gpu_images_per_s=100.0, core_images_per_s=250.0)
    facts = outlook(config, folder, machines)
    assert facts["world"] == {"nodes": 2, "gpus_per_node": 4, "ranks": 8, "images_per_rank": 4.0}
    assert facts["rates"] == pytest.approx(
        {
            "images_per_s": 800.0,
            "run_s": 4.0,
            "read_bytes_per_s": 800 * 1024,
            "read_bytes_per_s_and_node": 400 * 1024,
            "read_bytes_per_s_and_rank": 100 * 1024,
            "decode_cores_per_node": 1.6,
        }
    )
    assert outlook(config, folder)["rates"] == {}


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"gpus_per_node": -1}, {"gpu_images_per_s": -1.0}])
def test_a_world_without_machines_is_refused(wrong):
    with pytest.raises(ConfigError, match="machines"):
        Machines(**wrong)


def test_a_batch_that_does_not_divide_is_told_with_the_nearest_that_do(folder, config):
    (advice,) = outlook(config, folder, Machines(nodes=3))["advice"]
    assert "train.batch=30 or 33" in advice


def test_a_remote_store_without_a_cache_is_told_what_to_set(remote, config):
    (advice,) = remote(config)["advice"]
    assert "3,200 samples is a request of its own" in advice
    assert "stream.cache_dir" in advice


def test_a_cache_below_the_need_of_the_windows_is_told_the_need(remote, config):
    small = replace(config, stream=replace(config.stream, cache_dir="/cache", cache_gib=1e-5))
    (advice,) = remote(small)["advice"]
    assert "less than the windows of the shuffle need: set stream.cache_gib=0.01" in advice
    enough = replace(config, stream=replace(config.stream, cache_dir="/cache", cache_gib=0.01))
    assert remote(enough)["advice"] == []


def test_a_perfect_shuffle_over_a_remote_store_is_told_what_would_hold_it(remote, config):
    stream = replace(config.stream, window_blocks=0, block_samples=1, cache_dir="/cache", cache_gib=0.0011)
    (advice,) = remote(replace(config, stream=stream))["advice"]
    assert "perfect shuffle" in advice
    assert "stream.cache_gib=0.01" in advice
    assert "stream.window_blocks=256 needs 1.0 MiB" in advice
    holds_all = replace(stream, cache_gib=0.01)
    assert remote(replace(config, stream=holds_all))["advice"] == []


def test_nodes_that_each_fetch_every_block_are_told_what_it_costs(remote, config):
    stream = replace(config.stream, cache_dir="/cache", cache_gib=0.0006)
    (advice,) = remote(replace(config, stream=stream), Machines(nodes=4))["advice"]
    assert "each of the 4 nodes fetches nearly every block" in advice


def test_the_keys_are_those_the_run_begins_with(collection):
    config = with_settings(preset("smoke"), ["train.steps=2"])
    plan = Plan(load_manifest(collection), config.mix, config.stream, config.seed)
    read = SampleReader(open_store(collection)).read
    keys = [read(reference).meta.key for reference in plan.batch(range(8))]
    assert outlook(config, collection)["first_keys"] == keys
