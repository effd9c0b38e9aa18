"""One file, served on loopback, as every protocol the stream reads sees it."""

from functools import partial

import numpy as np
from fault_server import Folder
from faults import Header

from mermed.address import parse_address
from mermed.stream.meters.watch import Watch
from mermed.stream.remote.opening import open_transport
from mermed.stream.remote.store import RemoteStore

NAME = "ct/train/ct-train-000000.tar"
CONTENT = np.random.default_rng(0).bytes(2_500_000)
PLACES = ("http", "s3 by s3fs", "s3 by obstore", "gs by obstore", "az by obstore")


class DatedFolder(Folder):
    """Adds the date that object stores always send."""

    def answer(self, ask):
        reply = super().answer(ask)
        return Header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")(reply) if reply.status < 300 else reply


class Place:
    """One protocol on one server."""

    def __init__(self, server, url, client):
        self.server, self.url, self.client = server, url, client
        self.opened = []
        self.asked_name = f"bucket/coll/{NAME}"

    def open(self, *, patience_s=0.3, stall_s=5.0, watch=None):
        address = parse_address(self.url)
        opening = partial(open_transport, address, self.client, stall_s)
        store = RemoteStore(address, opening, watch or Watch(), float(patience_s))
        self.opened.append(store)
        return store
