"""Writer: samples to shards of deterministic bytes, each complete under a temporary name before it gets its own."""

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mermed.contract import EncodedSample, ShardRow
from mermed.errors import IntegrityError
from mermed.pack.collection.shard_file import ShardFile
from mermed.tar import Span, format_index, read_sample, scan

TEMPORARY_PREFIX = ".tmp-"
_MEMBER_OVERHEAD_BYTES = 2 * 512


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name, flush it to the disk, and give it its name."""
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    with temporary.open("wb") as file:
        file.write(content)
        _flush(file)
    temporary.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@dataclass(kw_only=True)
class ShardWriter:
    """Writes the shards of one modality, dataset and split, numbered from `next_number` on."""

    folder: Path
    modality: str
    dataset: str
    split: str
    shard_bytes: int
    next_number: int = 0
    rows: list[ShardRow] = field(default_factory=list)
    _tar: tarfile.TarFile | None = None
    _file: BinaryIO | None = None
    _samples: int = 0

    def add(self, sample: EncodedSample) -> None:
        """Append one sample, image then JSON; begins the next shard when this one would grow beyond its size."""
        encoded = sample.meta.encode(sample.image)
        size = len(sample.image) + len(encoded) + _MEMBER_OVERHEAD_BYTES
        if self._file is not None and self._file.tell() + size > self.shard_bytes:
            self.close()
        tar = self._tar or self._open()
        for extension, content in ((sample.extension, sample.image), ("json", encoded)):
            tar.addfile(_plain_member(f"{sample.meta.key}.{extension}", len(content)), io.BytesIO(content))
        self._samples += 1

    def close(self) -> None:
        """Finish the open shard: end it, flush it, read all of it back, index it, rename it, and add its row."""
        if self._tar is None or self._file is None:
            return
        try:
            self._tar.close()
            _flush(self._file)
        finally:
            self.abandon()
        final = self.folder / self._name
        temporary = self._temporary
        spans, digest = _read_back(temporary, self._name)
        if len(spans) != self._samples:
            raise IntegrityError(
                "a shard lost samples while it was written",
                where={"shard": self._name},
                expected=self._samples,
                found=len(spans),
            )
        index = format_index(spans).encode("ascii")
        size = temporary.stat().st_size
        write_atomically(final.with_suffix(".idx"), index)
        temporary.replace(final)
        flush_folder(final.parent)
        self.rows.append(
            ShardRow(
                name=self._name,
                modality=self.modality,
                dataset=self.dataset,
                split=self.split,
                samples=self._samples,
                bytes=size,
                sha256=digest,
                index_sha256=hashlib.sha256(index).hexdigest(),
            )
        )
        self.next_number += 1
        self._samples = 0

    def abandon(self) -> None:
        """Let go of an unfinished shard; its temporary file stays for the next pack to sweep away."""
        if self._file is not None:
            self._file.close()
        self._tar = self._file = None

    def _open(self) -> tarfile.TarFile:
        self._temporary.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        return self._tar

    @property
    def _name(self) -> str:
        return f"{self.modality}/{self.split}/{self.modality}-{self.split}-{self.next_number:06d}.tar"

    @property
    def _temporary(self) -> Path:
        final = self.folder / self._name
        return final.with_name(TEMPORARY_PREFIX + final.name)


def _plain_member(name: str, size: int) -> tarfile.TarInfo:
    """A header that says nothing of who packed, where or when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _read_back(path: Path, shard: str) -> tuple[list[Span], str]:
    """Read a finished file again, every header and seal; returns its spans and its sha256."""
    with ShardFile(path) as file:
        spans = scan(file.read_at, file.size, shard)
        for span in spans:
            read_sample(file.read_at, span, shard)
        return spans, file.sha256()
