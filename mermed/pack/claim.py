"""Claim: one pack at a time owns an output folder; what a pack that died left there is swept away by the next."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mermed.contract import MANIFEST_NAME, SLUG_GRAMMAR, SPLITS
from mermed.errors import ConfigError, EnvironmentError_
from mermed.pack.writer import TEMPORARY_PREFIX

CLAIM_NAME = ".packing"
LIST_NAMES = ("quarantine.csv", "excluded.csv", "duplicates.csv", "splits.csv")
_SHARD_FILE = re.compile(rf"{SLUG_GRAMMAR.pattern}-({'|'.join(SPLITS)})-\d{{6}}\.(tar|idx)")


@contextmanager
def claim(out: Path) -> Iterator[None]:
    """Own the folder `out` for one pack; raises ConfigError when it holds anything, or another pack is at work in it,
    and EnvironmentError_ when the disk is full or refuses.

    The claim is a locked file: the lock dies with its process, the file stays and marks the pack as unfinished.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        marker = out / CLAIM_NAME
        if not marker.exists() or (out / MANIFEST_NAME).exists():
            _check_empty(out)
        with marker.open("a") as file:
            _lock(file, out)
            _sweep(out)
            yield
            marker.unlink()
    except OSError as error:
        # Reading has its own errors, so what is left is the disk that is written to.
        raise EnvironmentError_(
            "the output folder cannot be written",
            where={"folder": out},
            found=error.strerror,
            next_step="make room or permit it, then run the same command again",
        ) from None


def _lock(file: TextIO, out: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError("another pack is writing here", where={"folder": out}) from None


def _check_empty(out: Path) -> None:
    if any(out.iterdir()):
        is_packed = (out / MANIFEST_NAME).is_file()
        raise ConfigError(
            "the output folder is not empty",
            where={"folder": out},
            expected="no such folder, or an empty one",
            found="a finished collection" if is_packed else "other files",
            next_step=f"mermed-shard verify {out}" if is_packed else "choose another --out",
        )


def _sweep(out: Path) -> None:
    """Delete what an unfinished pack wrote, and only that; raises ConfigError when anything else lies there."""
    for path in sorted(out.rglob("*"), reverse=True):
        parts = path.relative_to(out).parts
        is_shard = len(parts) == 3 and parts[1] in SPLITS and _SHARD_FILE.fullmatch(parts[2])
        is_list = len(parts) == 1 and parts[0] in LIST_NAMES
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif is_shard or is_list or parts[-1].startswith(TEMPORARY_PREFIX):
            path.unlink()
    if any(path.name != CLAIM_NAME for path in out.iterdir()):
        raise ConfigError(
            "the output folder holds an unfinished pack and other files",
            where={"folder": out},
            next_step="choose another --out, or delete what you do not need",
        )
