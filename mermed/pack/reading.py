"""Reading: from a path to a RawImage, by the reader of its family of formats. A new format is a file and a row here."""

import os
import stat
import warnings
from pathlib import Path

from mermed.errors import MermedError
from mermed.pack.raw import Bounds, RawImage, RejectedInput
from mermed.pack.sniff import sniff

# Families that are known but have no reader yet are set aside, not called broken.
_WAITING = {"video": "videos wait for their reader", "volume": "volumes wait for their reader"}
# Some video containers have no mark at their start; their name is all there is.
_VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".mpg", ".mpeg", ".m4v", ".ts", ".wmv")
_REFUSED = {
    "executable": ("preamble_exec", "the file starts like a program"),
    "text": ("not_an_image", "the file holds text"),
    "unknown": ("not_an_image", "the first bytes are of no known image format"),
}


def read_image(path: Path, bounds: Bounds) -> RawImage:
    """Read one file; raises RejectedInput with the reason when it cannot be packed.

    EnvironmentError_ passes through: a missing extra concerns the whole run, not this file.
    """
    check_file(path, bounds)
    try:
        family = sniff(path)
        if family == "unknown" and path.suffix.lower() in _VIDEO_SUFFIXES:
            family = "video"
        if family in _WAITING:
            raise RejectedInput(family, _WAITING[family], bin="excluded")
        if family in _REFUSED:
            raise RejectedInput(*_REFUSED[family])
        with warnings.catch_warnings():
            # Odd headers are the normal case in raw medical files; what matters of them ends as a reason.
            warnings.simplefilter("ignore")
            if family == "dicom":
                from mermed.pack.readers.dicom import read_dicom

                return read_dicom(path, bounds)
            from mermed.pack.readers.raster import read_raster

            return read_raster(path, bounds)
    except MermedError:
        raise
    except (MemoryError, RecursionError) as error:
        raise RejectedInput("limits", type(error).__name__) from None
    except PermissionError:
        raise RejectedInput("unreadable", "no permission to read the file") from None
    except Exception as error:
        # A decoder may raise anything on hostile bytes. Its text may quote the header, so only the type is kept.
        raise RejectedInput("corrupt", type(error).__name__) from None


def check_file(path: Path, bounds: Bounds) -> None:
    """Refuse what is not a plain file of a sane size; raises RejectedInput. Opens nothing, so a pipe cannot block."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise RejectedInput("missing", "the row names a file that is not there") from None
    except (OSError, ValueError) as error:
        raise RejectedInput("unreadable", type(error).__name__) from None
    if not stat.S_ISREG(status.st_mode):
        raise RejectedInput("not_a_file", "not a regular file")
    if status.st_size == 0:
        raise RejectedInput("empty", "0 bytes")
    if status.st_size > bounds.max_bytes:
        raise RejectedInput("file_limit", f"{status.st_size} bytes, more than {bounds.max_bytes}")
