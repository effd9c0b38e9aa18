"""Object stores through obstore: the transfer runs outside Python, and every answer is bound to one version."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from obstore import exceptions as faults
from obstore import store as places

from mermed.address import Address
from mermed.errors import EnvironmentError_
from mermed.stream.remote.failure import broken, check_status, stalled, unknown_host, unreachable
from mermed.stream.remote.transport import Answer, Changed, Denied, Hopeless, Missing, ranges_ignored, wrong_answer
from mermed.stream.store import CHUNK_BYTES

_STATUS = re.compile(r"status: (\d{3})\b|status code: (\d{3})\b")
_PART_BYTES = 2**18
_AZURE_ENDPOINTS = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": _AZURE_ENDPOINTS,
    "abfs": _AZURE_ENDPOINTS,
}
"""Where an operator names another server than the provider's; http is allowed only if that is an http address."""
_HOME = os.getpid()


def is_forked() -> bool:
    """Whether this process was forked from one that loaded obstore, whose threads did not come along: it would hang."""
    return os.getpid() != _HOME


class ObjectTransport:
    """S3, Google or Azure, with the credentials of the environment or of the instance.

    Raises EnvironmentError_ in a forked process.
    """

    def __init__(self, address: Address, stall_s: float) -> None:
        if is_forked():
            raise EnvironmentError_(
                "obstore cannot be used in a forked process",
                where={"store": address.shown},
                next_step="start worker processes with spawn, or set stream.store_client=fsspec",
            )
        self._stall_s = stall_s
        self._store = _open(address, stall_s)

    @contextmanager
    def get(self, name: str, start: int, stop: int | None, version: str) -> Iterator[Answer]:
        """One GET with a range, and If-Match once the version is known."""
        options: Any = {"if_match": version} if version.startswith('"') else {}
        if start or stop is not None:
            options["range"] = {"offset": start} if stop is None else (start, stop)
        try:
            result = obstore.get(self._store, name, options=options)
            meta, (first, last) = result.meta, result.range
        except Exception as error:
            if _status(error) == 416:
                yield self._behind_the_end(name, start)
                return
            raise self._failure(error) from None
        size = int(meta["size"])
        if first != start or last > (size if stop is None else stop):
            raise wrong_answer()
        yield Answer(first, last, size, _version(meta), self._chunks(result))

    def close(self) -> None:
        """Connections end with the reads that use them, at the latest when nothing comes for the stall time."""

    def _behind_the_end(self, name: str, start: int) -> Answer:
        """The answer to a range that begins behind the end of the object: its length has to be asked for."""
        try:
            meta = obstore.head(self._store, name)
        except Exception as error:
            raise self._failure(error) from None
        if int(meta["size"]) > start:
            raise wrong_answer()
        return Answer(start, start, int(meta["size"]), _version(meta), iter(()))

    def _chunks(self, result: Any) -> Iterator[bytes]:
        """The bytes of an answer as they come, in parts of some 256 KiB; a failure costs what of a part was there."""
        stream = result.stream(min_chunk_size=_PART_BYTES)
        while True:
            try:
                part = next(stream, b"")
            except Exception as error:
                raise self._failure(error) from None
            if not part:
                return
            if len(part) <= CHUNK_BYTES:
                yield part
            else:
                yield from (part[start : start + CHUNK_BYTES] for start in range(0, len(part), CHUNK_BYTES))

    def _failure(self, error: Exception) -> Exception:
        """What an error of obstore means. Its text, which may hold secrets, is looked at but never passed on."""
        if isinstance(error, FileNotFoundError):
            return Missing()
        if isinstance(error, faults.PreconditionError):
            return Changed()
        if isinstance(error, faults.PermissionDeniedError | faults.UnauthenticatedError):
            return Denied(f"answer {_status(error) or 'no'}")
        if not isinstance(error, faults.BaseError):
            return error
        status = _status(error)
        return self._failure_in_words(str(error)) if status is None else _status_failure(status)

    def _failure_in_words(self, text: str) -> Exception:
        """The kinds of failure that obstore tells apart in its text alone; others are taken for a broken connection."""
        meanings = {
            "UnexpectedRange": wrong_answer(),
            "InvalidRangeRequest": wrong_answer(),
            "ParseContentRange": wrong_answer(),
            "NoContentRange": wrong_answer(),
            "NotPartial": ranges_ignored(),
            "RangeNotSupported": ranges_ignored(),
            "kind: Builder": Hopeless("no request can be made for its address"),
            "kind: Timeout": stalled(self._stall_s),
            "dns error": unknown_host(),
            "kind: Connect,": unreachable(),
        }
        return next((meaning for mark, meaning in meanings.items() if mark in text), broken())


def _open(address: Address, stall_s: float) -> Any:
    """The store of obstore for a bucket and prefix; one try, since the retries are ours."""
    bucket, _, prefix = address.root.partition("/")
    wait = timedelta(seconds=stall_s)
    endpoint = next((os.environ[name] for name in _ENDPOINTS[address.scheme] if os.environ.get(name)), "")
    allow_http = endpoint.startswith("http://") or (
        address.scheme == "gs" and os.environ.get("GOOGLE_ALLOW_HTTP") == "true"
    )
    settings: Any = {
        "prefix": prefix or None,
        "client_options": {
            "connect_timeout": wait,
            "read_timeout": wait,
            "timeout": timedelta(days=1),
            "allow_http": allow_http,
        },
        "retry_config": {"max_retries": 0},
    }
    if address.scheme == "s3":
        return places.S3Store(bucket, endpoint=endpoint, **settings) if endpoint else places.S3Store(bucket, **settings)
    if address.scheme == "gs":
        return places.GCSStore(bucket, **settings)
    if address.userinfo:
        account = bucket.partition(".")[0]
        return places.AzureStore(address.userinfo, account_name=account, **settings)
    return places.AzureStore(bucket, **settings)


def _version(meta: Any) -> str:
    return meta.get("e_tag") or str(meta["last_modified"])


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error)) if isinstance(error, faults.BaseError) else None
    return int(found[1] or found[2]) if found else None


def _status_failure(status: int) -> Exception:
    try:
        check_status(status, {})
    except Exception as failure:
        return failure
    return wrong_answer()
