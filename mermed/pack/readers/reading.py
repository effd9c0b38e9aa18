"""Reading: from a file to its frames, by the reader of its family of formats. A new format is a file and a row here."""

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from mermed.errors import EnvironmentError_, IntegrityError, MermedError
from mermed.pack.readers.archive import open_raw, open_stream
from mermed.pack.readers.kinds import may_hold_more, refine
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.sniff import HEAD_BYTES, sniff, sniff_head
from mermed.pack.treatment import Treatment

T = TypeVar("T")
Reader = Callable[[RawFile, Bounds, Treatment], Frames]
_READERS = {
    "dicom": "dicom",
    "raster": "raster",
    "nifti": "nifti",
    "oct": "oct",
    "video": "video",
    "animation": "animation",
    "stack": "stack",
    "array": "array",
    "hdf5": "hdf5",
    "slide": "slide",
}
"""Family to the module below `mermed.pack.readers` whose `read(file, bounds, treatment)` gives the frames."""
# Some formats have no mark at their start, or the mark of another one; their name is all there is.
_VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".mpg", ".mpeg", ".m4v", ".ts", ".wmv")
_SLIDE_SUFFIXES = (".mrxs", ".ndpi", ".vms", ".vmu", ".svslide")
_VOLUME_SUFFIXES = (".mgh", ".mgz", ".nrrd", ".nhdr", ".mha", ".mhd", ".e2e", ".fda", ".fds")
_PAIR_SUFFIXES = (".img", ".img.gz")
_PIECEWISE = ("dicom", "slide", "nifti", "video", "stack", "oct", "archive", "array", "hdf5")
"""Families that are read piece by piece, so that the size of the file says nothing of the memory they take."""
_REFUSED = {
    "executable": ("preamble_exec", "the file starts like a program"),
    "text": ("not_an_image", "the file holds text"),
    "archive": ("archive", "a row names a file inside it: archive.zip/folder/image.png"),
    "compressed": ("compressed", "unpack it first"),
    "compressed_tar": ("compressed_tar", "gunzip it first: a plain tar is read in place"),
    "unknown": ("not_an_image", "the first bytes are of no known image format"),
}


def read_frames(file: RawFile, bounds: Bounds, treatment: Treatment) -> Iterator[RawImage | RejectedFrame]:
    """Every frame of one file, kept or rejected; raises RejectedInput when it breaks before the first.

    A file that breaks later ends with a RejectedFrame for the rest. EnvironmentError_ passes through: a missing extra
    concerns the whole run, not this file. Raises IntegrityError when a reader does not account for every frame.
    """
    check_file(file.path)
    frames, done = None, 0
    try:
        frames = _quietly(lambda: _reader(file, bounds)(file, bounds, treatment))
        items = iter(frames)
        while (item := _quietly(lambda: next(items, None))) is not None:
            yield item
            done += item.count if isinstance(item, RejectedFrame) else 1
    except (EnvironmentError_, GeneratorExit):
        raise
    except Exception as error:
        rejected = _as_rejected(error)
        if not done:
            raise rejected from None
        left = max((frames.total if frames and frames.total else 0) - done, 1)
        yield RejectedFrame(reason=rejected.reason_slug, detail=rejected.detail, bin=rejected.bin, count=left)
        return
    if frames.total not in (None, done):
        raise IntegrityError("a reader lost frames", expected=frames.total, found=done)


def read_image(path: Path, bounds: Bounds, treatment: Treatment | None = None) -> RawImage:
    """The image of a file that holds exactly one; raises RejectedInput for anything else."""
    items = list(read_frames(RawFile(Path(path)), bounds, treatment or Treatment()))
    if len(items) == 1 and isinstance(items[0], RawImage):
        return items[0]
    rejected = next((item for item in items if isinstance(item, RejectedFrame)), None)
    if rejected is None or any(isinstance(item, RawImage) for item in items):
        raise RejectedInput("multi_frame", f"{len(items)} frames where one image was expected", bin="excluded")
    raise RejectedInput(rejected.reason, rejected.detail, bin=rejected.bin)


def _quietly(call: Callable[[], T]) -> T:
    """Call without warnings: odd headers are the normal case in raw medical files; what matters ends as a reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def _reader(file: RawFile, bounds: Bounds) -> Reader:
    """The reader for a file's first bytes; raises RejectedInput for a family that none reads."""
    family = sniff_member(file, bounds)
    if not file.member and family not in _PIECEWISE and (size := file.path.stat().st_size) > bounds.max_bytes:
        raise RejectedInput("file_limit", f"{size} bytes, more than {bounds.max_bytes}")
    if family in _REFUSED:
        raise RejectedInput(*_REFUSED[family])
    if family not in _READERS:
        raise RejectedInput(family, f"a {family} waits for its reader", bin="excluded")
    return import_module(f"mermed.pack.readers.{_READERS[family]}").read


def sniff_member(file: RawFile, bounds: Bounds) -> str:
    """The family of a file or member by its first bytes, or by its name where a format has no mark there."""
    if file.member and sniff(file.path) == "hdf5":
        return "hdf5"
    # A look at the first bytes costs nothing, however long the member is; the reader keeps the bounds.
    with open_stream(file, replace(bounds, max_bytes=2**62)) as stream:
        head = stream.read(HEAD_BYTES)
    family, name = sniff_head(head), file.name.lower()
    if name.endswith(_SLIDE_SUFFIXES) and family != "executable":
        return "slide"
    if name.endswith(_PAIR_SUFFIXES) and family in ("unknown", "text", "compressed"):
        return "nifti"
    if name.endswith(_VOLUME_SUFFIXES) and family in ("unknown", "text", "compressed"):
        return "volume"
    if name.endswith(_VIDEO_SUFFIXES) and family == "unknown":
        return "video"
    if family == "raster" and may_hold_more(head):
        with open_raw(file, bounds) as stream:
            return refine(head, stream)
    return family


def _as_rejected(error: Exception) -> RejectedInput:
    """The reason for whatever a decoder raised. Its text may quote the header, so only the type of it is kept."""
    if isinstance(error, RejectedInput):
        return error
    if isinstance(error, MermedError):
        raise error
    if isinstance(error, (MemoryError, RecursionError)):
        return RejectedInput("limits", type(error).__name__)
    if isinstance(error, PermissionError):
        return RejectedInput("unreadable", "no permission to read the file")
    return RejectedInput("corrupt", type(error).__name__)


def check_file(path: Path) -> None:
    """Refuse what is not a plain file with something in it; raises RejectedInput. Opens nothing, so no pipe blocks."""
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
