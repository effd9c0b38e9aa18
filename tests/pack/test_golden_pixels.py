"""Golden pixels: stored grey against values computed another way, within one level, before the codec.

The other way is pydicom's own lookup functions for DICOM and plain NumPy formulas for the rest.
"""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from mermed.errors import ConfigError
from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.pixels.window import Window
from mermed.pack.readers.raw import RawImage, RejectedInput
from mermed.pack.readers.reading import read_image
from mermed.pack.treatment import Treatment

WHOLE = PackOptions(side_px=4096)


def stored(path, modality, options=WHOLE, treatment=None):
    treatment = treatment or Treatment()
    return make_canonical(read_image(path, options.bounds, treatment), modality, options, treatment)


def assert_near(found, expected):
    """Equal within one grey level (and the rounding of the expectation)."""
    np.testing.assert_allclose(np.asarray(found, float), expected, atol=1.0)


def linear(values, low, high):
    """Grey between two ends, in NumPy."""
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


def ramp(bits=12, shape=(64, 80)):
    return np.linspace(0, 2**bits - 1, shape[0] * shape[1]).reshape(shape).round().astype(np.uint16)


# DICOM, against pydicom


def dicom(path, pixels, *, bits=12, signed=False, photometric="MONOCHROME2", modality="DX", syntax=None, **tags):
    """Write a DICOM file of `pixels` [H W] or [H W 3]; `tags` are set as they are."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Modality, data.PhotometricInterpretation = modality, photometric
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, int(signed)
    for name, value in tags.items():
        setattr(data, name, value)
    if "PixelData" not in tags:
        data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
    return data


def shown_by_pydicom(data, bits=12, signed=False):
    """What pydicom's own modality and VOI functions make of a file, spread over 255 levels."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(data.pixel_array, data)
    shown = apply_voi_lut(values, data, prefer_lut=True).astype(float)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if "RescaleSlope" in data:
        low, high = (float(edge) * data.RescaleSlope + data.RescaleIntercept for edge in (low, high))
    return (shown - low) / (high - low) * 255


WINDOWS = {
    "linear": {"WindowCenter": 2000, "WindowWidth": 1500},
    "narrow": {"WindowCenter": 1000, "WindowWidth": 2},
    "exact": {"WindowCenter": 1500.5, "WindowWidth": 900.25, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 2000, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"},
    "three": {"WindowCenter": [1200, 5, 9], "WindowWidth": [2000, 1, 2]},
    "rescaled": {"WindowCenter": 500, "WindowWidth": 3000, "RescaleSlope": 2, "RescaleIntercept": -1000},
    "fraction": {"WindowCenter": 10, "WindowWidth": 12, "RescaleSlope": 0.01, "RescaleIntercept": -3.5},
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_of_the_header_gives_the_grey_of_pydicom(name, tmp_path):
    data = dicom(tmp_path / "x.dcm", ramp(), **WINDOWS[name])
    made = stored(tmp_path / "x.dcm", "cxr")
    assert_near(made.pixels, shown_by_pydicom(data))
    assert made.steps == ("window:header",)
    assert made.window == (np.atleast_1d(data.WindowCenter)[0], np.atleast_1d(data.WindowWidth)[0])


def test_a_table_of_the_header_gives_the_grey_of_pydicom(tmp_path):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = Dataset()
    table.LUTDescriptor = [1024, 512, 10]
    table.LUTData = np.rint(1023 * np.linspace(0, 1, 1024) ** 0.5).astype("<u2").tobytes()
    data = dicom(tmp_path / "x.dcm", ramp(), VOILUTSequence=Sequence([table]))
    made = stored(tmp_path / "x.dcm", "cxr")
    from pydicom.pixels.processing import apply_voi_lut

    assert_near(made.pixels, apply_voi_lut(data.pixel_array, data) / 1023 * 255)
    assert (made.steps, made.window) == (("table:header",), None)


def test_ct_is_shown_in_hounsfield_units_whatever_its_header_asks_for(tmp_path):
    from pydicom.pixels.processing import apply_modality_lut

    values = ramp().astype(np.int16) - 1000
    tags = {"RescaleSlope": 1, "RescaleIntercept": -24, "WindowCenter": 300, "WindowWidth": 2000}
    data = dicom(tmp_path / "x.dcm", values, signed=True, bits=16, modality="CT", **tags)
    made = stored(tmp_path / "x.dcm", "ct")
    assert_near(made.pixels, linear(apply_modality_lut(data.pixel_array, data), -160, 240))
    assert (made.window, made.steps) == ((40.0, 400.0), ("window:soft_tissue",))
    for name, low, high in (("lung", -1350, 150), ("brain", 0, 80), ("-600/1500", -1350, 150)):
        made = stored(tmp_path / "x.dcm", "ct", replace(WHOLE, ct_window=name))
        assert_near(made.pixels, linear(apply_modality_lut(data.pixel_array, data), low, high))
        assert made.steps == (f"window:{name}",)
        assert np.array_equal(stored(tmp_path / "x.dcm", "ct", WHOLE, Treatment(window=name)).pixels, made.pixels)


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 1400, "WindowWidth": 1000}])
def test_a_monochrome1_file_and_its_twin_are_stored_equal(tags, tmp_path):
    values = ramp()
    mirrored = {"WindowCenter": 4095 - 1400 + 1, "WindowWidth": 1000} if tags else {}
    dicom(tmp_path / "two.dcm", values, **tags)
    dicom(tmp_path / "one.dcm", 4095 - values, photometric="MONOCHROME1", **mirrored)
    two, one = stored(tmp_path / "two.dcm", "cxr"), stored(tmp_path / "one.dcm", "cxr")
    assert_near(one.pixels, two.pixels.astype(float))
    assert one.steps == (*two.steps, "invert")


