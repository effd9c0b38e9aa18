"""What to change before a run is started: sentences about settings that do not fit its collection or its machines."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mermed.config import RunConfig
from mermed.contract import Manifest
from mermed.stream.order.footprint import footprints
from mermed.stream.order.plan import Plan

_WINDOWS = (4096, 2048, 1024, 512, 256)
"""Window sizes worth proposing, in blocks: below 256 the shares of a batch's sources scatter (docs/order.md)."""


def advice(facts: Mapping[str, Any], manifest: Manifest, config: RunConfig) -> list[str]:
    """Sentences, the most costly matter first; empty when all fits. `facts` are those of the outlook."""
    found = _about_the_world(facts)
    if facts["remote"]:
        found += _about_the_store(facts, manifest, config)
    return found


def _about_the_world(facts: Mapping[str, Any]) -> list[str]:
    batch, ranks = facts["batch"], facts["world"]["ranks"]
    if batch % ranks:
        near = batch // ranks * ranks or ranks
        return [f"a batch of {batch} does not divide over {ranks} ranks: set train.batch={near} or {near + ranks}"]
    return []


def _about_the_store(facts: Mapping[str, Any], manifest: Manifest, config: RunConfig) -> list[str]:
    cache, nodes, stream = facts["cache"], facts["world"]["nodes"], config.stream
    is_windowed = bool(stream.window_blocks or stream.window_mib)
    given, need, whole = cache["given_bytes"], cache["need_bytes"], cache["all_bytes"]
    found = []
    if not given:
        found.append(
            f"without a cache each of the {facts['slots']:,} samples is a request of its own: set stream.cache_dir and "
            f"stream.cache_gib={_gib(need)}"
        )
    elif given < min(need, whole) and is_windowed:
        found.append(
            f"the cache holds {_size(given)}, less than the windows of the shuffle need: set "
            f"stream.cache_gib={_gib(need)} or a smaller window{_proposal(manifest, config, given)}"
        )
    if not is_windowed and given < whole:
        found.append(
            "a perfect shuffle comes back to every block all the time, and the cache does not hold the collection: set "
            f"stream.cache_gib={_gib(whole)} or a window{_proposal(manifest, config, given or need)}"
        )
    egress = cache["egress_with_all_bytes"] if given >= whole else cache["egress_with_windows_bytes"]
    if given and nodes > 1 and egress > cache["egress_without_bytes"]:
        found.append(
            f"each of the {nodes} nodes fetches nearly every {stream.cache_unit} for itself: {_size(egress)} leave the "
            f"store, against {_size(cache['egress_without_bytes'])} without a cache: if bytes cost more than requests, "
            "leave stream.cache_dir empty"
        )
    return found


def _proposal(manifest: Manifest, config: RunConfig, room: int) -> str:
    """The largest window that fits into `room` bytes, as a setting; empty when none does."""
    now = config.stream.window_blocks if not config.stream.window_mib else 0
    for blocks in _WINDOWS:
        stream = replace(config.stream, window_blocks=blocks, window_mib=0.0)
        marks = footprints(Plan(manifest, config.mix, stream, config.seed), stream.cache_unit).values()
        need = sum(mark.need_bytes for mark in marks)
        if need <= room and (not now or blocks < now):
            return f": stream.window_blocks={blocks} needs {_size(need)}"
    return ""


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:,.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:,.1f} MiB"


def _gib(num_bytes: int) -> str:
    """As a value of stream.cache_gib, rounded up."""
    gib = num_bytes / 2**30
    return f"{int(gib) + 1}" if gib >= 1 else f"{int(gib * 100 + 1) / 100:g}"
