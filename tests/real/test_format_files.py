"""The format files of ../shared/data: each behaves as FORMATS.md says. Skipped where that folder is absent."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mermed.pack.canonical import make_canonical
from mermed.pack.options import PackOptions
from mermed.pack.raw import Bounds, RejectedInput
from mermed.pack.reading import read_image

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FORMATS = DATA / "formats"
pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason="no format files beside this checkout")

LOSSLESS = ("implicit_le", "explicit_le", "explicit_be", "deflated", "rle", "j2k_lossless")
NEEDS_ANOTHER_DECODER = ("jpegls_lossless", "jpeg_lossless_sv1", "jpeg_extended_12bit", "jpegls_near_lossless")


def read(name):
    return read_image(FORMATS / name, Bounds())


def made(name, modality):
    return make_canonical(read(name), modality, PackOptions())


def reason_of(name):
    with pytest.raises(RejectedInput) as caught:
        read(name)
    return caught.value.bin, caught.value.reason_slug


def real(name):
    with Image.open(DATA / "real" / name) as image:
        return np.asarray(image.convert("RGB"), int)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_ct_is_equal_in_every_transfer_syntax(syntax):
    expected, found = read("dicom/ct_implicit_le.dcm"), read(f"dicom/ct_{syntax}.dcm")
    assert found.scale == "hounsfield"
    assert np.array_equal(found.pixels, expected.pixels)
    assert (found.pixels.min(), found.pixels.max()) == (-3024, 1378)


@pytest.mark.parametrize("syntax", NEEDS_ANOTHER_DECODER)
def test_a_syntax_without_a_decoder_is_quarantined_or_read_right(syntax):
    name = f"dicom/ct_{syntax}.dcm"
    try:
        found = read(name)
    except RejectedInput as rejected:
        assert rejected.reason_slug == "no_decoder"
        return
    bound = {"jpegls_lossless": 0, "jpeg_lossless_sv1": 0, "jpegls_near_lossless": 1}.get(syntax)
    if bound is not None:
        assert np.abs(found.pixels - read("dicom/ct_implicit_le.dcm").pixels).max() <= bound


def test_lossy_8_bit_ct_looks_like_the_lossless_one():
    lossy = np.asarray(made("dicom/ct_jpeg_baseline_8bit.dcm", "ct").image, float)
    exact = np.asarray(made("dicom/ct_implicit_le.dcm", "ct").image, float)
    assert np.corrcoef(lossy.ravel(), exact.ravel())[0, 1] > 0.9


def test_a_real_monochrome1_radiograph_shows_bone_bright():
    inverted = read("dicom/cr_fuji_mono1_10bit_j2k.dcm")
    assert (inverted.is_inverted, inverted.source_bits) == (True, 10)
    shown = np.asarray(made("dicom/cr_fuji_mono1_10bit_j2k.dcm", "cxr").image, float)
    stored = np.asarray(
        Image.fromarray(inverted.pixels.astype(np.float32)).resize(shown.shape[::-1], Image.Resampling.BOX)
    )
    assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] < -0.9
    assert read("dicom/dx_fuji_mono1_8bit.dcm").is_inverted


def test_an_8_bit_chest_without_a_window_is_kept():
    raw = read("dicom/cr_chest_jpeg_baseline.dcm")
    assert (raw.pixels.shape, raw.scale, raw.spacing_mm) == ((1024, 1024), "display", (0.168, 0.168))
    assert made("dicom/cr_chest_jpeg_baseline.dcm", "cxr").spacing_mm == (0.336, 0.336)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("us_rgb_j2k_ybr_rct", (480, 640, 3)),
        ("us_ybr422_uncompressed", (555, 800, 3)),
        ("us_palette_16bit_implicit", (480, 640, 3)),
    ],
)
def test_colour_ultrasound_comes_out_as_rgb_with_a_black_surround(name, shape):
    pixels = read(f"dicom/{name}.dcm").pixels
    assert (pixels.shape, pixels.dtype) == (shape, np.uint8)
    assert pixels.max() > 200
    assert np.median(pixels) < 40


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dicom/us_cine_30frames_ybr422_jpeg.dcm", ("excluded", "multi_frame")),
        ("dicom/us_palette_rle_2frames.dcm", ("excluded", "multi_frame")),
        ("dicom/wsm_tiled_25frames_10x10.dcm", ("excluded", "multi_frame")),
        ("dicom/seg_liver_1bit_3frames.dcm", ("excluded", "segmentation")),
        ("dicom/sr_no_pixels.dcm", ("quarantined", "no_pixels")),
        ("dicom/mr_truncated_pixels.dcm", ("quarantined", "truncated")),
        ("dicom/ct_jpeg_process10_12_retired.dcm", ("quarantined", "no_decoder")),
        ("raster/cxr_truncated.jpg", ("quarantined", "truncated")),
        ("raster/empty.png", ("quarantined", "empty")),
    ],
)
def test_what_is_not_packed_is_named(name, expected):
    assert reason_of(name) == expected


def test_a_modality_outside_the_seven_is_read():
    raw = read("dicom/mr_small.dcm")
    assert (raw.pixels.shape, raw.scale, raw.voi.centre) == ((64, 64), "stored", 600.0)
    assert made("dicom/mr_small.dcm", "mr").window == (600.0, 1600.0)


def test_a_header_that_says_ct_without_hounsfield_units_is_not_taken_for_them():
    raw = read("dicom/series17/IMG0001.dcm")
    assert (raw.pixels.shape, raw.scale) == ((128, 88), "stored")


def test_float64_tiff_holds_the_hounsfield_units_of_its_dicom():
    dicom = read_image(DATA / "real/ct/tcga_luad_ct_dicom/images/ID_0000_AGE_0060_CONTRAST_1_CT.dcm", Bounds())
    assert np.array_equal(read("raster/ct_float64.tif").pixels, dicom.pixels)


def test_16_bit_png_keeps_its_values_and_is_not_saturated():
    raw = read("raster/ct_16bit.png")
    dicom = read_image(DATA / "real/ct/tcga_luad_ct_dicom/images/ID_0000_AGE_0060_CONTRAST_1_CT.dcm", Bounds())
    assert np.array_equal(raw.pixels, np.clip(dicom.pixels + 1024, 0, None))
    grey = np.asarray(made("raster/ct_16bit.png", "ct").image)
    assert (grey == 255).mean() < 0.01
    assert len(np.unique(grey)) > 200


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_is_applied(orientation):
    expected = real("derm/ham10000_224/images/ISIC_0024362.jpg")
    assert np.abs(read(f"raster/derm_exif_orientation{orientation}.jpg").pixels - expected).mean() < 2


@pytest.mark.parametrize(
    ("name", "source", "bound"),
    [
        ("derm_palette.png", "derm/ham10000_224/images/ISIC_0024370.jpg", 6),
        ("derm.bmp", "derm/ham10000_224/images/ISIC_0024375.jpg", 0),
        ("fundus.jp2", "cfp/eye_diseases_256/images/1020_left.jpg", 3),
        ("png_named_jpg.jpg", "cfp/eye_diseases_256/images/1144_left.jpg", 0),
        ("path_cmyk.jpg", "path/lc25000_lung_224/images/lungaca1008.jpeg", 3),
        ("cxr_progressive_gray.jpg", "cxr/nih_chestxray14_subset/images/00000211_013.jpg", 2),
    ],
)
def test_derived_rasters_equal_their_source(name, source, bound):
    pixels = read(f"raster/{name}").pixels
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert np.abs(colour - real(source)).mean() <= bound


def test_lossless_webp_is_exact():
    with Image.open(FORMATS / "raster/fundus_lossless.webp") as image:
        assert np.array_equal(read("raster/fundus_lossless.webp").pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("name", "size"), [("cxr_rgba_1024.png", (512, 512)), ("us_femur.png", (476, 512)), ("cxr_la.png", (384, 384))]
)
def test_grey_in_disguise_is_stored_as_grey(name, size):
    image = made(f"raster/{name}", "cxr").image
    assert (image.mode, image.size) == ("L", size)


def test_a_large_chest_is_reduced_to_512():
    width, height = made("raster/cxr_3342x4095_gray.jpg", "cxr").image.size
    assert width == 512
    assert abs(height - 512 * 4095 / 3342) <= 1
