"""Where each sample lies in its shard: the tables of the shards met lately, checked once and held by their bytes."""

import copy
import threading
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path

from mermed import tar
from mermed.contract import ShardRow
from mermed.stream.index.folder import TableFolder
from mermed.stream.index.table import ShardTable, parse_table
from mermed.stream.meters.watch import Watch
from mermed.stream.store import Store, check_size

HELD_BYTES = 512 * 2**20
"""What a shelf holds unless told otherwise: the tables of some eight million samples."""


class IndexShelf:
    """Answers where a sample lies, from its shard's index; safe in threads, of which one reads an index for all.

    Tables stay in memory up to `capacity_bytes`, the least recently used leave first (the newest always stays). With a
    `folder` on a local disk they are kept there too, for later runs and other ranks: see TableFolder. Watch counts
    `indexes_parsed` and `tables_loaded`: if they keep growing, the shuffle touches more shards than the shelf holds.
    """

    def __init__(
        self,
        store: Store,
        *,
        watch: Watch | None = None,
        capacity_bytes: int = HELD_BYTES,
        folder: Path | None = None,
    ) -> None:
        self._store = store
        self._watch = watch or Watch()
        self._capacity = capacity_bytes
        self._folder = TableFolder(folder, watch=self._watch) if folder else None
        self._lock = threading.Lock()
        self._held: OrderedDict[str, ShardTable] = OrderedDict()
        self._flights: dict[str, Future[ShardTable]] = {}
        self.held_bytes = 0

    def span(self, row: ShardRow, index: int) -> tar.Span:
        """Where sample `index` of `row` lies; raises what `table` raises."""
        return self.table(row).span(index)

    def key(self, row: ShardRow, index: int) -> str:
        """The key of sample `index` of `row`, before anything of the shard is read; raises what `table` raises."""
        return self.table(row).key(index)

    def extent(self, row: ShardRow, block: range) -> tuple[int, int]:
        """The bytes [start, stop) of the samples of `block`, headers included; raises what `table` raises."""
        return self.table(row).extent(block)

    def table(self, row: ShardRow) -> ShardTable:
        """The table of `row`.

        Raises IntegrityError for an index that is missing, stale or damaged and for a shard of another size,
        ContractError for a key that occurs twice, and what the store raises.
        """
        name = row.name
        with self._lock:
            table = self._held.get(name)
            if table is not None:
                self._held.move_to_end(name)
                return table
            others = self._flights.get(name)
            flight = self._flights.setdefault(name, Future())
        return self._join(flight) if others else self._lead(row, flight)

    def _join(self, flight: Future[ShardTable]) -> ShardTable:
        with self._watch.timing("cache"):
            error = flight.exception()
        if error is not None:
            raise copy.copy(error)  # each thread adds its own places to it
        return flight.result()

    def _lead(self, row: ShardRow, flight: Future[ShardTable]) -> ShardTable:
        try:
            table = self._load(row)
        except BaseException as error:
            with self._lock:
                del self._flights[row.name]
            flight.set_exception(error)
            raise
        with self._lock:
            del self._flights[row.name]
            self._hold(row.name, table)
        flight.set_result(table)
        return table

    def _hold(self, name: str, table: ShardTable) -> None:
        self._held[name] = table
        self.held_bytes += table.nbytes
        while self.held_bytes > self._capacity and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self.held_bytes -= oldest.nbytes

    def _load(self, row: ShardRow) -> ShardTable:
        """From the folder if it has the table, else from the index; then too the shard's size is asked for once."""
        table = self._folder.load(row) if self._folder else None
        if table is not None:
            self._watch.count("tables_loaded")
            return table
        check_size(self._store, row)
        table = parse_table(self._store.read(row.index_name), row)
        self._watch.count("indexes_parsed")
        if self._folder:
            self._folder.save(row, table)
        return table
