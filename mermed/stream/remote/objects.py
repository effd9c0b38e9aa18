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
from mermed.stream.remote.failure import broken, check_status, stalled, unknown_host, unreachable
from mermed.stream.remote.transport import Answer, Changed, Denied, Missing, Passing, wrong_answer
from mermed.stream.store import CHUNK_BYTES

_STATUS = re.compile(r"status: (\d{3})\b|status code: (\d{3})\b")


class ObjectTransport:
    """S3, Google or Azure, with the credentials of the environment or of the instance."""

    def __init__(self, address: Address, stall_s: float) -> None:
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
        """The bytes of an answer in chunks of 1 MiB; those that came before a failure first."""
        stream, held = result.stream(min_chunk_size=1), bytearray()
        failure: Exception | None = None
        while failure is None:
            try:
                part = next(stream, b"")
            except Exception as error:
                failure = self._failure(error)
                break
            held += part
            while len(held) >= CHUNK_BYTES or (held and not part):
                yield bytes(held[:CHUNK_BYTES])
                del held[:CHUNK_BYTES]
            if not part:
                return
        if held:
            yield bytes(held)
        raise failure

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
        status, text = _status(error), str(error)
        if status is not None:
            return _status_failure(status)
        if "UnexpectedRange" in text:
            return wrong_answer()
        if "NotPartial" in text or isinstance(error, faults.NotSupportedError):
            return Passing("ranges_ignored", "the store sends whole files instead of ranges", is_wrong=True)
        if "kind: Timeout" in text:
            return stalled(self._stall_s)
        if "dns error" in text:
            return unknown_host()
        return unreachable() if "kind: Connect" in text else broken()


def _open(address: Address, stall_s: float) -> Any:
    """The store of obstore for a bucket and prefix; one try, since the retries are ours."""
    bucket, _, prefix = address.root.partition("/")
    wait = timedelta(seconds=stall_s)
    settings: Any = {
        "prefix": prefix or None,
        "client_options": {"connect_timeout": wait, "read_timeout": wait, "timeout": timedelta(days=1)},
        "retry_config": {"max_retries": 0},
    }
    if address.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        settings["client_options"]["allow_http"] = endpoint.startswith("http://")
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
