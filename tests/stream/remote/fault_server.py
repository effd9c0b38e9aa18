"""A loopback HTTP server that serves a folder, or stands before another server, and fails as it is told to.

    with FaultServer(Folder(path)) as server:
        server.latency_s = 0.05
        server.error_rate = 0.01                   # of all requests, the same ones every time
        server.inject(Status(503, retry_after=1))  # the next request; `faults` holds all kinds
        server.inject(Reset(after=1000), name="ct/train/ct-train-000000.tar", times=3)
        open_store(server.url, ...)
        server.requests, server.bytes_sent

It needs nothing but the standard library, so benchmarks use it too, with this folder on their path.
"""

import hashlib
import http.client
import mimetypes
import os
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from faults import Ask, Fault, Reply, Status

_ERRORS = (503, 500, 429, 502, 504)
"""What `error_rate` answers with, in turn."""


class Folder:
    """The files below a folder, with ETag, If-Match, and single ranges."""

    def __init__(self, path: Path, *, ranges: bool = True) -> None:
        self.path = Path(path)
        self.ranges = ranges

    def answer(self, ask: Ask) -> Reply:
        """The whole file or the range asked for, as a careful server would."""
        path = (self.path / ask.name).resolve()
        if not path.is_file() or not path.is_relative_to(self.path.resolve()):
            return Reply(404, body=b"not here")
        facts = path.stat()
        tag = f'"{hashlib.sha256(f"{facts.st_mtime_ns} {facts.st_size}".encode()).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Type": mimetypes.guess_type(path)[0] or "x/x"}
        if ask.headers.get("if-match", tag) != tag:
            return Reply(412, headers)
        if not ask.range or not self.ranges:
            return Reply(200, headers, path.read_bytes())
        return self._part(path, ask.range, facts.st_size, headers)

    def _part(self, path: Path, asked: str, size: int, headers: dict[str, str]) -> Reply:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if start >= stop:
            return Reply(416, {**headers, "Content-Range": f"bytes */{size}"})
        descriptor = os.open(path, os.O_RDONLY)
        try:
            body = os.pread(descriptor, stop - start, start)
        finally:
            os.close(descriptor)
        return Reply(206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, body)


