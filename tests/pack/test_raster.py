"""Raster files: upright, without alpha, by content, and never saturated."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from mermed.pack.readers.raster import read_raster
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput
from mermed.pack.readers.reading import read_image


@pytest.fixture
def photo():
    """An RGB picture without symmetry, so that every wrong turn shows."""
    rows, columns = np.mgrid[0:24, 0:36]
    return np.stack([rows * 10, columns * 7, (rows + columns) * 4], axis=-1).astype(np.uint8)


def reason_of(path, **bounds):
    with pytest.raises(RejectedInput) as caught:
        read_image(path, Bounds(**bounds))
    return caught.value.bin, caught.value.reason_slug


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation, photo, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(TURNS[orientation](photo))).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png", Bounds()).pixels, photo)


def test_a_16_bit_png_keeps_every_value(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(ramp).save(tmp_path / "x.png")
    raw = read_image(tmp_path / "x.png", Bounds())
    assert np.array_equal(raw.pixels, ramp)
    assert (raw.scale, raw.source_bits) == ("stored", 16)


def test_transparent_parts_lie_on_black(photo, tmp_path):
    alpha = np.zeros(photo.shape[:2], np.uint8)
    alpha[:, 18:] = 255
    Image.fromarray(np.dstack([photo, alpha])).save(tmp_path / "rgba.png")
    pixels = read_image(tmp_path / "rgba.png", Bounds()).pixels
    assert not pixels[:, :18].any()
    assert np.array_equal(pixels[:, 18:], photo[:, 18:])


def test_grey_with_alpha_stays_grey(photo, tmp_path):
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[0] = 0
    Image.merge("LA", [Image.fromarray(photo[..., 1]), Image.fromarray(alpha)]).save(tmp_path / "x.png")
    pixels = read_image(tmp_path / "x.png", Bounds()).pixels
    assert pixels.shape == photo.shape[:2]
    assert not pixels[0].any()
    assert np.array_equal(pixels[1:], photo[1:, :, 1])


def test_a_palette_becomes_its_colours(tmp_path):
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, 200, 10, 30] + [0] * 750)
    image.paste(1, (0, 0, 4, 8))
    image.save(tmp_path / "x.png")
    pixels = read_image(tmp_path / "x.png", Bounds()).pixels
    assert tuple(pixels[0, 0]) == (200, 10, 30)
    assert tuple(pixels[0, 7]) == (0, 0, 0)


def test_cmyk_becomes_rgb(photo, tmp_path):
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "x.tif")
    assert np.array_equal(read_image(tmp_path / "x.tif", Bounds()).pixels, photo)


def test_one_bit_images_become_black_and_white(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png", Bounds()).pixels, np.eye(8, dtype=np.uint8) * 255)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "GIF"])
def test_the_content_counts_and_not_the_name(format, photo, tmp_path):
    options = {"lossless": True} if format == "WEBP" else {}
    path = tmp_path / "picture.jpg"
    Image.fromarray(photo[:8, :16]).quantize(64).convert("RGB").save(path, format, **options)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_image(path, Bounds()).pixels, expected)


def test_float_tiffs_keep_their_values_and_mark_nan(tmp_path):
    values = np.linspace(-1000, 2000, 48, dtype=np.float32).reshape(6, 8)
    values[2, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "x.tif")
    raw = read_image(tmp_path / "x.tif", Bounds())
    assert raw.scale == "stored"
    assert np.array_equal(np.argwhere(raw.padding), [[2, 3]])
    assert np.array_equal(raw.pixels[~raw.padding], values[~np.isnan(values)])


def test_a_float_too_large_to_be_a_measurement_is_padding(tmp_path):
    values = np.ones((6, 8), np.float32)
    values[1, 1], values[2, 2], values[3, 3] = 3e38, -np.inf, -3e38
    Image.fromarray(values).save(tmp_path / "x.tif")
    (tmp_path / "y.tif").write_bytes(float64_tiff(values.astype(np.float64) ** 3))
    for name in ("x.tif", "y.tif"):
        raw = read_image(tmp_path / name, Bounds())
        assert np.array_equal(np.argwhere(raw.padding), [[1, 1], [2, 2], [3, 3]])
        assert np.array_equal(np.unique(raw.pixels), [0, 1])


def float64_tiff(values, byte_order="<", compression=1):
    """A minimal TIFF of one strip of doubles, written by hand after the TIFF 6.0 text."""
    height, width = values.shape
    pixels = values.astype(f"{byte_order}f8").tobytes()
    entries = [(256, width), (257, height), (258, 64), (259, compression), (262, 1), (273, 8), (277, 1), (278, height)]
    entries += [(279, len(pixels)), (339, 3)]
    directory = struct.pack(f"{byte_order}H", len(entries))
    for tag, value in entries:
        directory += struct.pack(f"{byte_order}HHII", tag, 4, 1, value)
    mark = b"II*\0" if byte_order == "<" else b"MM\0*"
    return mark + struct.pack(f"{byte_order}I", 8 + len(pixels)) + pixels + directory + bytes(4)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_float64_tiffs_are_read(byte_order, tmp_path):
    values = np.linspace(-1000, 2000, 48).reshape(6, 8)
    (tmp_path / "x.tif").write_bytes(float64_tiff(values, byte_order))
    assert np.array_equal(read_image(tmp_path / "x.tif", Bounds()).pixels, values)


def test_a_cut_float64_tiff_is_reported(tmp_path):
    content = bytearray(float64_tiff(np.ones((6, 8))))
    content[content.index(struct.pack("<HHI", 257, 4, 1)) + 8] = 200
    (tmp_path / "x.tif").write_bytes(content)
    assert reason_of(tmp_path / "x.tif") == ("quarantined", "truncated")


def test_white_is_zero_is_marked_for_inversion(tmp_path):
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 900
    Image.fromarray(values).save(tmp_path / "x.tif", tiffinfo={262: 0})
    raw = read_image(tmp_path / "x.tif", Bounds())
    assert raw.is_inverted
    assert np.array_equal(raw.pixels, values)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.98])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_cut_file_is_never_read_in_part(format, share, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, format)
    content = buffer.getvalue()
    (tmp_path / "x").write_bytes(content[: int(len(content) * share)])
    assert reason_of(tmp_path / "x") == ("quarantined", "truncated")


def test_a_damaged_png_is_reported(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[content.index(b"IDAT") + 40] ^= 255
    (tmp_path / "x.png").write_bytes(content)
    assert reason_of(tmp_path / "x.png")[0] == "quarantined"


def test_a_pixel_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size < 200_000
    assert reason_of(tmp_path / "x.png") == ("quarantined", "pixel_limit")


def test_a_large_file_is_refused_unread(tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    assert reason_of(tmp_path / "x.png", max_bytes=500) == ("quarantined", "file_limit")


@pytest.mark.parametrize("format", ["TIFF", "GIF", "PNG", "WEBP"])
def test_the_reader_of_one_image_takes_no_file_of_several(format, tmp_path):
    frames = [Image.new("L", (8, 8), level) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "x", format, save_all=True, append_images=frames[1:])
    with pytest.raises(RejectedInput) as caught:
        read_raster(RawFile(tmp_path / "x"), Bounds())
    assert (caught.value.bin, caught.value.reason_slug) == ("excluded", "multi_frame")


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size_and_looks_the_same(tmp_path):
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 16), dtype=np.uint8)).resize((1600, 1200))
    smooth.save(tmp_path / "x.jpg", quality=95)
    raw = read_image(tmp_path / "x.jpg", Bounds(least_side_px=256))
    assert raw.pixels.shape == (300, 400)
    expected = np.asarray(smooth.resize((400, 300), Image.Resampling.BOX)).astype(int)
    assert np.abs(raw.pixels - expected).mean() < 1.0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ("quarantined", "empty")),
        (b"<html><body>404</body></html>", ("quarantined", "not_an_image")),
        (bytes(range(200, 256)) * 10, ("quarantined", "not_an_image")),
        (b"MZ" + bytes(126) + b"DICM" + bytes(100), ("quarantined", "preamble_exec")),
        (b"\x7fELF" + bytes(200), ("quarantined", "preamble_exec")),
        (b"\0\0\0\x20ftypheic" + bytes(100), ("quarantined", "not_an_image")),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", ("quarantined", "not_an_image")),
    ],
)
def test_what_is_no_image_is_named(content, expected, tmp_path):
    (tmp_path / "x.jpg").write_bytes(content)
    assert reason_of(tmp_path / "x.jpg") == expected


def test_a_missing_file_a_folder_and_a_pipe_are_told_apart(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert reason_of(tmp_path / "gone.png") == ("quarantined", "missing")
    assert reason_of(tmp_path / "folder") == ("quarantined", "not_a_file")
    assert reason_of(tmp_path / "pipe") == ("quarantined", "not_a_file")


def test_reading_leaves_the_limit_of_pillow_as_it_was(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "x.png")
    before = Image.MAX_IMAGE_PIXELS
    read_image(tmp_path / "x.png", Bounds())
    assert before == Image.MAX_IMAGE_PIXELS
