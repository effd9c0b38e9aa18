"""Body: the bytes of an answer that arrives on the event loop of fsspec, taken chunk by chunk from another thread."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

from fsspec.asyn import sync

from mermed.stream.store import CHUNK_BYTES


class Body:
    """Takes what `read(at_most)` gives, in chunks of 1 MiB; `close` ends the answer, on the loop.

    `failure` tells what an error of the library means. When the connection breaks inside a chunk, the bytes before the
    break are handed out first.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read: Callable[[int], Awaitable[bytes]],
        close: Callable[[], object],
        failure: Callable[[Exception], Exception],
    ) -> None:
        self._loop = loop
        self._read = read
        self._close = close
        self._meaning = failure
        self._failure: Exception | None = None
        self._first: bytes | None = None

    async def begin(self) -> None:
        """Take the first chunk, in the same visit to the loop that asked for the answer."""
        self._first = await self._take()

    async def _take(self) -> bytes:
        parts: list[bytes] = []
        missing = CHUNK_BYTES
        while missing > 0 and self._failure is None:
            try:
                part = await self._read(missing)
            except Exception as error:
                self._failure = self._meaning(error)
                break
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def chunks(self) -> Iterator[bytes]:
        """The chunks in order; raises what a failure means."""
        chunk = self._first if self._first is not None else wait_for(self._loop, self._take)
        self._first = None
        while chunk:
            yield chunk
            chunk = b"" if self._failure or len(chunk) < CHUNK_BYTES else wait_for(self._loop, self._take)
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the answer from any thread; what was not taken is dropped, with its connection."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close)


def wait_for(loop: asyncio.AbstractEventLoop, work: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
    """What a coroutine on the loop gives, or its exception."""
    return cast(Any, sync(loop, work, *arguments))
