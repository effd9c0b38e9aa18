"""A piece: the run of bytes of one shard that is fetched, kept in the cache and dropped as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mermed.contract import ShardRow
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.order.plan import Reference

_PIECES_HELD = 1 << 18


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [start, stop) of `row`, which hold its samples `block`: neighbours with their headers, or the shard."""

    row: ShardRow
    block: range
    start: int
    stop: int
    name: str = field(init=False)
    """Its name in a cache: what the bytes are, not where they came from, so no two pieces ever share one."""

    def __post_init__(self) -> None:
        name = f"{self.row.sha256}-{self.block.start}-{self.block.stop}-{self.start}-{self.stop}"
        object.__setattr__(self, "name", name)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether it is the shard from its first byte to its last."""
        return self.size == self.row.bytes


def named_piece(name: str, rows: Mapping[str, ShardRow]) -> Piece | None:
    """The piece of that `Piece.name`, behind which a suffix may stand, if its shard is among `rows` by sha256."""
    sha256, *numbers = name.partition(".")[0].split("-")
    row = rows.get(sha256)
    if row is None or len(numbers) != 4:
        return None
    first, last, start, stop = map(int, numbers)
    return Piece(row, range(first, last), start, stop)


class Pieces:
    """Which piece a sample is read from: its block, or its whole shard; safe in threads."""

    def __init__(self, indexes: IndexShelf, unit: Literal["block", "shard"]) -> None:
        self._indexes = indexes
        self._unit = unit
        self._held: dict[tuple[str, int], Piece] = {}

    def of(self, reference: Reference) -> Piece:
        """The piece that holds the sample of `reference`; raises what `IndexShelf.extent` raises."""
        return self.known(reference) or self._find(reference)

    def known(self, reference: Reference) -> Piece | None:
        """The piece of `reference` if it has been asked for before; opens nothing."""
        return self._held.get((reference.row.name, reference.block.start))

    def _find(self, reference: Reference) -> Piece:
        row, block = reference.row, self._block(reference)
        start, stop = (0, row.bytes) if self._unit == "shard" else self._indexes.extent(row, block)
        if len(self._held) > _PIECES_HELD:
            self._held.clear()
        piece = self._held[row.name, reference.block.start] = Piece(row, block, start, stop)
        return piece

    def holds(self, piece: Piece, reference: Reference) -> bool:
        """Whether `piece` is the one that `reference` is read from, and not one of other settings; opens nothing."""
        is_whole = self._unit == "shard"
        return piece.row == reference.row and piece.block == self._block(reference) and piece.whole == is_whole

    def _block(self, reference: Reference) -> range:
        return range(reference.row.samples) if self._unit == "shard" else reference.block
