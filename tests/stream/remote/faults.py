"""What can be wrong with the answer of a server: each fault turns a good reply into a bad one."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Ask:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def name(self) -> str:
        """The path, decoded, without its first slash and without the query."""
        return unquote(urlsplit(self.target).path).lstrip("/")

    @property
    def range(self) -> str:
        """The Range header; empty when the whole file is asked for."""
        return self.headers.get("range", "")


@dataclass(frozen=True)
class Reply:
    """What is sent back. `cut` bytes into the body the connection is reset, or stalls, or is closed."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    stall_s: float = 0.0
    is_reset: bool = False
    bytes_per_s: float = 0.0


Fault = Callable[[Reply], Reply]
"""What turns a good reply into a bad one."""


def Status(status: int, *, retry_after: float | str | None = None) -> Fault:
    """Another status with a short text; `retry_after` in seconds, or a date."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return lambda reply: Reply(status, headers, b"injected")


def Reset(*, after: int) -> Fault:
    """The connection is reset after so many bytes of the body."""
    return lambda reply: replace(reply, cut=after, is_reset=True)


def Truncate(*, after: int) -> Fault:
    """The connection is closed, politely, after so many bytes, although the headers promised more."""
    return lambda reply: replace(reply, cut=after)


def Stall(*, after: int, seconds: float) -> Fault:
    """No byte comes for so long, after so many; then the connection is closed."""
    return lambda reply: replace(reply, cut=after, stall_s=seconds)


def Drip(*, bytes_per_s: float) -> Fault:
    """The body comes slowly, in small parts."""
    return lambda reply: replace(reply, bytes_per_s=bytes_per_s)


def Short(*, by: int) -> Fault:
    """The body lacks its last bytes and the Content-Length says so, while the Content-Range does not."""
    return lambda reply: replace(reply, body=reply.body[:-by])


def Longer(*, by: int) -> Fault:
    """The body has bytes too many, and the Content-Length says so, while the Content-Range does not."""
    return lambda reply: replace(reply, body=reply.body + b"\xee" * by)


def Header(name: str, value: str) -> Fault:
    """A header has another value."""
    return lambda reply: replace(reply, headers={**reply.headers, name: value})


def WrongRange(*, shift: int) -> Fault:
    """The bytes are those of another range, and the Content-Range says so."""

    def spoil(reply: Reply) -> Reply:
        span, _, size = reply.headers["Content-Range"].removeprefix("bytes ").partition("/")
        first, last = (int(number) + shift for number in span.split("-"))
        return Header("Content-Range", f"bytes {first}-{last}/{size}")(reply)

    return spoil


def Redirect(location: str, status: int = 302) -> Fault:
    """Sends the client elsewhere."""
    return lambda reply: Reply(status, {"Location": location})
