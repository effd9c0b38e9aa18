"""Video: frames of AVI, MP4, MPEG, WebM and other films, through PyAV. Needs the extra 'video'."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mermed.errors import missing_extra
from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.choosing import SMALL_SIDE
from mermed.pack.readers.moving import take_frames
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedInput, check_size
from mermed.pack.treatment import Treatment

try:
    import av
    from av.error import FFmpegError
    from av.logging import set_level as set_log_level
    from av.video.reformatter import VideoReformatter
except ImportError:
    raise missing_extra("video", "reading films") from None

_DEMUXERS = "avi,mov,mpeg,mpegvideo,mpegts,matroska,asf,ogg,flv,m4v,h264,hevc,mjpeg"
"""Containers of films. Playlists and such, which open other files, are not among them."""


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The frames of one film; see `mermed.pack.readers.reading`."""
    set_log_level(None)
    return take_frames(_Film(file, bounds), bounds, treatment.sampling)


@dataclass(slots=True)
class _Shot:
    frame: Any
    is_bad: bool
    shrink: VideoReformatter

    def small(self) -> NDArray[np.uint8]:
        grey = self.shrink.reformat(self.frame, SMALL_SIDE, SMALL_SIDE, "gray", interpolation="AREA")
        return np.asarray(grey.to_ndarray(), np.uint8)

    def full(self) -> RawImage:
        pixels = self.frame.to_ndarray(format="rgb24")
        turns = round(self.frame.rotation / 90) % 4
        bits = max(part.bits for part in self.frame.format.components)
        turned = np.ascontiguousarray(np.rot90(pixels, turns))
        return RawImage(pixels=turned, scale="display", source_bits=bits, notes=("upright",) if turns else ())


class _Film:
    """A film that is decoded from its start every time it is played."""

    def __init__(self, file: RawFile, bounds: Bounds) -> None:
        self.file, self.bounds = file, bounds
        self.claimed = self.missing = 0

    def play(self) -> Iterator[_Shot]:
        """Every frame in order; raises RejectedInput where the film breaks."""
        with open_raw(self.file, self.bounds) as stream, _opened(stream) as container:
            track = _track(container)
            check_size(track.codec_context.width, track.codec_context.height, self.bounds)
            # A promise beyond the bound is a damaged header, and no count of what is lost.
            self.claimed = track.frames if track.frames <= self.bounds.max_frames else 0
            progress = _Progress()
            shrink = VideoReformatter()
            for packet in _demux(container, track):
                progress.add(packet)
                for frame in _decode(packet):
                    check_size(frame.width, frame.height, self.bounds)
                    yield _Shot(frame, bool(frame.is_corrupt), shrink)
            self.missing = max(0, self.claimed - progress.frames(track))


@dataclass(slots=True)
class _Progress:
    """How far the packets of a film went. Packets are counted, not frames: a codec may merge some, and an edit list
    hides some. Their time counts too: a film may leave out frames that stand still, and promises them all the same."""

    packets: int = 0
    first: int | None = None
    last: int = 0

    def add(self, packet: Any) -> None:
        self.packets += packet.size > 0
        if packet.dts is not None:
            self.first = packet.dts if self.first is None else self.first
            self.last = max(self.last, packet.dts)

    def frames(self, track: Any) -> int:
        """Frames up to the last packet, whether they came or stand still."""
        if self.first is None or not track.average_rate or not track.time_base:
            return self.packets
        return max(self.packets, round((self.last - self.first) * track.time_base * track.average_rate) + 1)


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[Any]:
    """The container in `stream`: through a stream, so that no name of a file is taken for an address."""
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    try:
        container = av.open(stream, container_options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise _broken("the container cannot be opened", error) from None
    with container:
        yield container


def _track(container: Any) -> Any:
    """The first track of pictures, decoded on one thread: the pack runs one process per core."""
    if not container.streams.video:
        raise RejectedInput("no_frames", "the film has no track of pictures")
    track = container.streams.video[0]
    if track.codec_context is None:
        raise RejectedInput("no_decoder", "no decoder for the codec of the film")
    track.thread_type = "NONE"
    track.codec_context.thread_count = 1
    return track


def _demux(container: Any, track: Any) -> Iterator[Any]:
    try:
        yield from container.demux(track)
    except FFmpegError as error:
        raise _broken("the container ends in the middle or is damaged", error) from None


def _decode(packet: Any) -> list[Any]:
    try:
        return packet.decode()
    except FFmpegError as error:
        raise _broken("a frame cannot be decoded", error) from None


def _broken(what: str, error: Exception) -> RejectedInput:
    reason = "truncated" if isinstance(error, EOFError) else "corrupt"
    return RejectedInput(reason, f"{what} ({type(error).__name__})")
