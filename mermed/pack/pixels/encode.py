"""Encode: a canonical image to JPEG or PNG bytes, and back."""

import io

from PIL import Image

from mermed.errors import IntegrityError
from mermed.pack.options import Codec

JPEG_QUALITY = 95
DEEP_MODE = "I;16"
_FORMAT_OF = {"jpg": "JPEG", "png": "PNG"}


def encode_image(image: Image.Image, codec: Codec) -> tuple[bytes, str]:
    """The bytes of an "L", "RGB" or "I;16" image and their extension, without any metadata; 16 bits are always PNG."""
    buffer = io.BytesIO()
    if codec == "png" or image.mode == DEEP_MODE:
        image.save(buffer, "PNG", compress_level=6)
        return buffer.getvalue(), "png"
    # 4:4:4, because the colour of a haemorrhage or a nucleus is detail, not decoration.
    options = {} if image.mode == "L" else {"subsampling": "4:4:4"}
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, **options)
    return buffer.getvalue(), "jpg"


def decode_image(encoded: bytes, extension: str) -> Image.Image:
    """Decode the bytes of an image member; raises IntegrityError when they are no whole image of that format."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=(_FORMAT_OF[extension],))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise IntegrityError("an image member cannot be decoded", found=type(error).__name__) from None
    if image.mode not in ("L", "RGB", DEEP_MODE):
        raise IntegrityError("an image member is neither 8-bit grey nor RGB nor 16-bit grey", found=image.mode)
    return image
