"""Bare image: a JPEG or PNG without its metadata, its compressed pixels untouched to the byte."""

import struct

from mermed.pack.readers.raw import RejectedInput

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_SOI, _SOS, _APP0, _APP14, _APP15, _COM = 0xD8, 0xDA, 0xE0, 0xEE, 0xEF, 0xFE


def strip_metadata(encoded: bytes) -> tuple[bytes, str]:
    """The bytes of a JPEG or PNG without comments, EXIF, XMP, thumbnails and profiles, and the extension of its format.

    Headers of images name patients, places and devices. Raises RejectedInput for another format or a damaged structure.
    """
    if encoded.startswith(_PNG_MARK):
        return _strip_png(encoded), "png"
    if encoded.startswith(b"\xff\xd8\xff"):
        return _strip_jpeg(encoded), "jpg"
    raise RejectedInput("not_an_image", "neither JPEG nor PNG")


def _strip_png(encoded: bytes) -> bytes:
    kept, offset = [_PNG_MARK], len(_PNG_MARK)
    while offset + 12 <= len(encoded):
        size, kind = struct.unpack_from(">I4s", encoded, offset)
        end = offset + 12 + size
        if end > len(encoded):
            break
        if kind in _PNG_KEPT:
            kept.append(encoded[offset:end])
        if kind == b"IEND":
            return b"".join(kept)
        offset = end
    raise RejectedInput("truncated", "the PNG ends inside a chunk")


def _strip_jpeg(encoded: bytes) -> bytes:
    """Drop APP1 to APP15 and comments; APP0 and APP14 (Adobe) say how the colours are coded."""
    kept, offset = [encoded[:2]], 2
    while offset + 4 <= len(encoded) and encoded[offset] == 0xFF:
        marker = encoded[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        if marker == _SOS:
            return b"".join((*kept, _without_tail(encoded, offset)))
        end = offset + 2 + int.from_bytes(encoded[offset + 2 : offset + 4], "big")
        is_app = _APP0 <= marker <= _APP15 and marker not in (_APP0, _APP14)
        if not is_app and marker != _COM:
            kept.append(encoded[offset:end])
        offset = end
    raise RejectedInput("truncated", "the JPEG has no scan")


def _without_tail(encoded: bytes, offset: int) -> bytes:
    """The scans up to the end of the image; what some devices append behind it is dropped."""
    end = encoded.rfind(b"\xff\xd9", offset)
    if end < 0:
        raise RejectedInput("truncated", "the JPEG has no end")
    return encoded[offset : end + 2]
