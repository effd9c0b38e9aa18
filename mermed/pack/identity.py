"""Identity: sample keys, group ids and split draws from a secret salt, so no name of a file or patient is stored."""

import hashlib
import hmac
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mermed.errors import ConfigError

SALT_VARIABLE = "MERMED_SALT_FILE"
SALT_BYTES = 32
LEAST_SALT_BYTES = 16
PREFIX_CHARACTERS = 24
KEY_DIGITS = 20
GROUP_DIGITS = 20


@lru_cache(maxsize=4)
def _keyed(salt: bytes) -> hmac.HMAC:
    """An HMAC that has taken in its salt: copying it costs a third of beginning anew."""
    return hmac.new(salt, digestmod=hashlib.sha256)


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Keyed hashes under one site's salt: equal inputs give equal names, and without the salt none can be undone.

    A plain hash of a patient number could be undone by hashing all numbers; HMAC-SHA256 with a secret cannot.
    """

    salt: bytes

    def sample_key(self, modality: str, dataset: str, file: str) -> str:
        """The key of a sample: part of the dataset's name for people, 80 bits of HMAC for uniqueness."""
        prefix = dataset[:PREFIX_CHARACTERS].rstrip("-_")
        return f"{prefix}-{self._digest('sample', modality, dataset, file).hex()[:KEY_DIGITS]}"

    def group_id(self, modality: str, dataset: str, member: str) -> str:
        """The id of the group that `member` (a patient, lesion, volume or lone file) stands for."""
        return self._digest("group", modality, dataset, member).hex()[:GROUP_DIGITS]

    def draw(self, modality: str, dataset: str, member: str) -> float:
        """A number in [0, 1) that depends on the group alone."""
        return int.from_bytes(self._digest("split", modality, dataset, member)[:7], "big") / 2.0**56

    @property
    def mark(self) -> str:
        """Tells two salts apart without giving either away."""
        return self._digest("mark").hex()[:16]

    def _digest(self, *parts: str) -> bytes:
        # The length before each part keeps ("a", "bc") and ("ab", "c") apart.
        encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
        message = b"".join(struct.pack("<q", len(part)) + part for part in encoded)
        keyed = _keyed(self.salt).copy()
        keyed.update(message)
        return keyed.digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SaltFile:
    """Where the salt came from; `is_new` when it was made just now and the user must be told to keep it."""

    path: Path
    is_new: bool


def load_identity(given: Path | None, environ: Mapping[str, str] = os.environ) -> tuple[Identity, SaltFile]:
    """The identity of this site: --salt-file, else $MERMED_SALT_FILE, else ~/.config/mermed/salt, made if absent.

    Raises ConfigError for a named file that is missing or too short.
    """
    named = given or (Path(environ[SALT_VARIABLE]) if environ.get(SALT_VARIABLE) else None)
    path = named or Path(environ.get("HOME", "~")).expanduser() / ".config" / "mermed" / "salt"
    is_new = named is None and not path.exists()
    if is_new:
        _create(path)
    if not path.is_file():
        raise ConfigError("the salt file is not there", where={"file": path}, next_step=_make_one(path))
    salt = path.read_bytes().strip()
    if len(salt) < LEAST_SALT_BYTES:
        raise ConfigError(
            "the salt is too short to keep a secret",
            where={"file": path},
            expected=f"{LEAST_SALT_BYTES} bytes or more",
            found=f"{len(salt)} bytes",
            next_step=_make_one(path),
        )
    return Identity(salt), SaltFile(path=path, is_new=is_new)


def _make_one(path: Path) -> str:
    return f'python -c "import secrets; print(secrets.token_hex({SALT_BYTES}))" > {path}'


def _create(path: Path) -> None:
    """Write a fresh salt that only its owner can read; an existing one is never replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(SALT_BYTES) + "\n")
