"""Where each sample lies in its shard: the indexes of the shards met lately, checked once and held."""

from functools import lru_cache

from mermed import tar
from mermed.contract import ShardRow
from mermed.errors import IntegrityError
from mermed.stream.store import Store

_INDEXES_HELD = 1024


class IndexShelf:
    """Answers where a sample lies, from the shard's index; safe in threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spans = lru_cache(_INDEXES_HELD)(self._load)

    def span(self, row: ShardRow, index: int) -> tar.Span:
        """Where sample `index` of `row` lies; raises IntegrityError for a stale index or a shard of another size."""
        return self._spans(row)[index]

    def extent(self, row: ShardRow, block: range) -> tuple[int, int]:
        """The bytes [start, stop) of the samples of `block`, headers included."""
        spans = self._spans(row)
        return spans[block[0]].image.offset - tar.BLOCK_BYTES, spans[block[-1]].meta.end

    def _load(self, row: ShardRow) -> list[tar.Span]:
        size = self._store.size(row.name)
        if size != row.bytes:
            raise IntegrityError(
                "a shard has another size than its manifest row",
                where={"shard": row.name},
                expected=f"{row.bytes} bytes",
                found=f"{size} bytes",
                next_step="copy the shard again; mermed-shard verify lists every damaged one",
            )
        return tar.check_index(self._store.read(row.index_name).decode("ascii", "replace"), row)
