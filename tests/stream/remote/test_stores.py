"""Opening a collection by its address, and reading it whole, from every kind of store."""

import json
import os
import shutil

import fsspec
import pytest
from fault_server import FaultServer, Upstream, serving
from faults import Reset, Status
from places import CONTENT, NAME

from mermed.contract import load_manifest
from mermed.errors import ContractError, EnvironmentError_, IntegrityError
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.meters.watch import Watch
from mermed.stream.reader import SampleReader
from mermed.stream.remote import files, opening
from mermed.stream.remote.objects import ObjectTransport
from mermed.stream.remote.s3 import S3Transport
from mermed.stream.scan import ManifestOrder
from mermed.stream.store import LocalStore, open_store, read_manifest


def read_everything(store):
    """Every sample of a collection: its key and its bytes."""
    manifest = read_manifest(store)
    order = ManifestOrder(manifest.shards, manifest.modalities)
    with Loader(order, SampleReader(store).read, rank_shares(0, 7, range(7), len(order) // 7), num_threads=4) as loader:
        return [(meta.key, image) for batch in loader for meta, image in zip(batch.meta, batch.images, strict=True)]


def test_a_collection_over_a_slow_and_faulty_web_is_the_collection_on_disk_byte_by_byte(collection):
    watch = Watch()
    with serving(collection) as server:
        server.latency_s, server.error_rate = 0.002, 0.1
        with open_store(server.url, watch=watch, patience_s=60.0) as store:
            assert read_everything(store) == read_everything(LocalStore(collection))
    assert watch.counts()["retries"] > 0
    assert watch.seconds()["network"] > 0


def test_a_local_path_and_a_file_url_open_the_same_folder(collection):
    for where in (collection, str(collection), f"file://{collection}"):
        store = open_store(where)
        assert isinstance(store, LocalStore)
        assert read_manifest(store) == load_manifest(collection)


def test_the_manifest_is_the_same_wherever_it_lies(collection):
    with serving(collection) as server, open_store(server.url) as store:
        assert read_manifest(store).digest == load_manifest(collection).digest


@pytest.mark.parametrize("name", ["pipe:cat /etc/passwd", "file:///etc/passwd", "%2e%2e/secret", "https://host/x.tar"])
def test_a_manifest_cannot_lead_out_of_its_collection(collection, tmp_path, name):
    folder = tmp_path / "hostile"
    shutil.copytree(collection, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for row in manifest["shards"]:
        row["name"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with serving(folder) as server, open_store(server.url) as store:
        for each in (store, LocalStore(folder)):
            row = read_manifest(each).shards[0]
            with pytest.raises(ContractError, match="leaves its collection"):
                each.read_at(row.name, 0, 5)
        assert [ask.name for ask in server.requests] == ["manifest.json"]


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file(f"/coll/{NAME}", CONTENT)
    yield filesystem
    filesystem.rm("/coll", recursive=True)


def test_a_store_of_fsspec_is_read_in_parts(memory, monkeypatch):
    monkeypatch.setattr(files, "PART_BYTES", 700_000)
    store = open_store("memory://coll")
    parts = []
    store.copy_to(NAME, 100, 2_400_000, parts.append)
    assert b"".join(parts) == CONTENT[100:2_400_000]
    assert store.read(NAME) == CONTENT
    assert store.size(NAME) == len(CONTENT)
    assert store.read_at(NAME, len(CONTENT) - 3, 50) == CONTENT[-3:]
    with pytest.raises(IntegrityError, match="not in the store"):
        store.read("ct")


def test_a_file_replaced_in_a_store_of_fsspec_is_noticed(memory):
    store = open_store("memory://coll")
    store.read_at(NAME, 0, 5)
    memory.pipe_file(f"/coll/{NAME}", CONTENT[::-1])
    with pytest.raises(IntegrityError, match="changed under the run"):
        store.read_at(NAME, 5, 5)


def test_a_failing_store_of_fsspec_is_asked_again(memory, monkeypatch):
    read, failures = type(memory).cat_file, iter([TimeoutError(), ConnectionResetError(), OSError(5, "EIO")])

    def sometimes(self, path, **span):
        for failure in failures:
            raise failure
        return read(self, path, **span)

    monkeypatch.setattr(type(memory), "cat_file", sometimes)
    watch = Watch()
    assert open_store("memory://coll", watch=watch).read_at(NAME, 7, 9) == CONTENT[7:16]
    assert watch.counts()["retries"] == 3


def test_a_mistake_in_a_store_of_fsspec_is_not_retried(memory, monkeypatch):
    def mistaken(self, path, **span):
        raise TypeError("a program error")

    monkeypatch.setattr(type(memory), "cat_file", mistaken)
    with pytest.raises(TypeError):
        open_store("memory://coll", patience_s=1000.0).read_at(NAME, 7, 9)


@pytest.fixture(scope="module")
def s3():
    """An S3 server that checks what S3 checks, behind a server that fails as it is told to."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with FaultServer(Upstream(f"http://{host}:{port}")) as server:
        yield server
    moto.stop()


@pytest.mark.parametrize("client", ["fsspec", "obstore"])
def test_a_bucket_is_read_through_faults_and_a_new_version_of_an_object_is_noticed(s3, place_of, monkeypatch, client):
    place_of("s3 by s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    direct = {"endpoint_url": f"http://{s3.source.host}"}
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True, client_kwargs=direct)
    bucket = f"bucket-{client}"
    filesystem.mkdir(bucket)
    filesystem.pipe_file(f"{bucket}/coll/{NAME}", CONTENT)
    with open_store(f"s3://{bucket}/coll", client=client, patience_s=5.0) as store:
        for fault in (Status(503), Reset(after=1_300_000)):
            s3.inject(fault)
            assert store.read(NAME) == CONTENT
        assert store.read_at(NAME, 1000, 50) == CONTENT[1000:1050]
        with pytest.raises(IntegrityError, match="not in the store"):
            store.read("ct/train/none.tar")
        filesystem.pipe_file(f"{bucket}/coll/{NAME}", CONTENT[::-1])
        with pytest.raises(IntegrityError, match="changed under the run"):
            store.read_at(NAME, 1000, 50)
    with open_store(f"s3://none-{client}/coll", client=client) as store, pytest.raises(IntegrityError):
        store.read(NAME)


def test_obstore_reads_s3_unless_the_credentials_lie_where_it_does_not_look(place_of, monkeypatch, tmp_path):
    store = place_of("s3 by s3fs")
    store.client = "auto"
    assert isinstance(store.open()._transport, ObjectTransport)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    profile = tmp_path / "no-credentials"
    profile.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert isinstance(store.open()._transport, S3Transport)


@pytest.mark.parametrize(
    ("url", "client", "extra"),
    [
        ("s3://b/c", "fsspec", "s3"),
        ("gs://b/c", "fsspec", "gcs"),
        ("az://b/c", "fsspec", "azure"),
        ("https://h/c", "auto", "http"),
        ("s3://b/c", "obstore", "obstore"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, url, client, extra):
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(EnvironmentError_, match=extra) as caught:
        open_store(url, client=client)
    assert f"mermed[{extra}]" in str(caught.value)


def in_a_fork(work):
    """What `work` gives in a forked process, as text, or the words of its error."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(outlet, str(work()).encode())
        except BaseException as error:
            os.write(outlet, str(error).encode())
        os._exit(0)
    os.close(outlet)
    with open(inlet, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_store_that_crosses_a_fork_says_so_instead_of_hanging(place_of):
    for kind in ("http", "s3 by obstore"):
        place = place_of(kind)
        store = place.open()
        assert store.read_at(NAME, 0, 5) == CONTENT[:5]
        assert "opened in another process" in in_a_fork(lambda store=store: store.read_at(NAME, 5, 5))
    assert "forked process" in in_a_fork(lambda: open_store(place.url, client="obstore"))
    assert in_a_fork(lambda: place_of("http").open().read_at(NAME, 5, 5)) == str(CONTENT[5:10])
