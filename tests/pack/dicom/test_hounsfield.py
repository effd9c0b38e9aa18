"""CT values that no scanner measures: fixed where a recipe says so, told apart from fill, or named."""

import numpy as np
import pytest

from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.treatment import Treatment

FIX = Treatment(fix_sign=True)


@pytest.fixture
def head():
    """HU of a round head in air: air -1000, tissue 20 to 80, a bone of 900, all inside twelve bits."""
    rows, columns = np.mgrid[-32:32, -32:32]
    radius = np.hypot(rows, columns)
    tissue = np.random.default_rng(0).integers(20, 80, radius.shape)
    return np.select([radius < 20, radius < 23], [tissue, 900], -1000).astype(np.int32)


def ct(write, stored, *, bits, intercept, **tags):
    return write(stored, bits=bits, Modality="CT", RescaleSlope=1, RescaleIntercept=intercept, **tags)[0]


@pytest.mark.parametrize(("bits", "dtype"), [(12, np.uint16), (16, np.uint16)])
def test_air_that_lost_its_sign_is_named_or_wrapped_back(bits, dtype, write, items_of, reason_of, head):
    path = ct(write, (head % 2**bits).astype(dtype), bits=bits, intercept=0)
    assert reason_of(path) == ("quarantined", "range")
    (image,) = items_of(path, treatment=FIX)
    assert image.scale == "hounsfield"
    assert np.array_equal(image.pixels, head)
    assert image.notes == ("fix_sign",)


def test_the_well_known_fix_of_rsna_gives_the_same_values(write, items_of, head):
    stored = (head % 4096).astype(np.uint16)
    (image,) = items_of(ct(write, stored, bits=12, intercept=0), treatment=FIX)
    shifted = stored.astype(int) + 1000
    shifted[shifted >= 4096] -= 4096
    assert np.array_equal(image.pixels, shifted - 1000)


@pytest.mark.parametrize("treatment", [Treatment(), FIX])
@pytest.mark.parametrize("kind", ["u", "i"])
def test_what_is_right_stays_as_it_is(treatment, kind, write, items_of, head):
    if kind == "u":
        path = ct(write, (head + 1024).astype(np.uint16), bits=12, intercept=-1024)
    else:
        path = ct(write, head.astype(np.int16), bits=16, intercept=0)
    (image,) = items_of(path, treatment=treatment)
    assert np.array_equal(image.pixels, head)
    assert (image.padding, image.notes) == (None, ())


def test_a_fixed_file_looks_like_its_right_twin(write, items_of, head):
    right = ct(write, (head + 1024).astype(np.uint16), bits=12, intercept=-1024, name="right.dcm")
    wrong = ct(write, (head % 4096).astype(np.uint16), bits=12, intercept=0, name="wrong.dcm")
    shown = [
        make_canonical(items_of(path, treatment=FIX)[0], "ct", PackOptions(ct_window="brain")).pixels
        for path in (right, wrong)
    ]
    assert np.array_equal(*shown)


@pytest.mark.parametrize("fill", [-2000, -3024, -8000])
def test_fill_around_the_scan_is_padding_and_no_fault(fill, write, items_of, head):
    rows, columns = np.mgrid[-32:32, -32:32]
    outside = np.hypot(rows, columns) > 34
    (image,) = items_of(ct(write, np.where(outside, fill, head).astype(np.int16), bits=16, intercept=0))
    assert (image.padding is None) if fill >= -2048 else np.array_equal(image.padding, outside)
    shown = make_canonical(image, "ct", PackOptions()).pixels
    assert not shown[:1, :1].any()


def test_low_values_inside_the_scan_are_named(write, reason_of, head):
    damaged = head.copy()
    damaged[30:34, 30:34] = -5000
    assert reason_of(ct(write, damaged.astype(np.int16), bits=16, intercept=0)) == ("quarantined", "range")


def test_values_above_any_metal_are_named(write, reason_of, items_of, head):
    metal = head.copy()
    metal[30:34, 30:34] = 19_000
    assert items_of(ct(write, metal.astype(np.int16), bits=16, intercept=0))[0].pixels.max() == 19_000
    metal[30:34, 30:34] = 21_000
    assert reason_of(ct(write, metal.astype(np.int16), bits=16, intercept=0)) == ("quarantined", "range")


def test_declared_padding_is_never_out_of_range(write, items_of, head):
    padded = head.copy()
    padded[20:30, 20:30] = -20_000
    path = ct(write, padded.astype(np.int16), bits=16, intercept=0, PixelPaddingValue=-20_000)
    (image,) = items_of(path)
    assert np.array_equal(image.padding, padded == -20_000)


def test_padding_written_without_its_sign_is_padding_still(write, items_of, head):
    padded = head.copy()
    padded[20:30, 20:30] = -2000
    path, dataset = write(padded.astype(np.int16), bits=16, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    dataset.add_new(0x00280120, "US", 2**16 - 2000)
    dataset.save_as(path)
    (image,) = items_of(path)
    assert np.array_equal(image.padding, padded == -2000)


def test_a_screen_that_calls_itself_ct_is_shown_as_it_is(write, items_of, noise):
    path, _ = write(noise(24, 32), bits=8, Modality="CT", RescaleSlope=1, RescaleIntercept=0)
    (image,) = items_of(path)
    assert (image.scale, image.pixels.dtype) == ("display", np.uint8)


def test_a_rescale_that_leads_nowhere_is_corrupt(write, reason_of, noise):
    for slope, intercept in ((1e308, 1e308), (2**40, 0)):
        path, _ = write(noise(24, 32, bits=12), Modality="CT", RescaleSlope=slope, RescaleIntercept=intercept)
        assert reason_of(path)[0] == "quarantined"
