"""ShardFile: one local shard open for reading by offset, the way `mermed.tar` asks for it."""

import hashlib
from pathlib import Path
from typing import Self


class ShardFile:
    """A shard open for reading; `with ShardFile(path) as shard: scan(shard.read_at, shard.size, name)`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = path.stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read_at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; fewer at the end of the file."""
        self._file.seek(offset)
        return self._file.read(count)

    def sha256(self) -> str:
        """The sha256 of the whole file, in hexadecimal."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()
