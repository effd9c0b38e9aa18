"""A folder served over loopback by every protocol the stream reads, and stores opened on it."""

import json

import pytest
from fault_server import FaultServer
from places import CONTENT, NAME, PLACES, DatedFolder, Place

from mermed.stream.remote import retry


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No proxy, no credentials and no settings but those of the test; short first waits."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.005)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def folder(tmp_path):
    """A bucket with one collection of one file."""
    path = tmp_path / "served" / "bucket" / "coll" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return tmp_path / "served"


@pytest.fixture
def server(folder):
    with FaultServer(DatedFolder(folder)) as running:
        yield running


def _environment(monkeypatch, server, tmp_path):
    """Point every object store's library at the loopback server, as an operator would: by the environment."""
    account = {"gcs_base_url": server.url, "disable_oauth": True}
    path = tmp_path / "service-account.json"
    path.write_text(json.dumps({**account, "client_email": "", "private_key": "", "private_key_id": ""}))
    values = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GOOGLE_SERVICE_ACCOUNT": str(path),
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "dGVzdA==",
        "AZURE_STORAGE_ENDPOINT": server.url,
        "GOOGLE_ALLOW_HTTP": "true",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place_of(server, monkeypatch, tmp_path):
    """`place_of("s3 by obstore")`: the served collection as that protocol sees it."""
    places = []

    def build(kind):
        _environment(monkeypatch, server, tmp_path)
        scheme, _, client = kind.partition(" by ")
        url = f"{server.url}/bucket/coll" if scheme == "http" else f"{scheme}://bucket/coll"
        places.append(Place(server, url, {"s3fs": "fsspec", "": "auto"}.get(client, client)))
        return places[-1]

    yield build
    for place in places:
        for store in place.opened:
            store.close()


@pytest.fixture(params=PLACES)
def place(request, place_of):
    return place_of(request.param)


@pytest.fixture
def web(place_of):
    return place_of("http")
