"""Collections in other places: the same bytes in a folder, in memory and on an S3 server; resumed and owned there."""

import hashlib
import json
import time

import pytest

from mermed.errors import ConfigError
from mermed.pack.collection.depot import open_depot
from mermed.pack.packing import PackPlan, Stopped
from mermed.pack.work.bucket import BucketSize

SMALL = BucketSize(inputs=8)


@pytest.fixture(scope="session")
def s3_server():
    """The address of an S3 server on loopback, with one bucket."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A URL to pack to; credentials and address come from the environment, as they do for users."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETSECRET")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"collections-{time.monotonic_ns()}"
    s3fs.S3FileSystem().mkdir(bucket)
    yield f"s3://{bucket}/chest"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def memory():
    """A URL in the memory of this process."""
    import fsspec

    yield f"memory://depot-{time.monotonic_ns()}/chest"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def url(request):
    return request.getfixturevalue(request.param)


def rows(count=40):
    return [{"file": f"{n:03d}.png", "label": "ab"[n % 2], "split": ("train", "val")[n % 2]} for n in range(count)]


def contents(where):
    depot = open_depot(where)
    return {name: hashlib.sha256(depot.read(name)).hexdigest() for name in depot.names()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_store_gets_the_bytes_a_folder_gets_also_when_it_is_resumed_and_extended(
    url, write_source, pack_source, tmp_path
):
    source = write_source(rows())
    asked = iter([False, True])
    with pytest.raises(Stopped):
        pack_source(source, out=url, plan=PackPlan(bucket_size=SMALL, stop=lambda: next(asked)))
    assert open_depot(url).size("manifest.json") is None
    _, result = pack_source(source, out=url, plan=PackPlan(bucket_size=SMALL))
    assert result.num_known == 2
    pack_source(source, out=tmp_path / "folder", plan=PackPlan(bucket_size=SMALL))
    assert contents(url) == contents(tmp_path / "folder")
    source = write_source(rows(52))
    _, result = pack_source(source, out=url, plan=PackPlan(bucket_size=SMALL))
    assert 0 < result.num_made
    pack_source(source, out=tmp_path / "folder", plan=PackPlan(bucket_size=SMALL))
    assert contents(url) == contents(tmp_path / "folder")
    _, result = pack_source(source, out=url, plan=PackPlan(bucket_size=SMALL))
    assert result.num_made == 0
    assert not [name for name in contents(url) if "SECRET" in name]


def test_a_claim_on_a_store_is_respected_until_it_is_old(memory, write_source, pack_source):
    source = write_source(rows(6))
    depot = open_depot(memory)
    depot.write(".packing", json.dumps({"owner": "another", "at": time.time() - 10}).encode())
    with pytest.raises(ConfigError, match="another pack"):
        pack_source(source, out=memory)
    depot.write(".packing", json.dumps({"owner": "dead", "at": time.time() - 10_000}).encode())
    pack_source(source, out=memory)
    assert depot.size(".packing") is None
    assert depot.size("manifest.json") is not None


def test_a_claim_with_a_clock_that_jumped_back_does_not_block_for_ever(memory, write_source, pack_source):
    depot = open_depot(memory)
    depot.write(".packing", json.dumps({"owner": "dead", "at": time.time() + 10**6}).encode())
    pack_source(write_source(rows(6)), out=memory)
    assert depot.size("manifest.json") is not None


@pytest.mark.parametrize(
    "where", ["pipe:cat", "http://127.0.0.1/x", "ssh://host/x", "zip://x::s3://bucket/y", "simplecache::s3://bucket/y"]
)
def test_places_that_are_no_store_of_files_are_refused(where):
    with pytest.raises(ConfigError, match="cannot be written"):
        open_depot(where)


def test_credentials_in_a_url_are_never_shown():
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        open_depot("memory://user:SECRET@host/chest")
    assert "memory://host/chest" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_file_url_is_a_folder(tmp_path):
    depot = open_depot(f"file://{tmp_path}/x")
    depot.write("a/b", b"1")
    assert (tmp_path / "x" / "a" / "b").read_bytes() == b"1"
    depot.remove("a/b")
    assert not (tmp_path / "x" / "a").exists()
