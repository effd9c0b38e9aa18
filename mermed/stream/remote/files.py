"""Any other store of fsspec: ranges in parts of 8 MiB, and a look at the file's facts before the first and after each.

Such a store cannot be told which version is meant, so the facts are compared instead: one small request a part.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import fsspec

from mermed.address import Address
from mermed.stream.remote.transport import Answer, Changed, Denied, Missing, Passing, wrong_answer
from mermed.stream.store import CHUNK_BYTES

T = TypeVar("T")
PART_BYTES = 8 * CHUNK_BYTES
_LIBRARIES = frozenset(("aiohttp", "azure", "gcsfs", "google", "requests", "urllib3"))
_VERSION_FACTS = (
    "ETag",
    "etag",
    "md5Hash",
    "generation",
    "VersionId",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)


class FilesTransport:
    """A filesystem of fsspec, with the credentials that its package finds."""

    def __init__(self, address: Address) -> None:
        self._root = address.root
        scheme = address.scheme
        if scheme == "abfs" and address.userinfo:
            self._root = f"{address.userinfo}@{address.root}"
        self._fs: Any = fsspec.filesystem(scheme, skip_instance_cache=scheme != "memory", use_listings_cache=False)

    @contextmanager
    def get(self, name: str, start: int, stop: int | None, version: str) -> Iterator[Answer]:
        """The answer to a range, cut into parts that are fetched as they are taken."""
        path = f"{self._root}/{name}"
        size, found = self._facts(path)
        end = min(size, size if stop is None else stop)
        yield Answer(min(start, end), end, size, found, self._parts(path, start, end, (size, found)))

    def close(self) -> None:
        """Nothing stays open but what fsspec closes itself."""

    def _parts(self, path: str, start: int, stop: int, facts: tuple[int, str]) -> Iterator[bytes]:
        for begin in range(start, stop, PART_BYTES):
            end = min(begin + PART_BYTES, stop)
            part = _translated(lambda begin=begin, end=end: self._fs.cat_file(path, start=begin, end=end))
            if self._facts(path) != facts:
                raise Changed
            if len(part) != end - begin:
                raise wrong_answer()
            for offset in range(0, len(part), CHUNK_BYTES):
                yield bytes(part[offset : offset + CHUNK_BYTES])

    def _facts(self, path: str) -> tuple[int, str]:
        """Length and version of a file."""
        info = _translated(lambda: self._fs.info(path))
        if info.get("type") == "directory":
            raise Missing
        return int(info["size"]), " ".join(str(info[fact]) for fact in _VERSION_FACTS if info.get(fact))


def _translated(ask: Callable[[], T]) -> T:
    """What `ask` gives, with the failures of a store's library in our words; their text may hold secrets."""
    try:
        return ask()
    except FileNotFoundError:
        raise Missing from None
    except PermissionError as error:
        raise Denied(type(error).__name__) from None
    except TimeoutError:
        raise Passing("stalls", "the store does not answer in time") from None
    except OSError:
        raise Passing("broken_reads", "the store breaks off") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _LIBRARIES:
            raise
        raise _from_status(getattr(error, "code", None) or getattr(error, "status_code", None)) from None


def _from_status(status: object) -> Exception:
    if status in (401, 403):
        return Denied(f"answer {status}")
    if status == 404:
        return Missing()
    if isinstance(status, int):
        return Passing(f"http_{status}", f"the store answers {status}")
    return Passing("broken_reads", "the store breaks off")
