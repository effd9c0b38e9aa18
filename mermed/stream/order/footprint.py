"""The footprint of a plan on its store: what a window of the shuffle holds, and what is fetched of it, in bytes.

Arithmetic on the manifest alone, in expectation where nodes share a block: which of its samples fall to a node is as
good as chance. Exact for one node and whole windows.
"""

from dataclasses import dataclass

import numpy as np

from mermed.stream.order.plan import Plan
from mermed.stream.order.source import Source

ROOM = 2
"""Windows a cache needs room for: the one that is drawn from, and the next while it is fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """One source as a cache sees it: `samples` in `blocks` of neighbours, kept in `pieces` (the blocks, or the shards).

    All pieces together have `size` bytes; `window` samples are drawn from `window_pieces` pieces at a time.
    """

    samples: int
    size: int
    blocks: int
    pieces: int
    window: int
    window_pieces: float

    @property
    def window_bytes(self) -> int:
        """What one window holds, in whole pieces."""
        return round(self.size * self.window_pieces / self.pieces)

    @property
    def need_bytes(self) -> int:
        """What a cache needs room for, so that nothing is fetched twice in a cycle; at most the whole source."""
        return min(ROOM * self.window_bytes, self.size)

    def fetched_bytes(self, draws: int, nodes: int) -> int:
        """Sent to all nodes together over `draws` draws, when each keeps a piece until its window is over."""
        cycles, whole, begun, drawn = self._progress(draws)
        windows = (cycles + whole) * self._reached(1.0, nodes) + begun * self._reached(drawn, nodes)
        return round(nodes * windows * self.window_bytes * self.samples / self.window)

    def kept_bytes(self, draws: int, nodes: int) -> int:
        """Sent to all nodes together over `draws` draws, when each keeps everything it was ever sent."""
        cycles, whole, begun, drawn = self._progress(draws)
        per_block = self.samples / self.blocks
        cycle = (1.0 - 1.0 / nodes) ** per_block
        missed = cycle**cycles * (whole * cycle + begun * (1.0 - drawn / nodes) ** per_block + 1.0 - whole - begun)
        return round(nodes * self.size * (1.0 - missed ** (self.blocks / self.pieces)))

    def _progress(self, draws: int) -> tuple[int, float, float, float]:
        """Whole cycles; then, as shares of a cycle, its whole windows and the one begun; what of that one is drawn."""
        cycles, rest = divmod(draws, self.samples)
        windows, partly = divmod(rest, self.window)
        size = min(self.window, self.samples - windows * self.window) if partly else 0
        return cycles, windows * self.window / self.samples, size / self.samples, partly / size if size else 0.0

    def _reached(self, drawn: float, nodes: int) -> float:
        """Expected share of a window's pieces that a node needs once the share `drawn` of the window is drawn."""
        return 1.0 - (1.0 - drawn / nodes) ** (self.window / self.window_pieces)


def footprints(plan: Plan, unit: str) -> dict[str, Footprint]:
    """The footprint of every source of `plan`, by name; `unit` is what is kept as one, `block` or `shard`."""
    return {source.name: footprint(source, unit) for source in plan.all_sources}


def footprint(source: Source, unit: str) -> Footprint:
    """The footprint of one source."""
    blocks = _num_blocks(source)
    window = min(source.samples, source.window or source.samples)
    pieces, reached = blocks, blocks * window / source.samples
    if unit == "shard":
        pieces = len(source.rows)
        # a shard is missed when none of its blocks is among those of the window
        reached = pieces * (1.0 - (1.0 - window / source.samples) ** (blocks / pieces))
    return Footprint(
        samples=source.samples, size=source.bytes, blocks=blocks, pieces=pieces, window=window, window_pieces=reached
    )


def _num_blocks(source: Source) -> int:
    """Blocks of neighbours; one that crosses the border of two shards is two pieces."""
    return int(-(-source.samples // source.block) + np.count_nonzero(source.ends[:-1] % source.block))
