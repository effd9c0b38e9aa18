"""A piece: the run of bytes of one shard that is fetched, kept in the cache and dropped as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mermed.contract import ShardRow
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.order.plan import Reference

_EXTENTS_HELD = 1 << 16


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [start, stop) of `row`, which hold its samples `block`: neighbours with their headers, or the shard."""

    row: ShardRow
    block: range
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether it is the shard from its first byte to its last."""
        return self.size == self.row.bytes

    @property
    def name(self) -> str:
        """Its name in a cache: what the bytes are, not where they came from, so no two pieces ever share one."""
        return f"{self.row.sha256}-{self.block.start}-{self.block.stop}-{self.start}-{self.stop}"


def named_piece(name: str, rows: Mapping[str, ShardRow]) -> Piece | None:
    """The piece of that `Piece.name`, behind which a suffix may stand, if its shard is among `rows` by sha256."""
    sha256, *numbers = name.partition(".")[0].split("-")
    row = rows.get(sha256)
    if row is None or len(numbers) != 4:
        return None
    first, last, start, stop = map(int, numbers)
    return Piece(row, range(first, last), start, stop)


class Pieces:
    """Which piece a sample is read from: its block, or its whole shard."""

    def __init__(self, indexes: IndexShelf, unit: Literal["block", "shard"]) -> None:
        self._extent = lru_cache(_EXTENTS_HELD)(indexes.extent)
        self._unit = unit

    def of(self, reference: Reference) -> Piece:
        """The piece that holds the sample of `reference`; raises what `IndexShelf.extent` raises."""
        row, block = reference.row, self._block(reference)
        start, stop = (0, row.bytes) if self._unit == "shard" else self._extent(row, block)
        return Piece(row, block, start, stop)

    def holds(self, piece: Piece, reference: Reference) -> bool:
        """Whether `piece` is the one that `reference` is read from, and not one of other settings; opens nothing."""
        is_whole = self._unit == "shard"
        return piece.row == reference.row and piece.block == self._block(reference) and piece.whole == is_whole

    def _block(self, reference: Reference) -> range:
        return range(reference.row.samples) if self._unit == "shard" else reference.block
