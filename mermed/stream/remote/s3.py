"""S3 through s3fs: one GetObject for each range, bound to the version met first."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import aiohttp
import s3fs
from botocore import exceptions as faults
from fsspec.config import apply_config

from mermed.address import Address
from mermed.stream.remote.body import Body, wait_for
from mermed.stream.remote.failure import broken, check_status, client_failure, stalled, unknown_host, unreachable
from mermed.stream.remote.transport import Answer, Denied, Hopeless, parse_content_range, wrong_answer


class S3Transport:
    """A bucket, with the credentials that botocore finds (environment, profile, instance) or that fsspec is given."""

    def __init__(self, address: Address, stall_s: float) -> None:
        self._bucket, _, prefix = address.root.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._stall_s = stall_s
        settings = dict(apply_config(s3fs.S3FileSystem, {}))
        client = {
            "max_pool_connections": 64,
            **settings.pop("config_kwargs", {}),
            "connect_timeout": stall_s,
            "read_timeout": stall_s,
            "retries": {"total_max_attempts": 1},
        }
        self._fs: Any = s3fs.S3FileSystem(config_kwargs=client, skip_instance_cache=True, **settings)

    @contextmanager
    def get(self, name: str, start: int, stop: int | None, version: str) -> Iterator[Answer]:
        """One GetObject, with a Range unless the whole object is asked for, and If-Match once the version is known."""
        request = {"Bucket": self._bucket, "Key": self._prefix + name, **self._fs.req_kw}
        if start or stop is not None:
            request["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if version:
            request["IfMatch"] = version
        response, body = wait_for(self._fs.loop, self._ask, request)
        if body is None:
            yield Answer(start, start, _size_of_refusal(response, start), "", iter(()))
            return
        try:
            yield _answer(response, body, start, stop)
        finally:
            body.close()

    def close(self) -> None:
        """Close the connections."""
        client = self._fs._s3
        if client is not None:
            wait_for(self._fs.loop, client.close)

    async def _ask(self, request: Mapping[str, Any]) -> tuple[Mapping[str, Any], Body | None]:
        """The response and its body with the first chunk; no body when the range lies behind the end."""
        try:
            client = await self._fs.set_session()
            response = await client.get_object(**request)
        except faults.ClientError as error:
            facts = error.response.get("ResponseMetadata", {})
            check_status(facts.get("HTTPStatusCode", 0), _titled(facts.get("HTTPHeaders", {})))
            return error.response, None
        except Exception as error:
            raise _failure(error, self._stall_s) from None
        stream = response["Body"]
        body = Body(self._fs.loop, stream.read, stream.close, partial(_failure, stall_s=self._stall_s))
        await body.begin()
        return response, body


def _titled(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.title(): value for name, value in headers.items()}


def _size_of_refusal(response: Mapping[str, Any], start: int) -> int:
    """The length of the object, from the answer 416 to a range that begins behind its end."""
    headers = _titled(response["ResponseMetadata"].get("HTTPHeaders", {}))
    size = headers.get("Content-Range", "").removeprefix("bytes */") or response["Error"].get("ActualObjectSize", "")
    if not size.isdigit() or int(size) > start:
        raise wrong_answer()
    return int(size)


def _answer(response: Mapping[str, Any], body: Body, start: int, stop: int | None) -> Answer:
    """The checked answer: raises before any byte is used when it does not fit what was asked."""
    length, version = response["ContentLength"], response.get("ETag", "")
    if "ContentRange" not in response:
        return Answer(0, length, length, version, body.chunks())
    end, size = parse_content_range(response["ContentRange"], start, stop)
    if length != end - start:
        raise wrong_answer()
    return Answer(start, end, size, version, body.chunks())


def _failure(error: Exception, stall_s: float) -> Exception:
    """What an error of botocore means; its text is dropped, as it may hold more than it should."""
    if isinstance(error, faults.NoCredentialsError | faults.PartialCredentialsError | faults.CredentialRetrievalError):
        return Denied("no credentials")
    if isinstance(error, faults.SSLError):
        return Hopeless("no secure connection can be made with it")
    if isinstance(error, faults.ConnectTimeoutError | faults.ReadTimeoutError):
        return stalled(stall_s)
    if isinstance(error, faults.EndpointConnectionError):
        return (
            unknown_host() if isinstance(error.kwargs.get("error"), aiohttp.ClientConnectorDNSError) else unreachable()
        )
    if isinstance(error, faults.HTTPClientError | faults.IncompleteReadError):
        return broken()
    if isinstance(error, faults.BotoCoreError):
        return Hopeless(f"{type(error).__name__}")
    return client_failure(error, stall_s)
