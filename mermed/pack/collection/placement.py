"""Placement: which part lies where in a collection, and how it gets from one arrangement to the next through any kill.

While a collection is being published it has no manifest. A journal says what it shall become; the next pack reads it
and ends what was begun.
"""

import json
from collections.abc import Mapping

from mermed.contract import MANIFEST_NAME, Manifest
from mermed.errors import ConfigError, IntegrityError
from mermed.pack.collection.depot import Depot
from mermed.pack.collection.parts import EXTENSIONS, FOLDER, part_name

JOURNAL = f"{FOLDER}/journal.json"


class Placement:
    """Where every finished shard of a collection lies; made from its manifest, or from the journal of a dead publish.

    Only one that owns the collection `may_repair` what a dead publish left; raises ConfigError for others then.
    """

    def __init__(self, depot: Depot, *, may_repair: bool = True) -> None:
        self._depot = depot
        self.names: dict[str, str] = {}
        """sha256 to name, for shards that have their number."""
        self.manifest: Manifest | None = None
        if depot.size(JOURNAL) is not None:
            if not may_repair:
                raise ConfigError("a pack died while it published", next_step="run one pack here without --part first")
            self._replay()
        elif depot.size(MANIFEST_NAME) is not None:
            self.manifest = Manifest.decode(depot.read(MANIFEST_NAME))
            self.names = {row.sha256: row.name for row in self.manifest.shards}
        self.parts: set[str] = set()
        """sha256 of parts that wait for a number."""
        self.look()

    def look(self) -> None:
        """See which parts are there by now."""
        names = self._depot.names(FOLDER)
        self.parts = {name.removeprefix(f"{FOLDER}/").removesuffix(".tar") for name in names if name.endswith(".tar")}

    def holds(self, sha256: str, size: int) -> bool:
        """True when the shard is there, as a part or under its name, with `size` bytes and its index."""
        tar, index = (self.find(sha256, extension) for extension in EXTENSIONS)
        return self._depot.size(tar) == size and self._depot.size(index) is not None

    def find(self, sha256: str, extension: str = "tar") -> str:
        """Where a shard, or its index, lies."""
        if sha256 in self.parts or sha256 not in self.names:
            return part_name(sha256, extension)
        return self.names[sha256].removesuffix("tar") + extension

    def arrange(self, desired: Mapping[str, str]) -> None:
        """Give every shard its name (sha256 to name); the caller writes the manifest next and then calls `end`.

        First whatever lies at another name becomes a part again, then every part gets its name: so names may be
        exchanged freely, and each step can be repeated after a kill.
        """
        leaving = {name: sha256 for sha256, name in self.names.items() if desired.get(sha256) != name}
        self._write_journal(leaving, desired)
        self._depot.remove(MANIFEST_NAME)
        self._move(leaving, desired)

    def end(self) -> None:
        """Forget the journal once the manifest is written, and sweep away the parts that got no name."""
        self._depot.remove(JOURNAL)
        for name in self._depot.names(FOLDER):
            self._depot.remove(name)

    def _replay(self) -> None:
        try:
            journal = json.loads(self._depot.read(JOURNAL))
            leaving, desired = journal["leaving"], journal["desired"]
        except (ValueError, KeyError, TypeError):
            raise IntegrityError(
                "the journal of an unfinished pack is damaged",
                where={"collection": self._depot.label},
                next_step="pack into another folder",
            ) from None
        self._depot.remove(MANIFEST_NAME)
        self._move(leaving, desired)

    def _move(self, leaving: Mapping[str, str], desired: Mapping[str, str]) -> None:
        for name, sha256 in leaving.items():
            for extension in EXTENSIONS:
                self._rename(name.removesuffix("tar") + extension, part_name(sha256, extension))
        if leaving:
            self._write_journal({}, desired)
        for sha256, name in desired.items():
            for extension in EXTENSIONS:
                self._rename(part_name(sha256, extension), name.removesuffix("tar") + extension)
        self.names = dict(desired)

    def _rename(self, name: str, new_name: str) -> None:
        """Rename what is still there; what is not was renamed before the kill."""
        if self._depot.size(name) is not None:
            self._depot.rename(name, new_name)

    def _write_journal(self, leaving: Mapping[str, str], desired: Mapping[str, str]) -> None:
        self._depot.write(JOURNAL, json.dumps({"leaving": leaving, "desired": desired}, sort_keys=True).encode())
