"""Stack: the pages of a TIFF that holds several, each an image of its own."""

from collections.abc import Iterator
from dataclasses import replace

from PIL import Image, TiffImagePlugin

from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.choosing import left_out, spread
from mermed.pack.readers.kinds import count_pages
from mermed.pack.readers.pages import open_pages, reasons, turn_to
from mermed.pack.readers.raster import to_raw
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.treatment import Treatment

MAX_PAGES = 2**14
"""A TIFF of more directories than this is refused: each one must be walked to reach the next."""
_SUBFILE, _REDUCED, _MASK = 254, 1, 4


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The pages of one TIFF, evenly spaced when there are too many; see `mermed.pack.readers.reading`."""
    with open_raw(file, bounds) as stream, reasons():
        pages = count_pages(stream, min(MAX_PAGES, bounds.max_frames))
    return Frames(_items(file, pages, bounds, treatment), pages)


def _items(file: RawFile, pages: int, bounds: Bounds, treatment: Treatment) -> Iterator[RawImage | RejectedFrame]:
    chosen = spread(pages, treatment.sampling.max_frames)
    try:
        with open_pages(file, bounds) as image:
            for page in chosen:
                yield _page(image, page, bounds)
    except RejectedInput as error:
        # Its pages were counted, so it is a TIFF.
        if error.reason_slug != "not_an_image":
            raise
        raise RejectedInput("no_decoder", "a TIFF of this sample format is not supported") from None
    yield from left_out(pages - len(chosen), "not_sampled", "pages the sampling leaves out")


def _page(image: Image.Image, page: int, bounds: Bounds) -> RawImage | RejectedFrame:
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not turn_to(image, page, bounds):
        raise RejectedInput("corrupt", "the pages of the TIFF cannot be counted")
    kind = int(image.tag_v2.get(_SUBFILE, 0))
    if kind & _REDUCED:
        return RejectedFrame(reason="thumbnail", detail="a smaller copy of another page", frame=page)
    if kind & _MASK:
        return RejectedFrame(reason="segmentation", detail="a mask, not an image", frame=page)
    with reasons():
        return replace(to_raw(image), frame=page)
