"""Sample: one listed image to one finished sample: read, canonical, encoded, decoded again, measured."""

from dataclasses import dataclass

import numpy as np
import xxhash

from mermed.contract import SampleMeta
from mermed.errors import IntegrityError
from mermed.pack.canonical import make_canonical
from mermed.pack.encode import decode_image, encode_image
from mermed.pack.moments import Moments, image_moments
from mermed.pack.options import PackOptions
from mermed.pack.listing import ListedImage, RejectedRow
from mermed.pack.raw import RejectedInput
from mermed.pack.reading import read_image
from mermed.pack.split import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One image to make a sample of: its row, its key and where it belongs."""

    image: ListedImage
    key: str
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSample:
    """A finished sample: what is written, the digest that finds its duplicates, and its moments as decoded."""

    place: str
    meta: SampleMeta
    image: bytes
    extension: str
    pixel_digest: bytes
    moments: Moments


def make_sample(task: Task, options: PackOptions) -> MadeSample | RejectedRow:
    """Make the sample of one task; what cannot be packed comes back as a row with its reason.

    The encoded image is decoded again, so every member is known to be readable and its moments are those a training
    run will see. Raises EnvironmentError_ when a reader's extra is missing, IntegrityError when the codec fails.
    """
    source = task.image
    try:
        raw = read_image(source.path, options.bounds)
        canonical = make_canonical(raw, source.modality, options)
    except RejectedInput as rejected:
        return RejectedRow(place=source.place, reason=rejected.reason_slug, detail=rejected.detail, bin=rejected.bin)
    image, extension = encode_image(canonical.image, options.codec_of(source.modality))
    decoded = decode_image(image, extension)
    if (decoded.size, decoded.mode) != (canonical.image.size, canonical.image.mode):
        raise IntegrityError("an image changed its shape in the codec", where={"key": task.key})
    meta = SampleMeta(
        key=task.key,
        modality=source.modality,
        dataset=source.dataset,
        split=task.placement.split,
        group=task.placement.group,
        width=decoded.width,
        height=decoded.height,
        source_bits=raw.source_bits,
        labels=source.labels,
        window=canonical.window,
        spacing_mm=canonical.spacing_mm,
        frame=raw.frame,
        licence=source.licence or None,
    )
    digest = xxhash.xxh3_128(str(canonical.pixels.shape).encode())
    digest.update(np.ascontiguousarray(canonical.pixels).data)
    return MadeSample(
        place=source.place,
        meta=meta,
        image=image,
        extension=extension,
        pixel_digest=digest.digest(),
        moments=image_moments(decoded),
    )


def make_samples(tasks: list[Task], options: PackOptions) -> list[MadeSample | RejectedRow]:
    """Make the samples of several tasks: what one worker does in one go."""
    return [make_sample(task, options) for task in tasks]
