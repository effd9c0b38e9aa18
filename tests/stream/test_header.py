"""Headers: a bomb, a picture of another size or of a forbidden kind is refused before anything is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mermed.contract import SampleMeta, load_manifest
from mermed.errors import SampleError
from mermed.stream.header import MAX_PIXELS, check_header, read_header
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.order.plan import Reference
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore


def _meta(width, height):
    facts = {"modality": "us", "dataset": "busi", "split": "train", "group": "g", "source_bits": 8}
    return SampleMeta(key="k", width=width, height=height, **facts)


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _picture(mode, width=37, height=23):
    shape = (height, width) if mode in ("L", "P") else (height, width, len(Image.new(mode, (1, 1)).getbands()))
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), mode)


def _png(width, height, depth=8, colour=0):
    """A PNG of a few bytes that claims any size."""
    content = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + content + struct.pack(">I", zlib.crc32(b"IHDR" + content))
    return b"\x89PNG\r\n\x1a\n" + chunk


GOOD = {
    "grey JPEG": (_saved(_picture("L"), "JPEG"), "8-bit grey"),
    "RGB JPEG": (_saved(_picture("RGB"), "JPEG", quality=95, subsampling=0), "8-bit RGB"),
    "progressive JPEG": (_saved(_picture("RGB"), "JPEG", progressive=True), "8-bit RGB"),
    "JPEG with a comment and a profile": (
        _saved(_picture("RGB"), "JPEG", comment=b"c" * 300, icc_profile=b"p" * 70_000),
        "8-bit RGB",
    ),
    "grey PNG": (_saved(_picture("L"), "PNG"), "8-bit grey"),
    "RGB PNG": (_saved(_picture("RGB"), "PNG"), "8-bit RGB"),
    "16-bit PNG": (_saved(Image.fromarray(np.zeros((23, 37), np.uint16)), "PNG"), "16-bit grey"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_shard_may_hold_passes_with_its_size_and_kind(name):
    image, kind = GOOD[name]
    assert read_header(image) == (23, 37, kind)
    check_header(image, _meta(37, 23))


def test_every_packed_image_passes(collection):
    reader, shelf = SampleReader(LocalStore(collection)), IndexShelf(LocalStore(collection))
    checked = 0
    for row in load_manifest(collection).shards:
        for index in range(len(shelf.table(row))):
            sample = reader.read(Reference(0, 0, row, index, range(row.samples)))
            check_header(sample.image, sample.meta)
            checked += 1
    assert checked > 50


def test_a_picture_on_its_side_is_refused_by_its_size():
    """An orientation tag is not applied by the decoder: stored images are upright, as their JSON says."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = _saved(_picture("RGB"), "JPEG", exif=exif.tobytes())
    check_header(image, _meta(37, 23))
    with pytest.raises(SampleError, match="not of the size that its JSON says") as caught:
        check_header(image, _meta(23, 37))
    assert "expected  23 x 37 pixels" in str(caught.value)
    assert "found     37 x 23" in str(caught.value)


BAD_KINDS = {
    "CMYK JPEG": _saved(_picture("CMYK"), "JPEG"),
    "RGBA PNG": _saved(_picture("RGBA"), "PNG"),
    "palette PNG": _saved(_picture("P"), "PNG"),
    "grey and alpha PNG": _saved(_picture("LA"), "PNG"),
    "1-bit PNG": _saved(_picture("L").convert("1"), "PNG"),
    "16-bit RGB PNG": _png(37, 23, 16, 2),
    "12-bit JPEG": b"\xff\xd8\xff\xc1\x00\x0b\x0c" + struct.pack(">HHB", 23, 37, 1) + b"\x01\x11\x00",
    "lossless JPEG": b"\xff\xd8\xff\xc3\x00\x0b\x08" + struct.pack(">HHB", 23, 37, 1) + b"\x01\x11\x00",
    "arithmetic JPEG": b"\xff\xd8\xff\xc9\x00\x0b\x08" + struct.pack(">HHB", 23, 37, 1) + b"\x01\x11\x00",
}


@pytest.mark.parametrize("name", BAD_KINDS)
def test_a_kind_that_no_shard_may_hold_is_refused(name):
    with pytest.raises(SampleError, match="of a kind that no shard may hold"):
        check_header(BAD_KINDS[name], _meta(37, 23))


NO_IMAGES = {
    "nothing": b"",
    "zeros": bytes(4000),
    "a page of HTML": b"<html><body>404</body></html>",
    "a GIF": _saved(_picture("P"), "GIF"),
    "a pickle": b"\x80\x04\x95" + bytes(50),
    "the magic of a JPEG alone": b"\xff\xd8\xff",
    "a JPEG that ends before its frame": GOOD["RGB JPEG"][0][:60],
    "a JPEG without a frame": b"\xff\xd8\xff\xda\x00\x08" + bytes(50),
    "a JPEG that ends at once": b"\xff\xd8\xff\xd9",
    "a JPEG of segments of no length": b"\xff\xd8" + b"\xff\xe0\x00\x00" * 50_000,
    "a JPEG of fill bytes": b"\xff\xd8" + b"\xff" * 200_000,
    "the magic of a PNG alone": b"\x89PNG\r\n\x1a\n",
    "a PNG whose first chunk is another": GOOD["RGB PNG"][0].replace(b"IHDR", b"tEXt"),
    "a PNG that ends in its header": _png(37, 23)[:30],
    "a PNG of no pixels": _png(0, 23),
    "a JPEG of no lines": b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HHB", 0, 37, 1) + b"\x01\x11\x00",
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_bytes_that_are_no_image_are_refused(name):
    with pytest.raises(SampleError):
        check_header(NO_IMAGES[name], _meta(37, 23))


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_bomb_is_refused_although_its_json_agrees(side):
    with pytest.raises(SampleError, match="claims too many pixels"):
        check_header(_png(side, side), _meta(side, side))
    with pytest.raises(SampleError, match="not of the size"):
        check_header(_png(side, side), _meta(512, 512))


def test_the_bound_is_exact():
    side = int(MAX_PIXELS**0.5)
    assert side * side == MAX_PIXELS
    check_header(_png(side, side), _meta(side, side))
    with pytest.raises(SampleError, match="too many pixels"):
        check_header(_png(side + 1, side), _meta(side + 1, side))
    with pytest.raises(SampleError, match="too many pixels"):
        check_header(_png(10, 10), _meta(10, 10), max_pixels=99)


def test_random_bytes_after_the_magic_end_in_a_verdict():
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(500):
        magic = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")[rng.integers(2)]
        image = bytearray(magic + rng.integers(0, 256, rng.integers(0, 400), np.uint8).tobytes())
        if rng.random() < 0.5 and len(image) > 8:
            image[4::2] = b"\xff" * len(image[4::2])
        try:
            read_header(bytes(image))
            verdicts.add("read")
        except SampleError:
            verdicts.add("refused")
    assert "refused" in verdicts
