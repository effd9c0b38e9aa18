"""Ours over a store that answers slowly and fails now and then, through the cache of the node."""

import os
from pathlib import Path

from mermed.config import StreamConfig
from peers.border import Opening
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


def open(out: Path, asked: Opening) -> OurSource:
    """As ours, from the URL in the environment."""
    stream = StreamConfig(
        canvas_px=asked.side_px,
        num_threads=asked.workers,
        cache_dir=str(out),
        cache_gib=CACHE_GIB,
        patience_s=PATIENCE_S,
    )
    return OurSource(os.environ[URL_VARIABLE], stream, asked)