def test_ybr_is_the_rgb_of_pydicom(tmp_path):
    from pydicom.pixels.processing import convert_color_space

    ybr = np.random.default_rng(0).integers(60, 190, (40, 50, 3), dtype=np.uint8)
    dicom(tmp_path / "x.dcm", ybr, bits=8, photometric="YBR_FULL", modality="US")
    expected = convert_color_space(ybr, "YBR_FULL", "RGB")
    assert_near(stored(tmp_path / "x.dcm", "us").pixels, expected.astype(float))
    red, blue = ybr[..., 2] - 128.0, ybr[..., 1] - 128.0
    formula = np.stack([1.402 * red, -0.344136 * blue - 0.714136 * red, 1.772 * blue], -1) + ybr[..., :1]
    assert_near(stored(tmp_path / "x.dcm", "us").pixels, formula.clip(0, 255))


def test_a_jpeg_inside_of_dicom_is_the_rgb_of_pillow(tmp_path):
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((80, 60))
    buffer = io.BytesIO()
    smooth.save(buffer, "JPEG", quality=95, subsampling="4:2:2")
    dicom(
        tmp_path / "x.dcm",
        np.asarray(smooth),
        bits=8,
        photometric="YBR_FULL_422",
        modality="US",
        syntax=JPEGBaseline8Bit,
        PixelData=encapsulate([buffer.getvalue()]),
    )
    assert_near(stored(tmp_path / "x.dcm", "us").pixels, np.asarray(Image.open(buffer)).astype(float))


# Rasters, against NumPy


def png(path, values):
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("bits", [16, 12, 10])
def test_a_ramp_of_few_bits_in_16_spans_the_whole_grey(bits, tmp_path):
    values = ramp(bits)
    made = stored(png(tmp_path / "x.png", values), "cxr")
    low, high = (np.sort(values.ravel())[round((values.size - 1) * share)] for share in (0.005, 0.995))
    assert_near(made.pixels, linear(values, low, high))
    assert len(np.unique(made.pixels)) >= 250
    assert made.steps == ("window:percentile",)


