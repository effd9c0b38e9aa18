"""The DICOM files of ../shared/data: each gives what FORMATS.md says, against pydicom's own functions and NumPy."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut  # noqa: E402

from mermed.pack.options import PackOptions  # noqa: E402
from mermed.pack.pixels.canonical import make_canonical  # noqa: E402
from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput  # noqa: E402
from mermed.pack.readers.reading import read_frames  # noqa: E402
from mermed.pack.treatment import Treatment  # noqa: E402

try:
    import gdcm  # type: ignore[import-not-found]  # noqa: F401

    HAS_GDCM = True
except ImportError:
    HAS_GDCM = False

LOSSLESS = ("explicit_le", "explicit_be", "deflated", "rle", "j2k_lossless", "jpegls_lossless", "jpeg_lossless_sv1")
NEEDS_GDCM = ("jpegls_lossless", "jpeg_lossless_sv1", "jpegls_near_lossless")


@pytest.fixture(scope="module")
def folder(real_data):
    return real_data / "formats" / "dicom"


@pytest.fixture
def items_of(folder):
    def read(name):
        return list(read_frames(RawFile(folder / f"{name}.dcm"), Bounds(), Treatment()))

    return read


@pytest.fixture
def read(items_of):
    def read_one(name):
        if not HAS_GDCM and name.removeprefix("ct_") in NEEDS_GDCM:
            pytest.skip("needs python-gdcm")
        (item,) = items_of(name)
        assert isinstance(item, RawImage)
        return item

    return read_one


@pytest.fixture
def dataset(folder):
    return lambda name: pydicom.dcmread(folder / f"{name}.dcm")


def shown(raw, modality, treatment=None):
    return make_canonical(raw, modality, PackOptions(), treatment or Treatment(crop="none"))


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_ct_is_equal_in_every_transfer_syntax(syntax, read, dataset):
    found, expected = read(f"ct_{syntax}"), dataset("ct_implicit_le")
    assert found.scale == "hounsfield"
    assert np.array_equal(found.pixels, apply_modality_lut(expected.pixel_array, expected))
    assert (found.pixels.min(), found.pixels.max()) == (-3024, 1378)


def test_near_lossless_ct_differs_by_one(read):
    found, exact = read("ct_jpegls_near_lossless"), read("ct_implicit_le")
    assert np.abs(found.pixels - exact.pixels).max() == 1


def test_the_fill_around_the_scan_is_padding_in_every_syntax(read):
    expected = read("ct_implicit_le")
    assert 0.2 < expected.padding.mean() < 0.22
    assert (expected.pixels[expected.padding] == -3024).all()
    for syntax in ("rle", "j2k_lossless", "jpeg_baseline_8bit"):
        assert (read(f"ct_{syntax}").padding != expected.padding).mean() < 0.002


@pytest.mark.parametrize(
    ("window", "centre", "width"), [("soft_tissue", 40, 400), ("lung", -600, 1500), ("bone", 400, 1800)]
)
def test_ct_through_a_named_window_is_within_a_level_of_numpy(window, centre, width, read, dataset):
    stored = dataset("ct_explicit_le")
    hounsfield = apply_modality_lut(stored.pixel_array, stored)
    expected = np.clip((hounsfield - centre) / width + 0.5, 0, 1) * 255
    made = shown(read("ct_explicit_le"), "ct", Treatment(window=window))
    assert np.abs(made.pixels - expected).max() <= 1
    assert made.window == (centre, width)


def test_lossy_8_bit_ct_looks_like_the_lossless_one(read):
    lossy, exact = (
        shown(read(f"ct_{name}"), "ct").pixels.astype(float) for name in ("jpeg_baseline_8bit", "implicit_le")
    )
    assert np.corrcoef(lossy.ravel(), exact.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", ["cr_fuji_mono1_10bit_j2k", "dx_fuji_mono1_8bit"])
def test_monochrome1_equals_pydicoms_window_turned_round(name, read, dataset):
    raw, stored = read(name), dataset(name)
    assert raw.is_inverted
    values = apply_voi_lut(stored.pixel_array, stored).astype(float)
    expected = 255 - values / (2**stored.BitsStored - 1) * 255
    side = min(expected.shape)
    made = make_canonical(raw, "cxr", PackOptions(side_px=side), Treatment(crop="none"))
    assert np.abs(made.pixels - expected).max() <= 1


def test_an_8_bit_chest_without_a_window_is_kept(read, dataset):
    raw = read("cr_chest_jpeg_baseline")
    assert np.array_equal(raw.pixels, dataset("cr_chest_jpeg_baseline").pixel_array)
    assert (raw.pixels.shape, raw.scale, raw.spacing_mm) == ((1024, 1024), "display", (0.168, 0.168))
    assert shown(raw, "cxr").spacing_mm == (0.336, 0.336)


def test_palettes_equal_pydicoms_lookup(read, items_of, dataset):
    stored = dataset("us_palette_16bit_implicit")
    expected = apply_color_lut(stored.pixel_array, stored)
    expected = expected >> 8 if expected.max() > 255 else expected
    assert np.array_equal(read("us_palette_16bit_implicit").pixels, expected)
    stored = dataset("us_palette_rle_2frames")
    expected = apply_color_lut(stored.pixel_array, stored)
    found = items_of("us_palette_rle_2frames")
    assert [image.frame for image in found] == [0, 1]
    assert np.array_equal([image.pixels for image in found], expected >> 8 if expected.max() > 255 else expected)


def test_subsampled_ybr_equals_its_matrix(read, dataset):
    raw, stored = read("us_ybr422_uncompressed"), dataset("us_ybr422_uncompressed")
    pairs = np.frombuffer(stored.PixelData, np.uint8).reshape(555, 400, 4).astype(float)
    ybr = np.stack([pairs[..., :2].reshape(555, 800), *(pairs[..., at].repeat(2, axis=1) for at in (2, 3))], axis=-1)
    luma, blue, red = ybr[..., 0], ybr[..., 1] - 128, ybr[..., 2] - 128
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    assert np.abs(raw.pixels - np.clip(rgb, 0, 255)).max() <= 1.5


def test_jpeg_2000_with_its_colour_transform_is_rgb(read, dataset):
    raw = read("us_rgb_j2k_ybr_rct")
    assert np.array_equal(raw.pixels, dataset("us_rgb_j2k_ybr_rct").pixel_array)
    grey = raw.pixels[np.ptp(raw.pixels.astype(int), axis=2) < 8]
    assert len(grey) > 0.8 * raw.pixels[..., 0].size


def test_a_cine_gives_the_frames_that_differ_and_counts_the_others(items_of, dataset):
    found = items_of("us_cine_30frames_ybr422_jpeg")
    images = [item for item in found if isinstance(item, RawImage)]
    assert sum(item.count for item in found if isinstance(item, RejectedFrame)) + len(images) == 30
    assert images[0].frame == 0
    assert 3 <= len(images) <= 12
    every = dataset("us_cine_30frames_ybr422_jpeg").pixel_array
    for image in images:
        assert np.array_equal(image.pixels, every[image.frame])
        assert image.region is None  # the header's region is that of a larger picture
    smalls = [
        np.asarray(Image.fromarray(image.pixels).convert("L").resize((32, 32), Image.Resampling.BOX), float)
        for image in images
    ]
    assert min(np.abs(a - b).mean() for a, b in pairwise(smalls)) >= 2.0


@pytest.mark.parametrize(
    ("name", "region", "spacing"),
    [
        ("us_palette_16bit_implicit", (24, 32, 392, 304), 0.38265),
        ("us_ybr422_uncompressed", (75, 184, 480, 616), 0.0616),
        ("us_rgb_j2k_ybr_rct", None, None),
    ],
)
def test_the_scan_region_is_the_b_mode_picture(name, region, spacing, read, dataset):
    raw, stored = read(name), dataset(name)
    assert raw.region == region
    assert raw.spacing_mm == (pytest.approx((spacing, spacing), rel=1e-3) if spacing else None)
    if region:
        top, left, height, width = region
        declared = [
            (item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1)
            for item in stored.SequenceOfUltrasoundRegions
        ]
        assert (left, top, left + width - 1, top + height - 1) in declared


def test_the_tiles_of_a_tiny_slide_are_all_counted(items_of):
    (rest,) = items_of("wsm_tiled_25frames_10x10")
    assert (rest.reason, rest.bin, rest.count) == ("small_tile", "excluded", 25)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seg_liver_1bit_3frames", ("excluded", "segmentation")),
        ("sr_no_pixels", ("quarantined", "no_pixels")),
        ("mr_truncated_pixels", ("quarantined", "truncated")),
        ("ct_jpeg_process10_12_retired", ("quarantined", "no_decoder")),
    ],
)
def test_what_is_not_packed_is_named(name, expected, items_of):
    with pytest.raises(RejectedInput) as caught:
        items_of(name)
    assert (caught.value.bin, caught.value.reason_slug) == expected


def test_12_bit_jpeg_is_read_right_or_told_what_to_install(items_of):
    try:
        (raw,) = items_of("ct_jpeg_extended_12bit")
    except RejectedInput as rejected:
        assert rejected.reason_slug == "no_decoder"
        assert "pip install" in rejected.detail
    else:
        assert raw.scale == "hounsfield"


@pytest.mark.skipif(HAS_GDCM, reason="python-gdcm is installed")
@pytest.mark.parametrize("syntax", NEEDS_GDCM)
def test_without_gdcm_its_extra_is_named(syntax, items_of):
    with pytest.raises(RejectedInput, match=r"no_decoder.*pip install 'mermed\[gdcm\]'"):
        items_of(f"ct_{syntax}")


def test_a_modality_outside_the_seven_is_read(read, dataset):
    raw = read("mr_small")
    assert np.array_equal(raw.pixels, dataset("mr_small").pixel_array)
    assert (raw.pixels.shape, raw.scale, raw.voi.centre) == ((64, 64), "stored", 600.0)
    assert shown(raw, "mr").window == (600.0, 1600.0)


def test_a_series_that_says_ct_without_hounsfield_units_is_not_taken_for_them(read):
    for number in range(1, 18):
        raw = read(f"series17/IMG{number:04d}")
        assert (raw.pixels.shape, raw.scale) == ((128, 88), "stored")


def test_every_file_is_on_this_page(folder):
    page = Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for path in folder.glob("*.dcm")}
    assert {name for name in names if name.removeprefix("ct_") not in page} == set()


def test_real_ct_slices_have_air_and_bone_where_scanners_put_them(real_data):
    paths = sorted((real_data / "real/ct/tcga_luad_ct_dicom/images").glob("*.dcm"))
    assert paths
    for path in paths:
        (raw,) = read_frames(RawFile(path), Bounds(), Treatment())
        assert raw.scale == "hounsfield"
        values = raw.pixels if raw.padding is None else raw.pixels[~raw.padding]
        assert np.percentile(values, 1) < -800
        assert np.percentile(values, 99) > 50
