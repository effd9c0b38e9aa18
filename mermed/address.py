"""Addresses: where a collection lies, a folder or a URL; which kinds are allowed, and how one is shown to people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mermed.errors import ConfigError, ContractError

WEB_SCHEMES = ("http", "https")
OBJECT_SCHEMES = ("s3", "gs", "az", "abfs", "memory")
READ_SCHEMES = ("file", *WEB_SCHEMES, *OBJECT_SCHEMES)
"""Where collections may be read; anything else, such as a shell or an archive inside a URL, is refused."""
WRITE_SCHEMES = ("file", *OBJECT_SCHEMES)
"""Where collections may be written."""
EXTRAS = {"http": "http", "https": "http", "s3": "s3", "gs": "gcs", "az": "azure", "abfs": "azure"}
"""The extra that brings the package for a scheme."""


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A parsed address. `root` is the host or bucket with the path; what may be secret is kept apart and never shown.

    Equal texts are equal addresses. `str` and `repr` give `shown`, so that no log or traceback holds a secret.
    """

    scheme: str
    root: str
    userinfo: str = field(default="", repr=False)
    query: str = field(default="", repr=False)

    @property
    def is_local(self) -> bool:
        """Whether this is a folder or file of this machine."""
        return self.scheme == "file"

    @property
    def is_secret(self) -> bool:
        """Whether the address holds a signature, token or password, so that it must not be written down."""
        return bool(self.query or self.userinfo) and self.scheme in WEB_SCHEMES

    @property
    def path(self) -> Path:
        """The local path; only for a local address."""
        return Path(self.root)

    @property
    def shown(self) -> str:
        """The address without user, password, query and fragment."""
        return self.root if self.is_local else f"{self.scheme}://{self.root}"

    @property
    def url(self) -> str:
        """The whole address, secrets included: for the store's library alone."""
        return self.file_url("")

    def file_url(self, name: str) -> str:
        """The URL of the file `name` below this address, secrets included; the name is quoted for the web."""
        if self.is_local:
            return f"file://{self.root}"
        user = f"{self.userinfo}@" if self.userinfo else ""
        query = f"?{self.query}" if self.query else ""
        below = "" if not name else "/" + (quote(name) if self.scheme in WEB_SCHEMES else name)
        return f"{self.scheme}://{user}{self.root}{below}{query}"

    def shown_file(self, name: str) -> str:
        """The file `name` below this address as it may be shown."""
        return f"{self.shown}/{name}"

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse_address(
    text: str | Path, schemes: Sequence[str] = READ_SCHEMES, *, refusal: str = "a collection cannot lie there"
) -> Address:
    """The address that `text` means; raises ConfigError, showing nothing secret, for a scheme outside `schemes`.

    `refusal` is how that error begins.

    A web address may carry a query, such as a signature. Other stores take credentials from the environment alone.
    """
    scheme, mark, rest = str(text).partition("://")
    if str(text).startswith("pipe:") or (mark and "::" in str(text)):
        raise _refused(refusal, schemes, "a command or chained URL")
    if not mark:
        return Address("file", str(text))
    scheme = scheme.lower()
    if scheme not in schemes:
        raise _refused(refusal, schemes, f"{scheme[:20]}://")
    if scheme == "file":
        return _local(rest)
    rest, hash_mark, _ = rest.partition("#")
    place, _, query = rest.partition("?")
    host, slash, path = place.partition("/")
    userinfo, _, host = host.rpartition("@")
    address = Address(scheme, f"{host}{slash}{path}".rstrip("/"), userinfo, query)
    if hash_mark or (query and scheme not in WEB_SCHEMES):
        raise ConfigError("an address has a part that this store does not know", where={"address": address.shown})
    if userinfo and scheme not in (*WEB_SCHEMES, "abfs"):
        raise ConfigError(
            "an address holds credentials",
            where={"address": address.shown},
            next_step="set them in the environment, or in the configuration of fsspec",
        )
    if not address.root:
        raise ConfigError("an address names no place", expected=f"{scheme}://PLACE/FOLDER", found=f"{scheme}://")
    return address


def _local(rest: str) -> Address:
    if not rest.startswith("/"):
        raise ConfigError("a file:// address needs an absolute path", expected="file:///FOLDER", found="a relative one")
    return Address("file", rest)


def _refused(refusal: str, schemes: Sequence[str], found: str) -> ConfigError:
    return ConfigError(
        refusal,
        expected=" | ".join(("a path", *schemes)),
        found=found,
        next_step="use a place of one of these kinds; download what lies elsewhere",
    )


def check_file_name(name: str) -> str:
    """Return `name` if it stays inside its collection, else raise ContractError: it comes from a manifest, so from
    anywhere. No absolute path, `..`, backslash, percent sign, URL, command or control character."""
    is_inside = all(part not in ("", ".", "..") for part in name.split("/"))
    if not is_inside or not name.isprintable() or any(mark in name for mark in ("\\", "%", ":", "?", "#")):
        raise ContractError(
            "a file name leaves its collection",
            expected="a relative path of plain names",
            found=f"{len(name)} characters",
            next_step="do not use this collection: its manifest was not written by mermed-shard",
        )
    return name
