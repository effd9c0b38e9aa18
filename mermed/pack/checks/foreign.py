"""Foreign: WebDataset tars of other people, by path or URL, read sample by sample; nothing in them is executed."""

import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import glob, has_magic
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from mermed.address import EXTRAS, Address, parse_address
from mermed.contract import MAX_MEMBER_BYTES
from mermed.errors import ConfigError, IntegrityError, missing_extra

SCHEMES = ("file", "https", "s3", "gs", "memory")
MAX_TARS = 100_000
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*))\}")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True, slots=True)
class ForeignSample:
    """The members of one key by extension, in lower case; `skipped` counts what is no plain file, or too large."""

    name: str
    members: dict[str, bytes] = field(default_factory=dict)
    skipped: int = 0


def expand(patterns: Sequence[str]) -> list[str]:
    """Every tar that the patterns name: `{000..012}` and `{a,b}` anywhere, `*` in local paths.

    Raises ConfigError for a scheme outside the allow-list, for more than 100,000 names, and where nothing is found.
    """
    found: list[str] = []
    for pattern in patterns:
        _parse(pattern)
        for name in _expand_braces(pattern):
            is_glob = "://" not in name and has_magic(name)
            found += sorted(glob(name)) if is_glob else [name]
            if len(found) > MAX_TARS:
                raise ConfigError("the pattern names too many shards", expected=f"{MAX_TARS:,} at most")
    if not found:
        raise ConfigError("no shard has such a name", found=f"{len(patterns)} patterns without a match")
    return found


def _parse(pattern: str) -> Address:
    return parse_address(pattern, SCHEMES, refusal="shards cannot be read from there")


def _expand_braces(pattern: str) -> Iterator[str]:
    """All names of a pattern; the number of them is checked before the first is made."""
    pieces, choices, end = [], [], 0
    for match in _BRACES.finditer(pattern):
        pieces.append(pattern[end : match.start()])
        choices.append(_choices(match))
        end = match.end()
    number = 1
    for options in choices:
        number *= len(options)
        if number > MAX_TARS:
            raise ConfigError("the pattern names too many shards", expected=f"{MAX_TARS:,} at most")
    for chosen in product(*choices):
        yield "".join(piece + choice for piece, choice in zip(pieces, chosen, strict=True)) + pattern[end:]


def _choices(match: re.Match[str]) -> Sequence[str]:
    first, last, listed = match.groups()
    if listed is not None:
        return listed.split(",")
    numbers = range(int(first), int(last) + 1)
    if len(numbers) > MAX_TARS:
        raise ConfigError("the pattern names too many shards", expected=f"{MAX_TARS:,} at most")
    return [str(number).zfill(len(first)) for number in numbers]


@contextmanager
def local_copy(place: str) -> Iterator[Path]:
    """A local path with the content of one shard: the file itself, or a temporary copy of what the URL gives.

    Raises ConfigError when nothing is there, EnvironmentError_ when the store's package is missing.
    """
    address = _parse(place)
    if address.is_local:
        if not address.path.is_file():
            raise ConfigError("a shard is not there", where={"shard": address.path.name}, next_step="check the path")
        yield address.path
        return
    with TemporaryDirectory(prefix="mermed-") as folder:
        path = Path(folder) / "shard.tar"
        _download(address, path)
        yield path


def _download(address: Address, path: Path) -> None:
    try:
        import fsspec

        store, name = fsspec.core.url_to_fs(address.url)
        store.get_file(name, str(path))
    except ImportError:
        raise missing_extra(EXTRAS[address.scheme], f"reading {address.scheme}://") from None
    except (FileNotFoundError, PermissionError) as error:
        raise ConfigError(
            "a shard is not there, or may not be read", where={"shard": address.shown}, found=type(error).__name__
        ) from None


def shown(place: str) -> str:
    """A path or URL as it may be shown: without credentials and without a query, which may hold a signature."""
    return _parse(place).shown


def read_foreign(path: Path, label: str) -> Iterator[ForeignSample]:
    """The samples of a tar as WebDataset sees them: neighbouring members whose names agree up to the first dot.

    Raises IntegrityError, naming the shard, for a tar that is cut, damaged or compressed.
    """
    with path.open("rb") as file:
        head = file.read(6)
    packed = next((name for mark, name in _COMPRESSED.items() if head.startswith(mark)), None)
    if packed:
        raise IntegrityError(
            "a shard is compressed", where={"shard": label}, expected="a plain tar", found=packed, next_step="unpack it"
        )
    sample = ForeignSample("")
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name, extension = split_name(member.name)
                if name != sample.name:
                    if sample.name:
                        yield sample
                    sample = ForeignSample(name)
                sample = _take(sample, tar, member, extension)
                tar.members = []  # type: ignore[attr-defined]  # else it remembers every header it has seen
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise IntegrityError(
            "a shard is no whole tar",
            where={"shard": label},
            found=type(error).__name__,
            next_step="fetch the shard again, or leave it out",
        ) from None
    if sample.name:
        yield sample


def split_name(member: str) -> tuple[str, str]:
    """Key and extension of a member: the extension begins at the first dot of its last part."""
    folder, slash, last = member.rpartition("/")
    stem, _, extension = last.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _take(sample: ForeignSample, tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str) -> ForeignSample:
    is_usable = member.isreg() and member.size <= MAX_MEMBER_BYTES and extension not in sample.members
    stream = tar.extractfile(member) if is_usable else None
    if stream is None:
        return ForeignSample(sample.name, sample.members, sample.skipped + (not member.isdir()))
    content = stream.read()
    if len(content) != member.size:
        raise EOFError
    return ForeignSample(sample.name, {**sample.members, extension: content}, sample.skipped)
