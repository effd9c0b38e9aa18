"""Replacement over a store that fails: samples give way to others, a store that is down or changed never does."""

import time

import pytest
from fault_server import FaultServer, Folder
from faults import Status

from mermed.address import parse_address
from mermed.config import StreamConfig
from mermed.contract import load_manifest
from mermed.errors import ChangedError, EnvironmentError_
from mermed.mix_config import MixConfig
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.remote.opening import open_transport
from mermed.stream.remote.store import RemoteStore
from mermed.stream.replace.budget import Limits
from mermed.stream.replace.journal import Journal, incidents
from mermed.stream.replace.spares import Spares
from mermed.stream.store import LocalStore

SLOTS = range(40)


@pytest.fixture
def world(tiny_world):
    return tiny_world({"cxr/nih": [6, 5], "us/busi": [7]})


@pytest.fixture
def served(world):
    with FaultServer(Folder(world)) as server:
        yield server


@pytest.fixture
def store(served):
    address = parse_address(served.url)
    opened = RemoteStore(address, lambda: open_transport(address, "auto", 1.0), Watch(), 0.3)
    yield opened
    opened.close()


def _plan(world):
    return Plan(load_manifest(world), MixConfig(), StreamConfig(), 0)


def _keys(world, store, journal=None):
    reader = SampleReader(store)
    spares = Spares(
        _plan(world),
        reader.read,
        lambda reference: reader.indexes.key(reference.row, reference.index),
        limits=Limits(max_failed=1.0, max_failed_in_a_row=1000),
        journal=journal,
    )
    return [spares.read(reference).meta.key for reference in _plan(world).batch(SLOTS)]


def test_bursts_of_errors_change_nothing_and_replace_nothing(world, served, store, tmp_path):
    served.error_rate = 0.2
    assert _keys(world, store, Journal(tmp_path, 0, Watch())) == _keys(world, LocalStore(world))
    assert list(incidents(tmp_path)) == []


def test_a_shard_that_is_gone_is_replaced_as_on_a_local_disk(world, store, tmp_path):
    row = load_manifest(world).shards[1]
    (world / row.name).unlink()
    assert _keys(world, store, Journal(tmp_path, 0, Watch())) == _keys(world, LocalStore(world))
    assert {incident.shard for incident in incidents(tmp_path)} == {row.name}


def test_a_sample_that_is_bad_at_the_store_is_replaced_as_on_a_local_disk(world, store, tmp_path):
    row = load_manifest(world).shards[2]
    content = bytearray((world / row.name).read_bytes())
    content[600] ^= 1
    (world / row.name).write_bytes(content)
    assert _keys(world, store, Journal(tmp_path, 0, Watch())) == _keys(world, LocalStore(world))
    assert {incident.key for incident in incidents(tmp_path)} == {"busi-0-000"}


def test_a_store_that_is_down_beyond_patience_stops_the_run_and_replaces_nothing(world, served, store, tmp_path):
    served.error_rate = 1.0
    with pytest.raises(EnvironmentError_):
        _keys(world, store, Journal(tmp_path, 0, Watch()))
    assert list(incidents(tmp_path)) == []


def test_a_store_that_lets_nobody_in_stops_the_run(world, served, store, tmp_path):
    served.inject(Status(403), times=1000)
    with pytest.raises(EnvironmentError_, match="lets nobody in"):
        _keys(world, store, Journal(tmp_path, 0, Watch()))
    assert list(incidents(tmp_path)) == []


def test_a_shard_that_is_replaced_at_the_store_stops_the_run_and_is_not_passed_over(world, store, tmp_path):
    assert _keys(world, store) == _keys(world, LocalStore(world))
    row = load_manifest(world).shards[0]
    content = (world / row.name).read_bytes()
    time.sleep(0.01)  # another time of change, so another ETag
    (world / row.name).write_bytes(bytes(len(content)))
    with pytest.raises(ChangedError, match="the collection changed under the run") as caught:
        _keys(world, store, Journal(tmp_path, 0, Watch()))
    assert row.name in str(caught.value)
    assert caught.value.exit_code == 4
    assert list(incidents(tmp_path)) == []
