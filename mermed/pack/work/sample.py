"""Sample: one input file to finished samples: read, canonical, encoded, measured."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mermed.contract import SampleMeta
from mermed.errors import EnvironmentError_
from mermed.pack.identity import KEY_DIGITS
from mermed.pack.listing import ListedImage, RejectedRow
from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import CanonicalImage, make_canonical
from mermed.pack.pixels.display import to_display
from mermed.pack.pixels.encode import encode_image
from mermed.pack.pixels.moments import Moments, level_counts, moments_of
from mermed.pack.pixels.perceptual import perceptual_hash
from mermed.pack.pixels.thumbnail import thumbnail
from mermed.pack.readers.raw import Bin, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.split import Placement

CHANGED = "changed"
SHOWN_FRAMES = 2
"""Frames of one volume or film that the report shows."""
HISTOGRAM_BINS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One input to make samples of: its row, its key, where it belongs, and how its file looked when it was listed.

    `shows` asks for thumbnails of its samples for the report, `may_show` allows one where a picture is rejected.
    """

    image: ListedImage
    key: str
    placement: Placement
    size_bytes: int = 0
    mtime_ns: int = 0
    shows: bool = False
    may_show: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSample:
    """A finished sample: the two members that are written, and what is measured of it while its pixels are at hand.

    `pixel_digest` (hex of XXH3-128) finds its exact duplicates and `perceptual` (hex) its near ones. `histogram` counts
    the stored grey levels in HISTOGRAM_BINS bins. The thumbnails are JPEG bytes, empty unless the task asked for them.
    """

    meta: SampleMeta
    image: bytes
    extension: str
    pixel_digest: str
    perceptual: str
    moments: Moments
    histogram: tuple[int, ...]
    raw_thumbnail: bytes = b""
    packed_thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a task: how many inputs (an image, or every frame of a container) its reader came upon."""

    num_inputs: int


Outcome = MadeSample | RejectedRow


def frame_key(key: str, frame: int | None) -> str:
    """The key of a frame of the input `key`: the key itself for an image, a hash of it and the frame otherwise.

    The key of an input is never stored when its frames are, so this hash needs no secret of its own.
    """
    if frame is None:
        return key
    return key[:-KEY_DIGITS] + hashlib.blake2b(f"{key}/{frame}".encode()).hexdigest()[:KEY_DIGITS]


def make_samples(task: Task, options: PackOptions) -> Iterator[Outcome | Finished]:
    """Make the samples of one task; what cannot be packed comes back as rows with their reason. Ends with Finished.

    Measured is the canonical image as a screen would show it, before its codec: what JPEG changes at quality 95 is far
    below what the measures tell apart. Raises IntegrityError when a reader loses frames.
    """
    source, inputs, made = task.image, 0, 0
    try:
        for item in read_frames(RawFile(source.path, source.member), options.bounds, source.treatment):
            inputs += item.count if isinstance(item, RejectedFrame) else 1
            if isinstance(item, RejectedFrame):
                yield _reject(task, item.reason, item.detail, item.bin, item.count)
            else:
                yield _make_sample(task, item, options, shows=task.shows and made < SHOWN_FRAMES)
                made += 1
    except RejectedInput as rejected:
        inputs += 1
        yield _reject(task, rejected.reason_slug, rejected.detail, rejected.bin)
    except EnvironmentError_ as error:
        inputs += 1
        yield _reject(task, "missing_extra", error.next_step or "", "quarantined")
    if _has_changed(task):
        inputs += 1
        yield _reject(task, CHANGED, "the file changed while it was read", "quarantined")
    yield Finished(inputs)


def _reject(task: Task, reason: str, detail: str, bin: Bin, count: int = 1) -> RejectedRow:
    return RejectedRow(place=task.image.place, reason=reason, detail=detail, bin=bin, count=count)


def _has_changed(task: Task) -> bool:
    """True when the file was there when it was listed and is another by now."""
    try:
        status = os.stat(task.image.path)
    except OSError:
        return task.mtime_ns != 0
    return bool(task.mtime_ns) and (status.st_size, status.st_mtime_ns) != (task.size_bytes, task.mtime_ns)


def _make_sample(task: Task, raw: RawImage, options: PackOptions, *, shows: bool) -> Outcome:
    source = task.image
    try:
        canonical = make_canonical(raw, source.modality, options, source.treatment)
    except RejectedInput as rejected:
        row = _reject(task, rejected.reason_slug, rejected.detail, rejected.bin)
        return replace(row, thumbnail=thumbnail(raw.pixels)) if task.may_show else row
    image, extension = encode_image(canonical.image, options.codec_of(source.modality))
    meta = _describe(task, raw, canonical)
    shown = to_display(canonical.image, meta)
    counts = level_counts(shown)
    return MadeSample(
        meta=meta,
        image=image,
        extension=extension,
        pixel_digest=_digest(canonical.pixels),
        perceptual=perceptual_hash(np.asarray(shown)).hex(),
        moments=moments_of(counts),
        histogram=_histogram(counts),
        raw_thumbnail=thumbnail(raw.pixels) if shows else b"",
        packed_thumbnail=thumbnail(np.asarray(shown)) if shows else b"",
    )


def _describe(task: Task, raw: RawImage, canonical: CanonicalImage) -> SampleMeta:
    source, frame = task.image, raw.frame
    group, labels = task.placement.group, source.labels_of(frame)
    if source.frame_labels and frame is not None:
        name = source.frame_groups[frame] if source.frame_groups else str(frame)
        group = hashlib.blake2b(f"{group}/{name}".encode()).hexdigest()[: len(group)]
    return SampleMeta(
        key=frame_key(task.key, frame),
        modality=source.modality,
        dataset=source.dataset,
        split=task.placement.split,
        group=group,
        width=canonical.image.width,
        height=canonical.image.height,
        source_bits=raw.source_bits,
        labels=labels,
        window=canonical.window,
        spacing_mm=canonical.spacing_mm,
        frame=frame,
        crop=canonical.crop,
        rescale=canonical.rescale,
        steps=canonical.steps,
        licence=source.licence or None,
    )


def _digest(pixels: np.ndarray[Any, Any]) -> str:
    digest = xxhash.xxh3_128(str((pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _histogram(counts: NDArray[np.int64]) -> tuple[int, ...]:
    """Levels of all channels in HISTOGRAM_BINS bins."""
    binned = counts.reshape(-1, HISTOGRAM_BINS, 256 // HISTOGRAM_BINS).sum((0, 2))
    return tuple(int(count) for count in binned)