class Upstream:
    """Another server, such as an S3 emulator, whose answers are passed on."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc

    def answer(self, ask: Ask) -> Reply:
        """What the other server says, whole."""
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request(ask.method, ask.target, headers=ask.headers)
            response = connection.getresponse()
            dropped = ("connection", "transfer-encoding", "server", "date")
            headers = {key: value for key, value in response.getheaders() if key.lower() not in dropped}
            return Reply(response.status, headers, response.read())
        finally:
            connection.close()


@dataclass
class _Rule:
    fault: Fault
    name: str | None
    times: int


class FaultServer:
    """Serves a Folder or an Upstream on a free loopback port, in threads, until closed."""

    def __init__(self, source: Folder | Upstream, *, tls: ssl.SSLContext | None = None) -> None:
        self.source = source
        self.latency_s = 0.0
        """Seconds every request waits before its answer begins."""
        self.error_rate = 0.0
        """Share of the requests that fail; which ones is decided by `seed`, the file, the range and the try."""
        self.seed = 0
        self.token = ""
        """When set, requests without the header `Authorization: Bearer <token>` are answered 403."""
        self.query = ""
        """When set, requests with another query are answered 403."""
        self.requests: list[Ask] = []
        self.statuses: Counter[int] = Counter()
        self.bytes_sent = 0
        self._rules: list[_Rule] = []
        self._tries: Counter[tuple[str, str]] = Counter()
        self._down_until = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("_Bound", (_Handler,), {"faults": self}))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fault-server")
        self._thread.start()

    def inject(self, fault: Fault, *, name: str | None = None, times: int = 1) -> None:
        """Spoil the next `times` answers about the file `name`, or about any file; -1 means for ever."""
        with self._lock:
            self._rules.append(_Rule(fault, name, times))

    def heal(self) -> None:
        """Take all faults back."""
        with self._lock:
            self._rules.clear()
            self._down_until = 0.0
        self.error_rate = 0.0

    def go_down(self, seconds: float) -> None:
        """Reset every connection for so long."""
        self._down_until = time.monotonic() + seconds

    @property
    def is_down(self) -> bool:
        """Whether connections are being reset now."""
        return time.monotonic() < self._down_until

    def asked(self, name: str) -> int:
        """How many requests there were for the file."""
        with self._lock:
            return sum(ask.name == name for ask in self.requests)

    def reply_to(self, ask: Ask) -> Reply:
        """The answer to one request, spoiled where a rule says so."""
        with self._lock:
            self.requests.append(ask)
            self._tries[ask.name, ask.range] += 1
            attempt = self._tries[ask.name, ask.range]
            fault = self._fault(ask)
        self._stopped.wait(self.latency_s)
        if self.token and ask.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(403, body=b"who are you?")
        if self.query and urlsplit(ask.target).query != self.query:
            return Reply(403, body=b"signature?")
        fault = fault or self._random_fault(ask, attempt)
        return fault(self.source.answer(ask)) if fault else self.source.answer(ask)

    def _fault(self, ask: Ask) -> Fault | None:
        for rule in self._rules:
            if rule.times and rule.name in (None, ask.name):
                rule.times -= rule.times > 0
                return rule.fault
        return None

    def _random_fault(self, ask: Ask, attempt: int) -> Fault | None:
        text = f"{self.seed}/{ask.name}/{ask.range}/{attempt}"
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        return Status(_ERRORS[number % len(_ERRORS)]) if number < self.error_rate * 2**64 else None

    def pause(self, seconds: float) -> None:
        """Sleep, but no longer than the server lives."""
        self._stopped.wait(seconds)

    def sent(self, status: int, count: int) -> None:
        """Keep the accounts."""
        with self._lock:
            self.statuses[status] += 1
            self.bytes_sent += count

    def close(self) -> None:
        """Stop listening, drop all connections, and wait for the threads."""
        self._stopped.set()
        self._server.shutdown()
        self._server.drop_all()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "FaultServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._broken: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request, client_address) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        with self._open_lock:
            self._open.discard(request)
        if request in self._broken:
            self._broken.discard(request)
            request.close()
        else:
            super().shutdown_request(request)

    def reset(self, request: socket.socket) -> None:
        """Break a connection off with RST instead of FIN, once its handler has returned."""
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._broken.add(request)

    def drop_all(self) -> None:
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request, client_address) -> None:
        """A client that went away, or a TLS handshake that it broke off, is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16
    disable_nagle_algorithm = True
    faults: FaultServer

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.faults.is_down:
            return self._reset()
        ask = Ask(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        reply = self.faults.reply_to(ask)
        count = self._send(reply)
        self.faults.sent(reply.status, count)

    do_HEAD = do_GET

    def _send(self, reply: Reply) -> int:
        self.send_response_only(reply.status, HTTPStatus(reply.status).phrase)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        body = b"" if self.command == "HEAD" else reply.body[: reply.cut]
        for part in _parts(body, reply.bytes_per_s):
            self.wfile.write(part)
            self.wfile.flush()
            if reply.bytes_per_s:
                self.faults.pause(len(part) / reply.bytes_per_s)
        self.wfile.flush()
        if reply.cut is not None:
            self.faults.pause(reply.stall_s)
            self.close_connection = True
        if reply.is_reset:
            self._reset()
        return len(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.server.reset(self.connection)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass


def _parts(body: bytes, bytes_per_s: float) -> Iterator[bytes]:
    step = max(1, int(bytes_per_s / 50)) if bytes_per_s else max(1, len(body))
    for start in range(0, len(body), step):
        yield body[start : start + step]


@contextmanager
def serving(folder: Path) -> Iterator[FaultServer]:
    """A server for the files of `folder`."""
    with FaultServer(Folder(folder)) as server:
        yield server
