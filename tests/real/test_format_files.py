"""The format files of ../shared/data: each behaves as FORMATS.md says. Skipped where that folder is absent."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.readers.raw import Bounds, RejectedInput
from mermed.pack.readers.reading import read_image

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FORMATS = DATA / "formats"
pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason="no format files beside this checkout")


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raster/cxr_truncated.jpg", ("quarantined", "truncated")),
        ("raster/empty.png", ("quarantined", "empty")),
    ],
)
def test_what_is_not_packed_is_named(name, expected):
    assert reason_of(name) == expected


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
