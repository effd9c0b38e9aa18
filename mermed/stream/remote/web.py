"""Collections on web servers, over the session that fsspec keeps: every range answer is checked before it is used."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import aiohttp
import yarl
from fsspec.config import apply_config
from fsspec.implementations.http import HTTPFileSystem

from mermed.address import Address
from mermed.stream.remote.body import Body, wait_for
from mermed.stream.remote.failure import broken, check_status, client_failure
from mermed.stream.remote.redirect import MAX_HOPS, GuardedResolver, next_hop
from mermed.stream.remote.transport import Answer, Hopeless, Passing, parse_content_range, wrong_answer


class WebTransport:
    """HTTP and HTTPS. Headers, proxies and passwords come from the environment and the configuration of fsspec."""

    def __init__(self, address: Address, stall_s: float) -> None:
        self._address = address
        self._stall_s = stall_s
        settings = dict(apply_config(HTTPFileSystem, {}))
        limits = aiohttp.ClientTimeout(total=None, sock_connect=stall_s, sock_read=stall_s)
        client = {
            "trust_env": True,
            **settings.pop("client_kwargs", {}),
            "timeout": limits,
            "auto_decompress": False,
            "read_bufsize": 2**20,
        }
        self._fs: Any = HTTPFileSystem(client_kwargs=client, skip_instance_cache=True, **settings)
        self._bare: aiohttp.ClientSession | None = None

    @contextmanager
    def get(self, name: str, start: int, stop: int | None, version: str) -> Iterator[Answer]:
        """One GET, with a Range unless the whole file is asked for, and If-Match where the version allows it."""
        headers = {"Accept-Encoding": "identity"}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if version.startswith('"'):
            headers["If-Match"] = version
        response, body = wait_for(self._fs.loop, self._ask, self._address.file_url(name), headers)
        try:
            yield _answer(response, body, start, stop)
        finally:
            body.close()

    def close(self) -> None:
        """Close the connections, those to other hosts too."""
        wait_for(self._fs.loop, self._close)

    async def _ask(self, url: str, headers: dict[str, str]) -> tuple[aiohttp.ClientResponse, Body]:
        """The response to `url`, followed over redirects as far as that is safe, with its first chunk."""
        target = yarl.URL(url, encoded=True)
        session, settings = await self._fs.set_session(), self._fs.kwargs
        for _ in range(MAX_HOPS):
            try:
                response = await session.get(target, **_merged(settings, headers), allow_redirects=False)
            except Exception as error:
                # closed by another thread while this one asked: aiohttp then fails in ways of its own, assertions too
                raise broken() if session.closed else client_failure(error, self._stall_s) from None
            if response.status not in (301, 302, 303, 307, 308):
                return response, await self._begin(response)
            response.close()
            hop = next_hop(target, response.headers.get("Location", ""))
            if hop.origin() != target.origin():
                session, settings = await self._bare_session(), {}
            target = hop
        raise Hopeless("it sends from one address to the next")

    async def _begin(self, response: aiohttp.ClientResponse) -> Body:
        body = Body(
            self._fs.loop, response.content.read, response.close, partial(client_failure, stall_s=self._stall_s)
        )
        if response.status in (200, 206):
            await body.begin()
        return body

    async def _bare_session(self) -> aiohttp.ClientSession:
        """A session without the headers and passwords that are meant for the collection's own host."""
        if self._bare is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=self._stall_s, sock_read=self._stall_s)
            connector = aiohttp.TCPConnector(resolver=GuardedResolver(yarl.URL(self._address.url, encoded=True)))
            self._bare = aiohttp.ClientSession(timeout=limits, connector=connector, auto_decompress=False)
        return self._bare

    async def _close(self) -> None:
        for session in (self._fs._session, self._bare):
            if session is not None:
                await session.close()


def _merged(settings: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    return {**settings, "headers": {**settings.get("headers", {}), **headers}}


def _answer(response: aiohttp.ClientResponse, body: Body, start: int, stop: int | None) -> Answer:
    """The checked answer: raises before any byte is used when status or headers do not fit what was asked."""
    check_status(response.status, response.headers)
    length = response.content_length
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified", "")
    if response.status == 416:
        size = response.headers.get("Content-Range", "").removeprefix("bytes */")
        if not size.isdigit() or int(size) > start:
            raise wrong_answer()
        return Answer(start, start, int(size), tag, iter(()))
    if length is None or response.headers.get("Content-Encoding", "identity") != "identity":
        raise Passing("no_length", "the store does not say how long its answer is", is_wrong=True)
    if response.status == 200:
        return Answer(0, length, length, tag, body.chunks())
    end, size = parse_content_range(response.headers.get("Content-Range", ""), start, stop)
    if length != end - start:
        raise wrong_answer()
    return Answer(start, end, size, tag, body.chunks())
