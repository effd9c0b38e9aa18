"""One reference to one sample: find it, read it with a single ranged read, check it."""

from functools import partial
from pathlib import Path

from mermed import tar
from mermed.contract import EncodedSample
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Reference
from mermed.stream.store import Store


class SampleReader:
    """Reads single samples of a collection; safe in threads. `tables` is a local folder to keep parsed indexes in."""

    def __init__(self, store: Store, watch: Watch | None = None, tables: Path | None = None) -> None:
        self._store = store
        self._watch = watch or Watch()
        self.indexes = IndexShelf(store, watch=self._watch, folder=tables)

    def read(self, reference: Reference) -> EncodedSample:
        """The sample of `reference`; raises IntegrityError or ContractError naming shard and key."""
        row = reference.row
        span = self.indexes.span(row, reference.index)
        with self._watch.timing("disk"):
            return tar.read_sample(partial(self._store.read_at, row.name), span, row.name)
