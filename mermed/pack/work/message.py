"""Message: what a decoder process sends to its parent, as JSON and bytes: nothing a decoder sends is ever executed."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from mermed.contract import SampleMeta, canonical_json
from mermed.errors import IntegrityError
from mermed.pack.listing import RejectedRow
from mermed.pack.pixels.moments import Moments
from mermed.pack.work.sample import Finished, MadeSample, Outcome, Task, frame_key


def encode_message(step: Outcome | Finished) -> Iterator[bytes]:
    """One step as a JSON header and, for a sample, its JSON member, image and two thumbnails."""
    if isinstance(step, Finished):
        yield canonical_json({"inputs": step.num_inputs})
    elif isinstance(step, RejectedRow):
        yield canonical_json({"reason": step.reason, "detail": step.detail, "bin": step.bin, "count": step.count})
        yield step.thumbnail
    else:
        yield canonical_json(
            {
                "extension": step.extension,
                "pixel_digest": step.pixel_digest,
                "perceptual": step.perceptual,
                "moments": [step.moments.mean, step.moments.square],
                "histogram": step.histogram,
            }
        )
        yield step.meta.encode(step.image)
        yield from (step.image, step.raw_thumbnail, step.packed_thumbnail)


def decode_message(header: bytes, receive: Callable[[], bytes], task: Task) -> Outcome | Finished:
    """Read one step of `task`; raises IntegrityError when a sample claims to be of another task."""
    content: dict[str, Any] = json.loads(header)
    if "inputs" in content:
        return Finished(content["inputs"])
    if "reason" in content:
        return RejectedRow(place=task.image.place, thumbnail=receive(), **content)
    encoded, image, raw_thumbnail, packed_thumbnail = (receive() for _ in range(4))
    meta = SampleMeta.decode(encoded, image)
    if meta.key != frame_key(task.key, meta.frame):
        raise IntegrityError("a decoder process answered for another file")
    mean, square = (tuple(values) for values in content.pop("moments"))
    return MadeSample(
        meta=meta,
        image=image,
        moments=Moments(mean, square),
        histogram=tuple(content.pop("histogram")),
        raw_thumbnail=raw_thumbnail,
        packed_thumbnail=packed_thumbnail,
        **content,
    )
