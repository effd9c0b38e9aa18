"""A piece: the run of bytes of one shard that is fetched, kept in the cache and dropped as one."""

from dataclasses import dataclass

from mermed.contract import ShardRow


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes [start, stop) of `row`: one block of samples with their headers, or the whole shard."""

    row: ShardRow
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.stop - self.start
