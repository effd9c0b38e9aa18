"""Raster modes: profiles, inks, palettes, deep colour, damaged PNGs, bombs and members of archives."""

import io
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from mermed.pack.readers.archive import open_raw
from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedInput
from mermed.pack.readers.reading import read_frames, read_image
from mermed.pack.treatment import Treatment


@pytest.fixture
def photo():
    rows, columns = np.mgrid[0:40, 0:56]
    return np.stack([rows * 6, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)


def saved(path, image, format, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, format, **options)
    return path


def reason_of(path, bounds=None):
    with pytest.raises(RejectedInput) as caught:
        read_image(path, bounds or Bounds())
    return caught.value.bin, caught.value.reason_slug


def profile(gamma=2.2):
    """A small RGB profile written by hand: sRGB primaries in D50, swapped red and green, a plain gamma."""

    def s15(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(*values):
        return b"XYZ \0\0\0\0" + b"".join(s15(value) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Test\0" + bytes(79)
    tags = {
        b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.3851, 0.7169, 0.0971), b"gXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + s15(0.9642) + s15(1.0) + s15(0.8249)
    return head + bytes(128 - len(head)) + table + body


def test_a_profile_that_differs_is_followed(photo, tmp_path):
    path = saved(tmp_path / "x.png", photo, "PNG", icc_profile=profile())
    raw = read_image(path, Bounds())
    light = (photo[..., [1, 0, 2]] / 255.0) ** 2.2
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert raw.notes == ("icc",)
    assert np.abs(raw.pixels - expected).max() <= 2
    assert np.abs(raw.pixels.astype(int) - photo).max() > 50


def test_a_profile_of_srgb_and_one_that_is_no_profile_change_nothing(photo, tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, (content, notes) in enumerate([(srgb, ()), (b"no profile", ("icc_ignored",))]):
        raw = read_image(saved(tmp_path / f"{number}", photo, "PNG", icc_profile=content), Bounds())
        assert np.array_equal(raw.pixels, photo)
        assert raw.notes == notes


def test_grey_keeps_its_values_whatever_its_profile(photo, tmp_path):
    raw = read_image(saved(tmp_path / "x.png", photo[..., 0], "PNG", icc_profile=profile()), Bounds())
    assert np.array_equal(raw.pixels, photo[..., 0])
    assert raw.notes == ()


def test_a_profile_leaves_transparency_black(photo, tmp_path):
    alpha = np.zeros(photo.shape[:2], np.uint8)
    alpha[:, 28:] = 255
    raw = read_image(saved(tmp_path / "x.png", np.dstack([photo, alpha]), "PNG", icc_profile=profile()), Bounds())
    assert not raw.pixels[:, :28].any()
    assert raw.pixels[:, 28:].any()


def test_a_palette_with_a_profile_and_one_with_transparency_are_read(photo, tmp_path):
    palette = Image.fromarray(photo).quantize(64)
    raw = read_image(saved(tmp_path / "a.png", palette, "PNG", icc_profile=profile()), Bounds())
    assert raw.notes == ("icc",)
    clear = read_image(saved(tmp_path / "b.png", palette, "PNG", transparency=0), Bounds())
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[np.asarray(palette) == 0] = 0
    assert np.array_equal(clear.pixels, expected)


def smooth():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)).resize((80, 64))


def test_a_cmyk_jpeg_is_the_colour_of_its_inks(tmp_path):
    picture = smooth()
    path = saved(tmp_path / "x.jpg", picture.convert("CMYK"), "JPEG", quality=98, subsampling=0)
    found = read_image(path, Bounds()).pixels.astype(int)
    assert np.abs(found - np.asarray(picture)).mean() < 2


def test_a_ycck_jpeg_is_the_colour_of_its_inks(tmp_path):
    """Pillow writes no YCCK, so the bands are turned by hand and the transform of the Adobe marker is set to 2."""
    rgb = np.asarray(smooth())
    stored = np.asarray(Image.fromarray(255 - rgb).convert("YCbCr"))  # of the inverted inks that Adobe stores
    ycck = Image.merge(
        "CMYK", [Image.fromarray(255 - stored[..., band]) for band in range(3)] + [Image.new("L", (80, 64))]
    )
    buffer = io.BytesIO()
    ycck.save(buffer, "JPEG", quality=98, subsampling=0)
    content = bytearray(buffer.getvalue())
    content[content.index(b"Adobe") + 11] = 2
    (tmp_path / "x.jpg").write_bytes(content)
    found = read_image(tmp_path / "x.jpg", Bounds()).pixels.astype(int)
    cmyk = np.asarray(Image.open(tmp_path / "x.jpg"))
    assert np.abs(found - (255 - cmyk[..., :3].astype(int))).max() <= 1
    assert np.abs(found - rgb).mean() < 2


def test_white_paper_of_one_bit_is_white(tmp_path):
    bits = np.random.default_rng(0).random((16, 24)) < 0.5
    for format in ("PNG", "TIFF", "BMP"):
        raw = read_image(saved(tmp_path / format, bits, format), Bounds())
        assert np.array_equal(raw.pixels, bits * np.uint8(255))
        assert raw.source_bits == 1


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(colour_type, values, mark=b"\x89PNG\r\n\x1a\n"):
    """A 16-bit PNG of `values` [H W C], written by hand."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return mark + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_deep_colour_keeps_its_high_bytes(colour_type, channels, photo, tmp_path):
    planes = photo[..., [0, 1, 2]] if channels >= 3 else photo[..., :1]
    if channels in (2, 4):
        planes = np.dstack([planes, np.full(photo.shape[:2], 255)])
    (tmp_path / "x.png").write_bytes(png(colour_type, planes.astype(int) * 257))
    raw = read_image(tmp_path / "x.png", Bounds())
    assert np.array_equal(raw.pixels, photo if channels >= 3 else photo[..., [0, 0, 0]])
    assert raw.source_bits == 16


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2)])
def test_deep_colour_that_uses_its_low_bits_only_is_refused_and_not_stored_black(colour_type, channels, tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (20, 20, channels))
    if channels == 2:
        values[..., 1] = 65535
    (tmp_path / "x.png").write_bytes(png(colour_type, values))
    assert reason_of(tmp_path / "x.png") == ("quarantined", "no_decoder")


# Damage and bombs


@pytest.mark.parametrize("level", [0, 6])
def test_a_flipped_byte_in_the_pixels_of_a_png_is_found_by_its_checksum(level, photo, tmp_path):
    path = saved(tmp_path / "x.png", photo, "PNG", compress_level=level)
    whole = path.read_bytes()
    start = whole.index(b"IDAT") + 4
    for place in range(start + 2, len(whole) - 16, 97):
        content = bytearray(whole)
        content[place] ^= 4
        path.write_bytes(content)
        assert reason_of(path)[0] == "quarantined"


def test_a_chunk_of_zeros_is_corrupt_and_a_lost_end_is_truncated(photo, tmp_path):
    path = saved(tmp_path / "x.png", photo, "PNG")
    whole = path.read_bytes()
    end = whole.index(b"IEND") - 4
    path.write_bytes(whole[:end] + bytes(12) + whole[end:])
    assert reason_of(path) == ("quarantined", "corrupt")
    path.write_bytes(whole[:end])
    assert reason_of(path) == ("quarantined", "truncated")
    path.write_bytes(whole + b"anything behind the end")
    assert np.array_equal(read_image(path, Bounds()).pixels, photo)


def test_a_large_png_in_a_small_file_is_refused_before_its_pixels(tmp_path):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(20_001 * 2000), 9) * 10
    content = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(content + bytes(200_000 - len(content) % 200_000))
    start = time.perf_counter()
    assert reason_of(tmp_path / "x.png") == ("quarantined", "pixel_limit")
    assert time.perf_counter() - start < 1.0


def test_members_of_archives_are_read_like_files(photo, tmp_path):
    for name in ("a.png", "a.tif", "a.webp"):
        saved(tmp_path / name, photo, {"a.png": "PNG", "a.tif": "TIFF", "a.webp": "WEBP"}[name], lossless=True)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "a.tif", "a.webp"):
            archive.write(tmp_path / name, f"folder/{name}")
    for name in ("a.png", "a.tif", "a.webp"):
        file = RawFile(tmp_path / "x.zip", f"folder/{name}")
        (raw,) = read_frames(file, Bounds(), Treatment())
        assert isinstance(raw, RawImage)
        assert np.array_equal(raw.pixels, photo)
        with open_raw(file, Bounds()) as stream:
            assert stream.read() == (tmp_path / name).read_bytes()


def test_a_jpeg_decoded_reduced_tells_the_size_of_its_file(tmp_path):
    big = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((800, 600))
    exif = Image.Exif()
    exif[274] = 6
    for number, (options, shape) in enumerate([({}, (600, 800)), ({"exif": exif}, (800, 600))]):
        raw = read_image(saved(tmp_path / f"{number}", big, "JPEG", **options), Bounds(least_side_px=150))
        assert raw.source_shape == shape
        assert raw.pixels.shape[:2] == (shape[0] // 4, shape[1] // 4)
        assert raw.notes == ("reduce", "upright")[: 1 + number]
