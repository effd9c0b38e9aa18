"""Ours over a store that answers slowly and fails now and then, through the cache of the node."""

import os
from pathlib import Path
from typing import Any

from mermed.config import StreamConfig
from mermed.world import World
from peers.ours import OurSource

TITLE = "ours over HTTP (50 ms, 1 % errors), cache warm"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
URL_VARIABLE = "MERMED_BENCH_URL"
"""Environment variable that holds the URL of the packed collection."""
CACHE_GIB, PATIENCE_S = 8.0, 60.0


def prepare(images: Path, out: Path) -> None:
    """The collection lies at the store already; `out` becomes the cache."""
    out.mkdir()


def open(
    out: Path,
    *,
    batch: int,
    workers: int,
    seed: int,
    side_px: int,
    rank: int = 0,
    num_ranks: int = 1,
    state: Any = None,
    shuffle: bool = True,
    mix: bool = False,
) -> OurSource:
    """As ours, from the URL in the environment."""
    stream = StreamConfig(
        canvas_px=side_px, num_threads=workers, cache_dir=str(out), cache_gib=CACHE_GIB, patience_s=PATIENCE_S
    )
    world = World(rank=rank, num_ranks=num_ranks)
    return OurSource(os.environ[URL_VARIABLE], stream, batch=batch, seed=seed, world=world, first_slot=state or 0)
