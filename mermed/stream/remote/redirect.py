"""Redirects: where a web server may send a reader on to, and where not."""

import ipaddress
import socket

import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from mermed.stream.remote.transport import Hopeless

MAX_HOPS = 5


def next_hop(origin: yarl.URL, location: str) -> yarl.URL:
    """Where `location` leads from `origin`.

    Raises Hopeless for another protocol, for a way out of https, and for an address inside the machine or its network
    unless the store itself lies there.
    """
    try:
        target = origin.join(yarl.URL(location, encoded=True))
    except ValueError:
        raise Hopeless("it sends on to no address") from None
    if target.scheme not in ("http", "https") or not target.host:
        raise Hopeless("it sends on to another protocol")
    if origin.scheme == "https" and target.scheme != "https":
        raise Hopeless("it sends on from https to http")
    check_host(target.host, origin)
    return target.with_user(None) if target.user else target


def check_host(host: str, origin: yarl.URL) -> None:
    """Raise Hopeless when `host` is an address that a redirect from `origin` may not lead to."""
    try:
        place = ipaddress.ip_address(host)
    except ValueError:
        return
    place = getattr(place, "ipv4_mapped", None) or place
    if place.is_link_local or (not place.is_global and not _is_inside(origin.host or "")):
        raise Hopeless("it sends on to an address inside the network")


def _is_inside(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost"


class GuardedResolver(AbstractResolver):
    """Looks names up as usual, and refuses those that lead where a redirect from `origin` may not."""

    def __init__(self, origin: yarl.URL) -> None:
        self._origin = origin
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host; raises Hopeless as `check_host` does."""
        found = await self._resolver.resolve(host, port, family)
        for entry in found:
            check_host(entry["host"], self._origin)
        return found

    async def close(self) -> None:
        """Nothing to close."""
        await self._resolver.close()