def test_12_bits_in_16_that_the_recipe_knows_of_are_shown_whole(tmp_path):
    values = ramp(12) // 2
    made = stored(png(tmp_path / "x.png", values), "cxr", WHOLE, Treatment(bits=12))
    assert_near(made.pixels, values / 4095 * 255)
    assert (made.window, made.steps) == ((2047.5, 4095.0), ("bits:12",))


def test_a_file_with_more_bits_than_the_recipe_says_is_refused_and_a_few_letters_are_not(tmp_path):
    with pytest.raises(RejectedInput) as caught:
        stored(png(tmp_path / "x.png", ramp(14)), "cxr", WHOLE, Treatment(bits=12))
    assert caught.value.reason_slug == "range"
    values = ramp(12)
    values[:2, :10] = 65535
    assert stored(png(tmp_path / "x.png", values), "cxr", WHOLE, Treatment(bits=12)).pixels[0, 0] == 255


def test_hounsfield_units_with_an_offset_are_recovered(tmp_path):
    hu = (ramp(12).astype(int) - 1500).reshape(64, 80)
    path = png(tmp_path / "x.png", (hu + 32768).astype(np.uint16))
    lung = stored(path, "ct", WHOLE, Treatment(offset_hu=-32768, window="lung"))
    assert_near(lung.pixels, linear(hu, -1350, 150))
    assert (lung.window, lung.steps) == ((-600.0, 1500.0), ("offset_hu:-32768", "window:lung"))
    soft = stored(path, "ct", WHOLE, Treatment(offset_hu=-32768))
    assert_near(soft.pixels, linear(hu, -160, 240))


@pytest.mark.parametrize(("values", "reason"), [(ramp(12), "range"), ((ramp(12) >> 4).astype(np.uint8), "wrong_depth")])
def test_a_file_that_the_offset_does_not_fit_is_refused(values, reason, tmp_path):
    with pytest.raises(RejectedInput) as caught:
        stored(png(tmp_path / "x.png", values), "ct", WHOLE, Treatment(offset_hu=-32768))
    assert (caught.value.reason_slug, caught.value.bin) == (reason, "quarantined")


@pytest.mark.parametrize(
    "wrong",
    [{"window": "lnug"}, {"window": "40"}, {"window": "40/0"}, {"bits": 0}, {"bits": 17}, {"offset_hu": np.nan}],
)
def test_a_treatment_that_makes_no_sense_is_refused_before_anything_is_read(wrong):
    with pytest.raises(ConfigError) as caught:
        Treatment(**wrong)
    assert wrong.get("window") != "lnug" or "did you mean lung?" in str(caught.value)


def test_padding_is_black_and_moves_no_percentile():
    values = ramp(12).astype(np.int32)
    padding = np.zeros(values.shape, bool)
    padding[:, :20] = True
    padded = np.where(padding, -30000, values)
    made = make_canonical(RawImage(pixels=padded, scale="stored", source_bits=16, padding=padding), "cxr", WHOLE)
    valid = values[~padding]
    low, high = (np.sort(valid)[round((valid.size - 1) * share)] for share in (0.005, 0.995))
    assert_near(made.pixels, np.where(padding, 0, linear(values, low, high)))
    assert made.steps == ("window:percentile", "padding")


