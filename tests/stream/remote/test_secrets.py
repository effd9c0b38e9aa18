"""A planted token is found nowhere: not in errors, tracebacks, logs, reasons or counts."""

import logging
import traceback

import pytest
from faults import Header, Redirect, Reset, Stall, Status, WrongRange
from places import NAME

from mermed.errors import MermedError
from mermed.stream.meters.watch import Watch
from mermed.stream.remote.store import RemoteStore

TOKEN = "pl4nt3d-t0k3n"
FAULTS = {
    "503": Status(503),
    "400": Status(400),
    "401": Status(401),
    "404": Status(404),
    "412": Status(412),
    "reset": Reset(after=0),
    "stall": Stall(after=0, seconds=2),
    "another range": WrongRange(shift=9),
    "another tag": Header("ETag", '"x"'),
    "no address": Redirect(f"http://[/?{TOKEN}"),
    "link-local": Redirect(f"http://169.254.169.254/?{TOKEN}"),
    "a file": Redirect(f"file:///{TOKEN}"),
}


class Listening(Watch):
    """Keeps every reason it was given."""

    def __init__(self):
        super().__init__()
        self.said = []

    def waiting(self, reason):
        self.said.append(reason)
        return super().waiting(reason)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("kind", ["query", "user"])
def test_a_token_in_the_address_is_never_shown(web, fault, kind, caplog):
    caplog.set_level(logging.DEBUG)
    web.url = f"{web.url}?sig={TOKEN}" if kind == "query" else web.url.replace("://", f"://me:{TOKEN}@")
    watch = Listening()
    store = web.open(patience_s=0, stall_s=0.2, watch=watch)
    store.read_at(NAME, 0, 5)
    web.server.inject(fault, times=-1)
    with pytest.raises(MermedError) as caught:
        store.read_at(NAME, 100, 50)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text + str(watch.said) + str(watch.counts())
    assert "127.0.0.1" in said
    assert TOKEN not in said + repr(store._address)
    assert f"{caught.value.where['store']}" == web.server.url + "/bucket/coll"


@pytest.mark.parametrize("client", ["s3 by s3fs", "s3 by obstore", "az by obstore"])
@pytest.mark.parametrize("status", [400, 403, 503])
def test_a_secret_key_of_an_object_store_is_never_shown(place_of, monkeypatch, client, status, caplog):
    place = place_of(client)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TOKEN)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "cGw0bnQzZC10MGszbg==")
    place.server.inject(Status(status), times=-1)
    with pytest.raises(MermedError) as caught:
        place.open(patience_s=0).read_at(NAME, 0, 5)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert TOKEN not in said
    assert "cGw0bnQzZC10MGszbg" not in said
    assert isinstance(place.opened[0], RemoteStore)
