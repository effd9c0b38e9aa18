"""Strict reading of one tar shard: scan its headers, parse its index, read one sample, check the whole.

Foreign tar readers end quietly at the first damaged header; this one raises, naming the shard, the key and the offset.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mermed.contract import (
    IMAGE_EXTENSIONS,
    KEY_GRAMMAR,
    MAX_MEMBER_BYTES,
    META_EXTENSION,
    EncodedSample,
    SampleMeta,
    ShardRow,
)
from mermed.errors import ContractError, IntegrityError, MermedError

BLOCK_BYTES = 512
INDEX_VERSION = "v1.2"
_CHECKSUM_BLANK = 8 * ord(" ")
ReadAt = Callable[[int, int], bytes]
"""Read `size` bytes from `offset` of one shard; fewer bytes come back only at its end."""


class Member(NamedTuple):
    """One file inside a shard: its extension and where its content lies, in bytes."""

    extension: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Offset of the first byte after the content, rounded up to a whole block."""
        return self.offset + -(-self.size // BLOCK_BYTES) * BLOCK_BYTES


class Span(NamedTuple):
    """Where one sample lies in its shard: the image member, then the JSON member."""

    key: str
    image: Member
    meta: Member


def scan(read_at: ReadAt, size: int, shard: str) -> list[Span]:
    """Walk every header of a shard of `size` bytes.

    Raises IntegrityError where the tar is cut or damaged, ContractError where a member breaks the contract.
    """
    spans: list[Span] = []
    pending: tuple[str, Member] | None = None
    for key, member in _members(read_at, size, shard):
        if pending is None:
            if member.extension == META_EXTENSION:
                raise ContractError("a JSON member comes before its image", where={"shard": shard, "key": key})
            pending = key, member
        elif key == pending[0] and member.extension == META_EXTENSION:
            spans.append(Span(key, pending[1], member))
            pending = None
        else:
            raise ContractError("a sample has no JSON member", where={"shard": shard, "key": pending[0]})
    if pending is not None:
        raise IntegrityError("the shard ends inside a sample", where={"shard": shard, "key": pending[0]})
    duplicates = len(spans) - len({span.key for span in spans})
    if duplicates:
        raise ContractError("keys occur twice in one shard", where={"shard": shard}, expected=0, found=duplicates)
    return spans


def _members(read_at: ReadAt, size: int, shard: str) -> Iterator[tuple[str, Member]]:
    """Yield (key, member) of every header up to the two zero blocks that end a tar."""
    offset, key = 0, "none read yet"
    while True:
        header = read_at(offset, BLOCK_BYTES)
        if header == bytes(BLOCK_BYTES):
            break
        key, member = parse_header(header, offset, shard, after=key)
        if member.end > size:
            raise IntegrityError(
                "the shard is cut inside a member",
                where={"shard": shard, "key": key},
                expected=f"{member.end} bytes at least",
                found=f"{size} bytes",
                next_step="copy the shard again, or pack its source again",
            )
        yield key, member
        offset = member.end
    tail = read_at(offset, max(size - offset, 0))
    if len(tail) < 2 * BLOCK_BYTES or tail.strip(b"\0"):
        raise IntegrityError(
            "the end of the shard is damaged", where={"shard": shard, "after key": key, "offset": offset}
        )


_HEADER_NAME = re.compile(rf"({KEY_GRAMMAR.pattern})\.({'|'.join((*IMAGE_EXTENSIONS, META_EXTENSION))})")


def parse_header(header: bytes, offset: int, shard: str, *, after: str = "") -> tuple[str, Member]:
    """Read one 512-byte USTAR header at `offset`; raises unless it is whole, a plain file, and named `<key>.<ext>`."""
    where: dict[str, object] = {"shard": shard, "offset": offset}
    if after:
        where["after key"] = after
    if len(header) < BLOCK_BYTES:
        raise IntegrityError(
            "the shard is cut at a header", where=where, expected="a header", found=f"{len(header)} bytes"
        )
    checksum = sum(header) - sum(header[148:156]) + _CHECKSUM_BLANK
    try:
        stored = int(header[148:156].rstrip(b"\0 ") or b"-1", 8)
        size = int(header[124:136].rstrip(b"\0 ") or b"-1", 8)
    except ValueError:
        stored = size = -1
    if stored != checksum or not 0 <= size <= MAX_MEMBER_BYTES:
        raise IntegrityError("a tar header is damaged", where=where, next_step="copy the shard again, or pack it again")
    if header[257:265] != b"ustar\x0000" or header[156:157] != b"0" or header[345:500].strip(b"\0"):
        raise ContractError("a member is not a plain USTAR file", where=where, expected="type 0", found=header[156:157])
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    match = _HEADER_NAME.fullmatch(name)
    if match is None:
        raise ContractError(
            "a member's name breaks the contract",
            where=where,
            expected=f"<key>.<ext> with key {KEY_GRAMMAR.pattern} and ext jpg, png or json",
            found=f"{name.count('.')} dots, extension {Path(name).suffix!r}",
            next_step="this is not a shard of ours; nothing in it was opened",
        )
    return match[1], Member(match[2], offset + BLOCK_BYTES, size)


def format_index(spans: list[Span]) -> str:
    """The index of a shard in DALI's wds2idx v1.2 text: one line a sample, `ext offset size name` per member."""
    lines = [f"{INDEX_VERSION} {len(spans)}"]
    for span in spans:
        parts = (f"{m.extension} {m.offset} {m.size} {span.key}.{m.extension}" for m in (span.image, span.meta))
        lines.append(" ".join(parts))
    return "\n".join(lines) + "\n"


def parse_index(text: str, shard: str) -> list[Span]:
    """Read what `format_index` wrote; raises IntegrityError for anything else."""
    head, *lines = text.splitlines() or [""]
    try:
        spans = [_parse_index_line(line) for line in lines]
        if head != f"{INDEX_VERSION} {len(spans)}":
            raise ValueError
    except ValueError:
        raise IntegrityError("the index of a shard is damaged", where={"shard": shard}, next_step=REINDEX) from None
    return spans


def _parse_index_line(line: str) -> Span:
    extension, offset, size, name, meta_extension, meta_offset, meta_size, meta_name = line.split()
    key = name.removesuffix(f".{extension}")
    if meta_extension != META_EXTENSION or meta_name != f"{key}.{META_EXTENSION}" or extension not in IMAGE_EXTENSIONS:
        raise ValueError(line)
    return Span(
        key, Member(extension, int(offset), int(size)), Member(META_EXTENSION, int(meta_offset), int(meta_size))
    )


REINDEX = "rebuild it with: mermed-shard index DATA"


def check_index(text: str, row: ShardRow) -> list[Span]:
    """Parse an index after checking that it is the one written with this shard; raises IntegrityError when stale."""
    if hashlib.sha256(text.encode()).hexdigest() != row.index_sha256:
        raise IntegrityError(
            "the index is stale: it was not written with this shard", where={"shard": row.name}, next_step=REINDEX
        )
    spans = parse_index(text, row.name)
    if len(spans) != row.samples:
        raise IntegrityError(
            "an index counts other samples", where={"shard": row.name}, expected=row.samples, found=len(spans)
        )
    return spans


def read_sample(read_at: ReadAt, span: Span, shard: str) -> EncodedSample:
    """Read one sample with a single ranged read and check its seal, which covers the image, the JSON and the key.

    Raises IntegrityError or ContractError, naming shard and key, when the bytes are not those that were packed.
    """
    image_at, size = span.image.offset, span.image.size
    region = read_at(image_at, span.meta.offset + span.meta.size - image_at)
    image = region[:size]
    try:
        meta = SampleMeta.decode(region[span.meta.offset - image_at :], image)
        if meta.key != span.key:
            raise IntegrityError("a sample's JSON names another key", next_step=REINDEX)
    except MermedError as error:
        check_headers(read_at, span, shard)  # they may say what is wrong; the seal is stricter, so they come second
        error.add_place(shard=shard, key=span.key)
        raise
    return EncodedSample(meta, image, span.image.extension)


def check_headers(read_at: ReadAt, span: Span, shard: str) -> None:
    """Raise IntegrityError or ContractError unless both headers of a sample are whole and those of its members."""
    try:
        for member in (span.image, span.meta):
            offset = member.offset - BLOCK_BYTES
            if parse_header(read_at(offset, BLOCK_BYTES), offset, shard) != (span.key, member):
                raise IntegrityError("the index points at another member", next_step=REINDEX)
        size = len(read_at(span.meta.offset, span.meta.size))
        if size < span.meta.size:
            raise IntegrityError("the shard ends inside a sample", expected=f"{span.meta.size} bytes", found=size)
    except MermedError as error:
        error.add_place(shard=shard, key=span.key)
        raise


def check_shard(path: Path, row: ShardRow) -> Iterator[EncodedSample]:
    """Check a whole local shard against its row (bytes, sha256, index, every header and seal) and yield its samples."""
    size = path.stat().st_size
    with path.open("rb") as file:

        def read_at(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        spans = scan(read_at, size, row.name)
        index = check_index(path.with_suffix(".idx").read_text("ascii"), row)
        if spans != index:
            raise IntegrityError("the index does not describe this shard", where={"shard": row.name}, next_step=REINDEX)
        for span in spans:
            yield read_sample(read_at, span, row.name)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if size != row.bytes or digest != row.sha256:
        raise IntegrityError(
            "a shard differs from its manifest row",
            where={"shard": row.name},
            expected=f"{row.bytes} bytes, sha256 {row.sha256[:12]}",
            found=f"{size} bytes, sha256 {digest[:12]}",
        )