def test_the_treatment_turns_grey_round_and_leaves_colour_alone():
    grey = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    turned = Treatment(is_inverted=True)
    for pixels in (grey, np.dstack([grey] * 3)):
        made = make_canonical(RawImage(pixels=pixels, scale="display", source_bits=8), "cxr", WHOLE, turned)
        assert np.array_equal(made.pixels, 255 - grey)
    colour = np.dstack([grey, grey // 2, grey // 3])
    made = make_canonical(RawImage(pixels=colour, scale="display", source_bits=8), "path", WHOLE, turned)
    assert np.array_equal(made.pixels, colour)


TURNS = {  # what a camera stores so that the tag makes it upright
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a, 3),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_all_eight_orientations_are_stored_equal_and_no_tag_is_left(format, tmp_path):
    from mermed.pack.pixels.encode import encode_image

    rows, columns = np.mgrid[0:48, 0:64]
    photo = np.stack([rows * 5, columns * 4, 255 - rows * 2 - columns * 2], -1).astype(np.uint8)
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[274] = orientation
        options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
        options |= {"lossless": True} if format == "WEBP" else {}
        path = tmp_path / f"{orientation}"
        Image.fromarray(np.ascontiguousarray(turn(photo))).save(path, format, exif=exif, **options)
        made = stored(path, "path")
        assert_near(made.pixels, photo.astype(float)) if format != "JPEG" else None
        assert made.pixels.shape == photo.shape
        assert np.abs(made.pixels.astype(int) - photo).mean() < 2
        assert ("upright" in made.steps) == (orientation != 1)
        for codec in ("png", "jpeg"):
            encoded, _ = encode_image(made.image, codec)
            assert not Image.open(io.BytesIO(encoded)).getexif()


# What is no picture


def test_noise_is_kept_and_constants_and_masks_are_not():
    rng = np.random.default_rng(0)
    noise = RawImage(pixels=rng.integers(0, 256, (64, 64), dtype=np.uint8), scale="display", source_bits=8)
    assert np.array_equal(make_canonical(noise, "us", WHOLE).pixels, noise.pixels)
    cells = rng.integers(0, 2, (64, 64))
    for reason, pixels in (
        ("blank", np.full((64, 64), 128, np.uint8)),
        ("blank", np.full((64, 64), 40000, np.uint16)),
        ("looks_like_mask", (cells * 255).astype(np.uint8)),
        ("looks_like_mask", cells.astype(np.uint8)),
        ("looks_like_mask", (cells * 65535).astype(np.uint16)),
        ("looks_like_mask", np.dstack([cells * 255, cells * 0, cells * 0]).astype(np.uint8)),
    ):
        raw = RawImage(pixels=pixels, scale="stored" if pixels.dtype == np.uint16 else "display", source_bits=8)
        with pytest.raises(RejectedInput) as caught:
            make_canonical(raw, "us", WHOLE)
        assert (caught.value.reason_slug, caught.value.bin) == (reason, "quarantined")


def test_a_third_level_makes_a_mask_a_picture_again():
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, 32:] = 200
    pixels[5, 7] = 90
    made = make_canonical(RawImage(pixels=pixels, scale="display", source_bits=8), "oct", WHOLE)
    assert np.array_equal(made.pixels, pixels)


# Whatever comes


ANY_GREY = st.one_of(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)),
    arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=40)),
    arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=40)),
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(-1e30, 1e30)),
)


@settings(max_examples=150, deadline=None)
@given(ANY_GREY, st.sampled_from(["ct", "cxr", "us", "cfp"]), st.booleans(), st.sampled_from([8, 16]))
def test_any_grey_is_stored_or_refused_with_a_reason(pixels, modality, is_inverted, depth):
    scale = "display" if pixels.dtype == np.uint8 else "stored"
    raw = RawImage(pixels=pixels, scale=scale, source_bits=16, is_inverted=is_inverted)
    options = PackOptions(side_px=16, depth=depth)
    try:
        made = make_canonical(raw, modality, options)
    except RejectedInput as rejected:
        assert rejected.reason_slug in ("blank", "looks_like_mask")
        return
    assert min(made.pixels.shape) <= 16
    assert made.image.mode in ("L", "I;16")
    assert (made.image.mode == "I;16") == (made.rescale is not None)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int32, (12, 15), elements=st.integers(-3000, 3000)),
    st.floats(-1000, 1000),
    st.floats(1, 4000),
    st.sampled_from(["LINEAR_EXACT", "LINEAR", "SIGMOID"]),
)
def test_more_signal_is_never_darker(values, centre, width, function):
    assume(np.ptp(values) > 0)
    raw = RawImage(pixels=values, scale="stored", source_bits=16, voi=Window(centre, width, function))
    try:
        grey = make_canonical(raw, "cxr", WHOLE).pixels
    except RejectedInput:
        return
    assert np.all(np.diff(grey.ravel()[np.argsort(values.ravel(), kind="stable")].astype(int)) >= 0)
