"""Claim: one pack at a time owns a collection; packs of parts share it. What died there is swept away by the next."""

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from mermed.contract import MANIFEST_NAME, SLUG_GRAMMAR, SPLITS
from mermed.errors import ConfigError, EnvironmentError_
from mermed.pack.collection import parts
from mermed.pack.collection.accounts import LIST_NAMES
from mermed.pack.collection.depot import Depot, LocalDepot
from mermed.pack.collection.placement import JOURNAL, Placement
from mermed.pack.collection.writer import TEMPORARY_PREFIX
from mermed.pack.work import ledger

CLAIM_NAME = ".packing"
LEASE_SECONDS = 900.0
"""A claim on a store without locks counts for so long after its last sign of life."""
PAGE_NAMES = ("report.html", "README.md", "croissant.json")
_SHARD_FILE = re.compile(rf"{SLUG_GRAMMAR.pattern}/({'|'.join(SPLITS)})/{SLUG_GRAMMAR.pattern}-\w+-\d{{6}}\.(tar|idx)")
Beat = Callable[[], None]


@contextmanager
def claim(depot: Depot, *, shared: bool = False) -> Iterator[Beat]:
    """Own a collection for one pack, or share it with other parts; yields what to call now and then to show life.

    Raises ConfigError when another pack is at work there or foreign files lie there, and EnvironmentError_ when the
    disk is full or refuses. The claim is a locked file where there are locks, a lease elsewhere; a finished pack
    removes it.
    """
    try:
        _check_foreign(depot)
        with _lock(depot, shared) if isinstance(depot, LocalDepot) else _lease(depot, shared) as beat:
            yield beat
    except OSError as error:
        # Reading has its own errors, so what is left is the place that is written to.
        raise EnvironmentError_(
            "the output cannot be written",
            where={"collection": depot.label},
            found=error.strerror or type(error).__name__,
            next_step="make room or permit it, then run the same command again",
        ) from None


def sweep(depot: Depot, placement: Placement) -> None:
    """Delete what dead packs left: temporary files, and shards that no manifest and no journal knows."""
    known = {
        name.removesuffix("tar") + extension for name in placement.names.values() for extension in parts.EXTENSIONS
    }
    for name in depot.names():
        if _is_temporary(name) or (_SHARD_FILE.fullmatch(name) and name not in known):
            depot.remove(name)


def _is_temporary(name: str) -> bool:
    return any(part.startswith(TEMPORARY_PREFIX) for part in name.split("/"))


def _check_foreign(depot: Depot) -> None:
    """Raise ConfigError when the place holds files of others; a collection may have any beside it.

    One whose publishing was killed has a journal in the place of its manifest.
    """
    if any(depot.size(name) is not None for name in (MANIFEST_NAME, JOURNAL)):
        return
    names = depot.names()
    foreign = [name for name in names if not _is_ours(name)]
    if foreign:
        is_ours = CLAIM_NAME in names
        raise ConfigError(
            "the output holds an unfinished pack and other files" if is_ours else "the output folder is not empty",
            where={"collection": depot.label},
            expected="nothing there, or a collection of this source",
            found=f"{len(foreign)} other files",
            next_step="choose another --out, or delete what you do not need",
        )


def _is_ours(name: str) -> bool:
    top = name.split("/")[0]
    return (
        top in (parts.FOLDER, ledger.FOLDER, CLAIM_NAME, *LIST_NAMES, *PAGE_NAMES)
        or _is_temporary(name)
        or _SHARD_FILE.fullmatch(name) is not None
    )


@contextmanager
def _lock(depot: LocalDepot, shared: bool) -> Iterator[Beat]:
    depot.folder.mkdir(parents=True, exist_ok=True)
    with (depot.folder / CLAIM_NAME).open("a") as file:
        _flock(file, depot, shared)
        yield lambda: None
        if not shared:
            depot.remove(CLAIM_NAME)


def _flock(file: TextIO, depot: Depot, shared: bool) -> None:
    """The lock dies with its process; the file stays and marks the pack as unfinished."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        raise _busy(depot) from None


@contextmanager
def _lease(depot: Depot, shared: bool) -> Iterator[Beat]:
    """A claim where nothing can be locked: an object that is renewed, and that others respect until it is old."""
    owner = f"{socket.gethostname()}-{os.getpid()}"
    name = f"{CLAIM_NAME}-{owner}" if shared else CLAIM_NAME
    others = [other for other in depot.names() if other.startswith(CLAIM_NAME) and other != name]
    for other in [] if shared else others:
        _respect(depot, other, owner)
    _respect(depot, CLAIM_NAME, owner)

    def beat() -> None:
        depot.write(name, json.dumps({"owner": owner, "at": time.time()}).encode())

    beat()
    yield beat
    for old in {name, *([] if shared else others)}:
        depot.remove(old)


def _respect(depot: Depot, name: str, owner: str) -> None:
    if depot.size(name) is None:
        return
    held = json.loads(depot.read(name) or b"{}")
    if held.get("owner") != owner and abs(time.time() - held.get("at", 0.0)) < LEASE_SECONDS:
        raise _busy(depot)


def _busy(depot: Depot) -> ConfigError:
    return ConfigError(
        "another pack is writing here",
        where={"collection": depot.label},
        next_step="wait for it; a pack that died lets go by itself",
    )
