"""Opening: which transport serves an address, and which package it needs."""

import importlib.util
import os
from pathlib import Path

from fsspec import config

from mermed.address import EXTRAS, WEB_SCHEMES, Address
from mermed.errors import missing_extra
from mermed.stream.remote.transport import Transport

STALL_S = 30.0
"""Seconds without a byte after which a connection is given up and the read goes on over another."""
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def open_transport(address: Address, client: str, stall_s: float = STALL_S) -> Transport:
    """The transport for a remote address.

    `client` is fsspec, obstore or auto: obstore for the object stores where it is installed and can find the
    credentials, and not in a forked process. The web is always read by our own checked requests over the session of
    fsspec, because obstore follows redirects to anywhere. The settings of fsspec are read again from their files and
    the environment, as they may hold credentials that were renewed. Raises EnvironmentError_ naming the extra when a
    package is missing.
    """
    config.set_conf_files(config.conf_dir, config.conf)
    config.set_conf_env(config.conf)
    if address.scheme in WEB_SCHEMES:
        _need("aiohttp", address)
        from mermed.stream.remote.web import WebTransport

        return WebTransport(address, stall_s)
    if _use_obstore(address, client):
        from mermed.stream.remote.objects import ObjectTransport

        return ObjectTransport(address, stall_s)
    if address.scheme == "s3":
        _need("s3fs", address)
        from mermed.stream.remote.s3 import S3Transport

        return S3Transport(address, stall_s)
    if address.scheme in _PACKAGES:
        _need(_PACKAGES[address.scheme], address)
    from mermed.stream.remote.files import FilesTransport

    return FilesTransport(address)


def _use_obstore(address: Address, client: str) -> bool:
    if address.scheme not in _PACKAGES or client == "fsspec":
        return False
    is_there = importlib.util.find_spec("obstore") is not None
    if client == "obstore":
        if not is_there:
            raise missing_extra("obstore", f"reading {address.scheme}:// through obstore")
        return True
    is_fsspec_there = importlib.util.find_spec(_PACKAGES[address.scheme]) is not None
    return is_there and not (is_fsspec_there and (_needs_fsspec(address.scheme) or _is_forked()))


def _is_forked() -> bool:
    from mermed.stream.remote.objects import is_forked

    return is_forked()


def _needs_fsspec(scheme: str) -> bool:
    """Whether credentials or settings lie where obstore does not look: fsspec's own, or a profile of S3."""
    if config.conf.get(scheme):
        return True
    if scheme != "s3" or "AWS_ACCESS_KEY_ID" in os.environ:
        return False
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    return "AWS_PROFILE" in os.environ or any(Path(file).expanduser().is_file() for file in files)


def _need(package: str, address: Address) -> None:
    if importlib.util.find_spec(package) is None:
        raise missing_extra(EXTRAS[address.scheme], f"reading {address.scheme}://")
