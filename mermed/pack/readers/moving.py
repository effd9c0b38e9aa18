"""Moving: the frames kept of a moving picture that can be played twice: once to choose them, once to take them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mermed.pack.readers.choosing import changing, left_out, spread
from mermed.pack.readers.raw import Bounds, Frames, RawImage, RejectedFrame, RejectedInput
from mermed.pack.treatment import Sampling


class Shot(Protocol):
    """One frame as its decoder gives it. `is_bad` marks one that the decoder itself calls damaged."""

    is_bad: bool

    def small(self) -> NDArray[np.uint8]:
        """Its grey reduction to `mermed.pack.readers.choosing.SMALL_SIDE` squared."""
        ...

    def full(self) -> RawImage:
        """The whole frame, without its number."""
        ...


class Reel(Protocol):
    """A moving picture. `claimed` is the number of frames its header promises (0 when it does not), `missing` how many
    of them never came, known when it has been played to its end."""

    claimed: int
    missing: int

    def play(self) -> Iterator[Shot]:
        """Every frame in order, from the start; raises RejectedInput where it breaks."""
        ...


@dataclass(slots=True)
class _Preview:
    """What the first playing tells: frames seen, the numbers of the good ones, and what ended it early."""

    seen: int = 0
    good: list[int] = field(default_factory=list)
    error: RejectedInput | None = None

    def smalls(self, reel: Reel, bounds: Bounds) -> Iterator[NDArray[np.uint8]]:
        """The grey reductions of the good frames, up to the first that cannot be decoded."""
        try:
            for shot in reel.play():
                if self.seen >= bounds.max_frames:
                    raise RejectedInput("limits", f"more than {bounds.max_frames} frames")
                self.seen += 1
                if not shot.is_bad:
                    small = shot.small()
                    self.good.append(self.seen - 1)
                    yield small
        except RejectedInput as error:
            self.error = error


def take_frames(reel: Reel, bounds: Bounds, sampling: Sampling) -> Frames:
    """The frames that differ from the one kept before them, evenly spaced where they are too many.

    Never more than one whole frame is held. A picture that breaks gives the frames before that, and a row for the rest.
    """
    preview = _Preview()
    kept = changing(preview.smalls(reel, bounds), sampling.least_change)
    if not preview.good:
        raise preview.error or RejectedInput("no_frames", "no frame could be decoded")
    changed = [preview.good[place] for place in kept]
    chosen = [changed[place] for place in spread(len(changed), sampling.max_frames)]
    rest = max(reel.claimed - preview.seen, 1) if preview.error else reel.missing
    return Frames(_items(reel, preview, chosen, len(changed), rest), preview.seen + rest)


def _items(
    reel: Reel, preview: _Preview, chosen: list[int], changed: int, rest: int
) -> Iterator[RawImage | RejectedFrame]:
    wanted = set(chosen)
    for number, shot in enumerate(reel.play()):
        if number in wanted:
            yield replace(shot.full(), frame=number)
        if number == chosen[-1]:
            break
    yield from left_out(len(preview.good) - changed, "near_duplicate_frame", "frames like the one kept before them")
    yield from left_out(changed - len(chosen), "not_sampled", "frames the sampling leaves out")
    if bad := preview.seen - len(preview.good):
        yield RejectedFrame(reason="corrupt", detail="frames the decoder calls damaged", bin="quarantined", count=bad)
    if rest:
        error = preview.error or RejectedInput("truncated", "frames the header promises never came")
        yield RejectedFrame(reason=error.reason_slug, detail=error.detail, bin=error.bin, count=rest)
