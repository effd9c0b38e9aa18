"""Canonical pixels: what is kept, what is windowed, what is reduced, what is refused."""

import numpy as np
import pytest
from PIL import Image

from mermed.errors import ConfigError
from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.pixels.encode import decode_image, encode_image
from mermed.pack.pixels.moments import MomentTable, image_moments
from mermed.pack.pixels.window import LookupTable, Window, percentile_window, to_grey
from mermed.pack.readers.raw import RawImage, RejectedInput


def make(pixels, modality="us", scale="display", options=None, **more):
    raw = RawImage(pixels=pixels, scale=scale, source_bits=8, **more)
    return make_canonical(raw, modality, options or PackOptions())


def ramp16(top, shape=(64, 64)):
    return np.linspace(0, top, shape[0] * shape[1]).astype(np.uint16).reshape(shape)


@pytest.mark.parametrize("top", [65535, 4095, 900])
@pytest.mark.parametrize("modality", ["cxr", "oct", "ct"])
def test_16_bit_grey_fills_the_range_whatever_its_top(top, modality):
    made = make(ramp16(top), modality, "stored")
    grey = np.asarray(made.image)
    assert len(np.unique(grey)) >= 250
    assert (grey == 255).mean() < 0.02
    assert (grey == 0).mean() < 0.02
    assert np.all(np.diff(grey.ravel().astype(int)) >= 0)
    assert made.window is not None


def test_8_bit_images_are_kept_as_they_are():
    grey = np.random.default_rng(0).integers(100, 140, (30, 40), dtype=np.uint8)
    made = make(grey)
    assert np.array_equal(np.asarray(made.image), grey)
    assert made.window is None


def test_rgb_of_equal_channels_becomes_grey_and_a_tint_stays():
    grey = np.random.default_rng(0).integers(0, 255, (30, 40), dtype=np.uint8)
    assert make(np.dstack([grey] * 3)).image.mode == "L"
    tinted = np.dstack([grey] * 3)
    tinted[3, 4, 2] ^= 1
    assert make(tinted).image.mode == "RGB"


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1024, 2048), (128, 64)), ((2048, 1024), (64, 128)), ((64, 900), (900, 64)), ((20, 30), (30, 20))],
)
def test_the_short_side_is_limited_and_never_enlarged(shape, size):
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    # Averaging noise leaves little spread, so a slope is laid over it.
    pixels = (pixels * 0.2 + np.linspace(0, 200, shape[1])).astype(np.uint8)
    assert make(pixels, options=PackOptions(side_px=64)).image.size == size


def test_reduction_averages_and_does_not_overshoot():
    edge = np.zeros((600, 600), np.uint8)
    edge[:, 300:] = 200
    edge[0, 0] = 100  # a third level, so that it is no mask
    fine = np.indices((600, 600)).sum(0) % 2 * 200
    image = np.asarray(make(edge, options=PackOptions(side_px=64)).image)
    assert image.max() <= 200
    half = fine.astype(np.uint8)
    half[:, :300] = 0
    half[0, 0] = 100
    even = np.asarray(make(half, options=PackOptions(side_px=60)).image)
    assert np.abs(even[:, 40:].astype(int) - 100).max() <= 2


@pytest.mark.parametrize("pixels", [np.full((30, 30), 77, np.uint8), np.full((30, 30, 3), 9, np.uint8)])
def test_a_constant_image_is_blank(pixels):
    with pytest.raises(RejectedInput, match="blank"):
        make(pixels)


def test_a_constant_16_bit_image_is_blank():
    with pytest.raises(RejectedInput, match="blank"):
        make(np.full((30, 30), 4000, np.uint16), "cxr", "stored")
    with pytest.raises(RejectedInput, match="blank"):
        make(np.ones((30, 30), np.uint16), "cxr", "stored", padding=np.ones((30, 30), bool))


def test_a_slice_of_air_is_blank_in_a_soft_tissue_window():
    air = np.random.default_rng(0).integers(-1020, -980, (30, 30)).astype(np.int16)
    with pytest.raises(RejectedInput, match="blank"):
        make(air, "ct", "hounsfield")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    "curve", [Window(40, 400), Window(40, 400, "SIGMOID"), LookupTable(-10, np.arange(0, 256, 2), 8)]
)
def test_tables_and_arithmetic_give_the_same_grey(dtype, curve):
    low = 0 if np.dtype(dtype).kind == "u" else -300
    high = 255 if dtype == np.uint8 else 700
    values = np.random.default_rng(0).integers(low, high, (70, 70)).astype(dtype)
    expected = np.rint(curve.curve(values.astype(np.float64)) * 255)
    assert np.array_equal(to_grey(values, curve), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float64])
def test_percentiles_are_exact(dtype):
    values = np.random.default_rng(0).integers(0, 200, 4001).astype(dtype)
    ordered = np.sort(values).astype(float)
    window = percentile_window(values, 0.5, 99.5)
    assert (window.centre - window.width / 2, window.centre + window.width / 2) == (ordered[20], ordered[3980])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_stays_near_and_png_stays_equal(mode):
    smooth = (
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8))
        .resize((90, 90))
        .convert(mode)
    )
    encoded, extension = encode_image(smooth, "png")
    assert extension == "png"
    assert decode_image(encoded, extension).tobytes() == smooth.tobytes()
    encoded, extension = encode_image(smooth, "jpeg")
    decoded = decode_image(encoded, extension)
    assert (decoded.mode, extension) == (mode, "jpg")
    assert np.abs(np.asarray(decoded, int) - np.asarray(smooth, int)).mean() < 1.5
    if mode == "RGB":
        assert all(sampling[1:3] == (1, 1) for sampling in Image.open(__import__("io").BytesIO(encoded)).layer)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_moments_equal_numpy(mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (31, 17, 3), dtype=np.uint8)).convert(mode)
    values = np.asarray(image.convert("RGB"), np.float64) / 255
    moments = image_moments(image)
    np.testing.assert_allclose(moments.mean, values.mean((0, 1)), rtol=1e-13)
    np.testing.assert_allclose(moments.square, (values**2).mean((0, 1)), rtol=1e-13)


def test_images_count_equally_and_their_order_changes_no_bit():
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (side, 9, 3), dtype=np.uint8)) for side in range(3, 40)]
    tables = [MomentTable(), MomentTable()]
    for image in images:
        tables[0].add(image_moments(image))
    for image in reversed(images):
        tables[1].add(image_moments(image))
    assert tables[0].summary() == tables[1].summary()
    values = [np.asarray(image, np.float64) / 255 for image in images]
    mean = np.mean([v.mean((0, 1)) for v in values], axis=0)
    std = np.sqrt(np.mean([(v**2).mean((0, 1)) for v in values], axis=0) - mean**2)
    np.testing.assert_allclose(tables[0].summary()["mean"], mean)
    np.testing.assert_allclose(tables[0].summary()["std"], std)


@pytest.mark.parametrize("wrong", [{"side_px": 8}, {"shard_mb": 0}, {"codec": "webp"}, {"ct_window": "liver"}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        PackOptions(**wrong)


def test_every_option_changes_the_recipe():
    options = [PackOptions(), PackOptions(side_px=256), PackOptions(codec="png"), PackOptions(ct_window="lung")]
    digests = [o.digest("salt") for o in options] + [PackOptions().digest("other salt")]
    assert len(set(digests)) == 5
