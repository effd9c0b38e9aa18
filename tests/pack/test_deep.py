"""Sixteen bits kept: the values come back through rescale, and the window shows what 8 bits would have shown."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mermed.contract import SampleMeta
from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.pixels.display import to_display
from mermed.pack.pixels.encode import decode_image, encode_image
from mermed.pack.pixels.window import LookupTable, Window
from mermed.pack.readers.raw import RawImage, RejectedInput
from mermed.pack.treatment import Treatment

SHALLOW = PackOptions(side_px=4096)
DEEP = replace(SHALLOW, depth=16)
HU = np.random.default_rng(0).integers(-1024, 3072, (60, 70)).astype(np.int32)


def raw(pixels, scale="stored", bits=12, **more):
    return RawImage(pixels=pixels, scale=scale, source_bits=bits, **more)


def values_of(made):
    return made.pixels * made.rescale[0] + made.rescale[1]


def shown(made):
    """The image as a reader shows it, from its encoded bytes and its JSON alone."""
    image, extension = encode_image(made.image, "jpeg")
    assert extension == "png"
    decoded = decode_image(image, extension)
    assert np.array_equal(np.asarray(decoded), made.pixels)
    meta = SampleMeta(
        key="a", modality="ct", dataset="d", split="train", group="g", width=1, height=1, source_bits=12,
        window=made.window, rescale=made.rescale,
    )  # fmt: skip
    return np.asarray(to_display(decoded, meta), int)


def test_hounsfield_units_come_back_exactly():
    made = make_canonical(raw(HU, "hounsfield"), "ct", DEEP)
    assert (made.image.mode, made.pixels.dtype) == ("I;16", np.uint16)
    assert np.array_equal(values_of(made), HU)
    assert (made.rescale, made.window, made.steps) == ((1.0, -1024.0), (40.0, 400.0), ("depth:16",))


@pytest.mark.parametrize("low", [-3024, -1000, 0, 40])
def test_the_same_tissue_has_the_same_value_unless_a_slice_reaches_below_air(low):
    made = make_canonical(raw(np.clip(HU, low, None), "hounsfield"), "ct", DEEP)
    assert np.array_equal(values_of(made), np.clip(HU, low, None))
    assert made.rescale[1] in (-1024.0, 0.0)


CURVES = [None, Window(300, 900), Window(300, 900, "LINEAR")]


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("is_inverted", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_its_window_shows_what_8_bits_would_have_stored(curve, is_inverted, padded):
    padding = np.zeros(HU.shape, bool)
    padding[:9] = padded
    image = raw(HU, voi=curve, is_inverted=is_inverted, padding=padding if padded else None)
    deep, shallow = make_canonical(image, "cxr", DEEP), make_canonical(image, "cxr", SHALLOW)
    difference = np.abs(shown(deep) - shallow.pixels.astype(int))
    assert difference[~padding].max() <= 1
    assert ("invert" in deep.steps) == is_inverted


def test_floats_of_any_range_keep_one_part_in_65535():
    field = np.random.default_rng(0).normal(0.0, 1e-3, (50, 50))
    made = make_canonical(raw(field, bits=32), "cxr", DEEP)
    assert np.abs(values_of(made) - field).max() <= np.ptp(field) / 65535
    assert made.pixels.max() == 65535


def test_a_table_is_replaced_by_the_percentiles():
    image = raw(HU, voi=LookupTable(-1024, np.linspace(0, 255, 4096) ** 2 / 255, 8))
    made = make_canonical(image, "cxr", DEEP)
    low, high = (np.sort(HU.ravel())[round((HU.size - 1) * share)] for share in (0.005, 0.995))
    assert made.window == ((low + high) / 2, high - low)


def test_what_has_8_bits_or_another_modality_stays_8_bits():
    grey = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    assert make_canonical(raw(grey, "display", 8), "cxr", DEEP).image.mode == "L"
    assert make_canonical(raw(HU), "oct", DEEP).image.mode == "L"
    assert make_canonical(raw(HU, "hounsfield"), "ct", SHALLOW).image.mode == "L"


def test_an_offset_and_known_bits_hold_for_16_bits_too():
    stored = (HU + 32768).astype(np.uint16)
    made = make_canonical(raw(stored, bits=16), "ct", DEEP, Treatment(offset_hu=-32768, window="lung"))
    assert np.array_equal(values_of(made), HU)
    assert made.window == (-600.0, 1500.0)
    twelve = make_canonical(raw((HU + 1024).astype(np.uint16), bits=16), "cxr", DEEP, Treatment(bits=12))
    assert (twelve.window, twelve.rescale) == ((2047.5, 4095.0), (1.0, 0.0))


def test_reduction_averages_values_and_keeps_the_spacing_right():
    rows = np.linspace(0, 4000, 300)[:, None].repeat(300, 1).round().astype(np.uint16)
    made = make_canonical(raw(rows, spacing_mm=(0.1, 0.2)), "cxr", replace(DEEP, side_px=100))
    expected = np.asarray(Image.fromarray(rows.astype(np.float32)).resize((100, 100), Image.Resampling.BOX))
    assert np.abs(made.pixels - expected).max() < 8
    assert made.spacing_mm == (0.3, 0.6)
    assert made.steps == ("depth:16", "resize")


def test_a_slice_that_its_window_shows_black_is_blank_in_16_bits_too():
    air = np.random.default_rng(0).integers(-1020, -980, (40, 40)).astype(np.int16)
    with pytest.raises(RejectedInput, match="blank"):
        make_canonical(raw(air, "hounsfield"), "ct", DEEP)


@settings(max_examples=100, deadline=None)
@given(arrays(np.int32, (9, 11), elements=st.integers(-(2**31), 2**31 - 1)), st.booleans())
def test_values_of_any_range_come_back_within_a_step(pixels, is_inverted):
    try:
        made = make_canonical(raw(pixels, bits=32, is_inverted=is_inverted), "cxr", DEEP)
    except RejectedInput as rejected:
        assert rejected.reason_slug == "blank"
        return
    low, high = int(pixels.min()), int(pixels.max())
    expected = low + high - pixels.astype(float) if is_inverted else pixels.astype(float)
    assert np.abs(values_of(made) - expected).max() <= made.rescale[0]
