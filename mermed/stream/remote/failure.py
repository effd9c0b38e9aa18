"""Failures: what an HTTP status, or an error of the client library, means for a read."""

import email.utils
import time
from collections.abc import Mapping

import aiohttp

from mermed.stream.remote.transport import Changed, Denied, Hopeless, Missing, Passing

_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504, 507, 508, 509, 520, 521, 522, 523, 524))


def check_status(status: int, headers: Mapping[str, str]) -> None:
    """Return for 200, 206 and 416; raise what any other status means. `headers` is asked for Retry-After."""
    if status in (200, 206, 416):
        return
    if status in (401, 403):
        raise Denied(f"answer {status}")
    if status in (404, 410):
        raise Missing
    if status == 412:
        raise Changed
    if status in _PASSING:
        delay = retry_after_s(headers.get("Retry-After", ""))
        raise Passing(f"http_{status}", f"the store answers {status}", retry_after_s=delay)
    raise Hopeless(f"answer {status}")


def retry_after_s(header: str) -> float:
    """Seconds that a Retry-After header asks to wait, given as a number or a date; 0 for anything else."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    date = email.utils.parsedate_tz(text)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else 0.0


def client_failure(error: Exception, stall_s: float) -> Exception:
    """What an error of aiohttp means; one that is no failure of a connection comes back as it is.

    The text of the library's error is dropped: it may hold the whole URL.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Hopeless("its certificate is not trusted")
    if isinstance(error, aiohttp.ClientSSLError):
        return Hopeless("no secure connection can be made with it")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Hopeless(f"the proxy answers {error.status}")
    if isinstance(error, aiohttp.InvalidURL):
        return Hopeless("the address is no URL")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return unknown_host()
    if isinstance(error, TimeoutError):
        return stalled(stall_s)
    if isinstance(error, aiohttp.ClientConnectorError):
        return unreachable()
    if isinstance(error, aiohttp.ClientError | OSError):
        return broken()
    return error


def unknown_host() -> Passing:
    """No name server knows the host."""
    return Passing("unknown_hosts", "nobody knows the store's host", is_lost=True)


def unreachable() -> Passing:
    """No connection could be made."""
    return Passing("unreachable", "the store cannot be reached")


def stalled(stall_s: float) -> Passing:
    """No byte came for so long."""
    return Passing("stalls", f"the store sends nothing for {stall_s:g} s")


def broken() -> Passing:
    """The connection ended before the answer did."""
    return Passing("broken_reads", "the store breaks off")
