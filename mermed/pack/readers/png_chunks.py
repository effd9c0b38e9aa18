"""PNG chunks: every checksum of a PNG, which the image library leaves out for the pixels themselves."""

import struct
import zlib
from typing import BinaryIO

from mermed.pack.readers.raw import RejectedInput

MARK = b"\x89PNG\r\n\x1a\n"
_PIECE_BYTES = 2**20


def check_png(stream: BinaryIO) -> None:
    """Read a PNG from its mark to its end; raises RejectedInput "corrupt" for a wrong checksum, "truncated" for a cut.

    What follows the end chunk is nobody's business. The stream is left where the check ended.
    """
    stream.seek(len(MARK))
    while True:
        header = stream.read(8)
        if len(header) < 8:
            raise RejectedInput("truncated", "the PNG ends without its end chunk")
        length, name = struct.unpack(">I4s", header)
        if not name.isalpha() or length > 2**31 - 1:
            raise RejectedInput("corrupt", "a PNG chunk has no valid header")
        found = zlib.crc32(name)
        while length:
            piece = stream.read(min(length, _PIECE_BYTES))
            if not piece:
                raise RejectedInput("truncated", "the PNG ends inside a chunk")
            found = zlib.crc32(piece, found)
            length -= len(piece)
        stated = stream.read(4)
        if len(stated) < 4:
            raise RejectedInput("truncated", "the PNG ends inside a chunk")
        if int.from_bytes(stated, "big") != found:
            raise RejectedInput("corrupt", f"a PNG chunk of kind {name.decode('ascii')} has a wrong checksum")
        if name == b"IEND":
            return
