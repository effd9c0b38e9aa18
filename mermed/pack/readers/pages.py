"""Pages: what Pillow's readers need where a file holds several images: opening, seeking and the reason of an error."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.raster import open_image
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput, check_size


@contextmanager
def open_pages(file: RawFile, bounds: Bounds) -> Iterator[Image.Image]:
    """The file as an image at its first page; the size of the page is checked. Raises RejectedInput."""
    with open_raw(file, bounds) as stream, reasons(), open_image(stream) as image:
        check_size(*image.size, bounds)
        yield image


def turn_to(image: Image.Image, page: int, bounds: Bounds) -> bool:
    """Turn to a page and check its size; False behind the last one. Raises RejectedInput."""
    with reasons():
        try:
            image.seek(page)
        except EOFError:
            return False
        check_size(*image.size, bounds)
        return True


@contextmanager
def reasons() -> Iterator[None]:
    """Turn what Pillow raises into RejectedInput."""
    try:
        yield
    except UnidentifiedImageError:
        raise RejectedInput("not_an_image", "no known image format") from None
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        # "truncated" is the one word Pillow's errors share where a file of any format ends early.
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            raise RejectedInput("truncated", "the image data ends early") from None
        raise RejectedInput("corrupt", f"the decoder gave up ({type(error).__name__})") from None
