"""One image onto a canvas: the decoder's own pixels, at the scale that is enough, and nothing beyond them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as image_ops

from mermed.errors import SampleError
from mermed.stream.buffer import CanvasBuffer
from mermed.stream.image import decode_into, decode_rgb

FULL = (301, 420)


def _smooth(height, width, channels=3, seed=0):
    """Pixels with the spectrum of a photograph: scales of it can be compared."""
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(generator.uniform(0, 255, (channels, 12, 15)).astype(np.float32))
    pixels = image_ops.resize(coarse, [height, width], antialias=True).clamp(0, 255).byte()
    return pixels.permute(1, 2, 0).numpy()


def _jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        buffer, "JPEG", **{"quality": 95, "subsampling": 0, **options}
    )
    return buffer.getvalue()


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _canvas(side, fill=7):
    return np.full((side, side, 3), fill, np.uint8)


def _reference(encoded):
    tensor = decode_image(torch.frombuffer(bytearray(encoded), dtype=torch.uint8), ImageReadMode.RGB)
    return tensor.permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    "encoded",
    [
        _jpeg(_smooth(*FULL)),
        _jpeg(_smooth(*FULL), subsampling=2, quality=60),
        _jpeg(_smooth(*FULL), progressive=True),
        _jpeg(_smooth(*FULL, channels=1)),
        _png(_smooth(*FULL)),
        _png(_smooth(*FULL, channels=1)),
    ],
    ids=["444", "420", "progressive", "grey", "png", "grey png"],
)
def test_the_pixels_are_those_of_torchvisions_decoder(encoded):
    expected = _reference(encoded)
    np.testing.assert_array_equal(decode_rgb(encoded), expected)
    canvas = _canvas(450)
    assert decode_into(canvas, encoded) == FULL
    np.testing.assert_array_equal(canvas[: FULL[0], : FULL[1]], expected)
    assert (canvas[FULL[0] :] == 7).all()
    assert (canvas[:, FULL[1] :] == 7).all()


def test_an_image_as_wide_as_the_canvas_is_decoded_in_place():
    encoded = _jpeg(_smooth(200, 256))
    canvas = _canvas(256)
    assert decode_into(canvas, encoded) == (200, 256)
    np.testing.assert_array_equal(canvas[:200], decode_rgb(encoded))
    assert (canvas[200:] == 7).all()


def test_a_larger_image_is_reduced_to_the_canvas_with_antialiasing():
    encoded = _jpeg(_smooth(600, 900))
    canvas = _canvas(300)
    assert decode_into(canvas, encoded) == (200, 300)
    expected = image_ops.resize(torch.from_numpy(_reference(encoded)).permute(2, 0, 1), [200, 300], antialias=True)
    np.testing.assert_allclose(canvas[:200].astype(int), expected.permute(1, 2, 0).numpy().astype(int), atol=1)


@pytest.mark.parametrize(
    ("enough", "size"),
    [(960, (640, 960)), (481, (640, 960)), (480, (320, 480)), (241, (320, 480)), (240, (160, 240)), (100, (80, 120))],
)
def test_as_much_is_left_as_is_enough(enough, size):
    encoded = _jpeg(_smooth(640, 960))
    canvas = _canvas(960)
    assert decode_into(canvas, encoded, enough_px=enough) == size
    expected = image_ops.resize(torch.from_numpy(_reference(encoded)).permute(2, 0, 1), list(size), antialias=True)
    difference = np.abs(canvas[: size[0], : size[1]].astype(int) - expected.permute(1, 2, 0).numpy().astype(int))
    assert difference.mean() < 1.0


def test_enough_never_reaches_beyond_the_canvas():
    canvas = _canvas(300)
    assert decode_into(canvas, _jpeg(_smooth(600, 600)), enough_px=10_000) == (300, 300)


def test_a_png_is_kept_whole_whatever_is_enough():
    canvas = _canvas(450)
    assert decode_into(canvas, _png(_smooth(*FULL)), enough_px=50) == FULL


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\xff\xd8\xff", _jpeg(_smooth(*FULL))[:-500], _png(_smooth(*FULL))[:-500], b"<html>", b"GIF89a" + bytes(40)],
    ids=["empty", "magic alone", "cut jpeg", "cut png", "page", "gif"],
)
def test_what_is_no_whole_image_is_a_sample_error(encoded):
    with pytest.raises(SampleError, match="does not decode"):
        decode_rgb(encoded)
    with pytest.raises(SampleError, match="does not decode"):
        decode_into(_canvas(450), encoded)


def test_a_buffer_used_again_holds_nothing_of_the_image_before():
    buffer = CanvasBuffer.allocate(2, 128, pin=False)
    sizes = [(128, 128), (40, 100), (100, 40), (128, 128), (1, 1), (90, 128)]
    for number, (height, width) in enumerate(sizes):
        encoded = _jpeg(_smooth(height, width, seed=number))
        assert buffer.fill(1, encoded) == (height, width)
        canvas = buffer.pixels[1].numpy()
        np.testing.assert_array_equal(canvas[:height, :width], _reference(encoded))
        assert not canvas[height:].any()
        assert not canvas[:, width:].any()
    assert not buffer.pixels[0].any()


def test_a_failed_image_leaves_no_trace_under_the_one_that_replaces_it():
    buffer = CanvasBuffer.allocate(1, 128, pin=False)
    with pytest.raises(SampleError):
        buffer.fill(0, _jpeg(_smooth(128, 128))[:-200])
    buffer.fill(0, _jpeg(_smooth(20, 30)))
    canvas = buffer.pixels[0].numpy()
    assert not canvas[20:].any()
    assert not canvas[:, 30:].any()
