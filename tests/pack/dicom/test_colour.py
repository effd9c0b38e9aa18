"""Colour and multi-region ultrasound: golden RGB of every colour model, against pydicom and plain arithmetic."""

import io

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")

JPEG = "1.2.840.10008.1.2.4.50"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def smooth(height=24, width=32):
    """A colour picture without sharp edges, so that subsampled chroma costs little."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 8, columns * 6 + 20, 200 - rows * 3 - columns * 2], axis=-1).clip(0, 255).astype(np.uint8)


def to_ybr(rgb):
    """PS3.3 C.7.6.3.1.2, by its matrix."""
    matrix = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]])
    return np.rint(rgb.astype(float) @ matrix.T + [0, 128, 128]).clip(0, 255).astype(np.uint8)


def pixels_of(items):
    (image,) = items
    assert (image.scale, image.pixels.dtype, image.pixels.ndim) == ("display", np.uint8, 3)
    return image.pixels.astype(int)


@pytest.mark.parametrize("model", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize(("planar", "compress"), [(0, False), (1, False), (0, True)])
def test_both_planar_layouts_are_the_same_picture(planar, model, compress, write, items_of):
    stored = to_ybr(smooth()) if model == "YBR_FULL" else smooth()
    laid = np.ascontiguousarray(stored.transpose(2, 0, 1)) if planar else stored
    path, dataset = write(
        smooth(), bits=8, PhotometricInterpretation=model, PlanarConfiguration=planar, PixelData=laid.tobytes()
    )
    if compress:
        from pydicom.uid import RLELossless

        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    assert np.abs(pixels_of(items_of(path)) - smooth()).max() <= (0 if model == "RGB" else 2)


def subsampled(rgb):
    """Y1 Y2 Cb Cr of pairs of pixels, as uncompressed YBR_FULL_422 stores them."""
    ybr = to_ybr(rgb).astype(int)
    chroma = (ybr[:, ::2, 1:] + ybr[:, 1::2, 1:]) // 2
    return np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], chroma[..., 0], chroma[..., 1]], axis=-1).astype(np.uint8)


def test_subsampled_ybr_without_compression(write, items_of):
    path, _ = write(
        smooth(), bits=8, PhotometricInterpretation="YBR_FULL_422", PixelData=subsampled(smooth()).tobytes()
    )
    assert np.abs(pixels_of(items_of(path)) - smooth()).max() <= 10


def test_ybr_that_is_called_subsampled_and_is_not(write, items_of):
    path, _ = write(smooth(), bits=8, PhotometricInterpretation="YBR_FULL_422", PixelData=to_ybr(smooth()).tobytes())
    assert np.abs(pixels_of(items_of(path)) - smooth()).max() <= 2


@pytest.mark.parametrize("model", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_is_rgb_whatever_the_header_calls_it(model, write, items_of):
    from pydicom.encaps import encapsulate

    content = io.BytesIO()
    Image.fromarray(smooth()).save(content, "JPEG", quality=95, subsampling=0)
    data = encapsulate([content.getvalue()])
    path, _ = write(smooth(), bits=8, PhotometricInterpretation=model, PixelData=data, syntax=JPEG)
    assert np.abs(pixels_of(items_of(path)) - smooth()).max() <= 10


@pytest.mark.parametrize(("lossless", "model"), [(True, "YBR_RCT"), (False, "YBR_ICT"), (True, "RGB")])
def test_jpeg_2000_is_rgb_with_and_without_its_colour_transform(lossless, model, write, items_of):
    from openjpeg.utils import encode_array
    from pydicom.encaps import encapsulate

    options = {} if lossless else {"compression_ratios": [3]}
    content = encode_array(
        smooth(72, 96), photometric_interpretation=1, use_mct=model != "RGB", bits_stored=8, **options
    )
    syntax = "1.2.840.10008.1.2.4.90" if lossless else "1.2.840.10008.1.2.4.91"
    path, _ = write(
        smooth(72, 96), bits=8, PhotometricInterpretation=model, PixelData=encapsulate([content]), syntax=syntax
    )
    assert np.abs(pixels_of(items_of(path)) - smooth(72, 96)).max() <= (0 if lossless else 6)


def palette(entries, first, bits, data):
    names = ("Red", "Green", "Blue")
    return {f"{name}PaletteColorLookupTableDescriptor": [entries, first, bits] for name in names} | {
        f"{name}PaletteColorLookupTableData": table for name, table in zip(names, data, strict=True)
    }


@pytest.mark.parametrize(
    ("index_bits", "entries", "first"), [(8, 256, 0), (8, 100, 20), (16, 4096, 0), (16, 300, 1000)]
)
@pytest.mark.parametrize("depth", [8, 16])
def test_palettes_equal_pydicoms_lookup(index_bits, entries, first, depth, write, items_of):
    from pydicom.pixels import apply_color_lut

    rng = np.random.default_rng(1)
    tables = rng.integers(0, 2**depth, (3, entries)).astype("u1" if depth == 8 else "<u2")
    index = rng.integers(0, min(2**index_bits, first + entries + 50), (24, 32)).astype(f"u{index_bits // 8}")
    path, dataset = write(
        index,
        bits=index_bits,
        PhotometricInterpretation="PALETTE COLOR",
        **palette(entries, first, depth, [table.tobytes() for table in tables]),
    )
    found = pixels_of(items_of(path))
    place = np.clip(index.astype(int) - first, 0, entries - 1)
    assert np.array_equal(found, np.moveaxis(tables[:, place] >> (depth - 8), 0, -1))
    if depth == 16 or entries <= 256:  # pydicom looks up 8-bit tables with 8-bit places only
        assert np.array_equal(found, apply_color_lut(index, dataset) >> (depth - 8))


def test_a_palette_that_announces_16_bits_and_holds_8(write, items_of):
    table = np.arange(256, dtype="<u2")
    path, _ = write(
        smooth()[..., 0],
        bits=8,
        PhotometricInterpretation="PALETTE COLOR",
        **palette(256, 0, 16, [table.tobytes()] * 3),
    )
    assert np.array_equal(pixels_of(items_of(path))[..., 1], smooth()[..., 0])


def test_a_dark_frame_of_a_palette_is_as_dark_as_in_its_cine(write, items_of):
    table = (np.arange(256, dtype="<u2") * 257).astype("<u2")
    cine = np.stack([np.zeros((24, 32), np.uint8), np.full((24, 32), 200, np.uint8)])
    path, _ = write(
        cine,
        bits=8,
        frames=2,
        Modality="US",
        PhotometricInterpretation="PALETTE COLOR",
        **palette(256, 0, 16, [table.tobytes()] * 3),
    )
    assert [int(image.pixels.max()) for image in items_of(path)] == [0, 200]


def test_big_endian_palettes_are_read_in_their_order(write, items_of):
    table = (np.arange(256) * 250).astype(">u2")
    path, _ = write(
        smooth()[..., 0],
        bits=8,
        PhotometricInterpretation="PALETTE COLOR",
        **palette(256, 0, 16, [table.tobytes()] * 3),
        syntax=BIG_ENDIAN,
    )
    assert np.array_equal(pixels_of(items_of(path))[..., 0], smooth()[..., 0].astype(int) * 250 >> 8)


def test_segmented_palettes_are_unfolded(write, items_of):
    # A discrete segment of one entry, then a line of 255 more up to 255 * 256: PS3.3 C.7.9.2.
    segment = np.array([0, 1, 0, 1, 255, 255 * 256], "<u2").tobytes()
    tags = {}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"Segmented{name}PaletteColorLookupTableData"] = segment
    path, _ = write(smooth()[..., 0], bits=8, PhotometricInterpretation="PALETTE COLOR", **tags)
    assert np.abs(pixels_of(items_of(path))[..., 2] - smooth()[..., 0]).max() <= 1


def test_colour_of_more_than_8_bits_keeps_its_upper_bits(write, items_of):
    wide = smooth().astype(np.uint16) << 4
    path, _ = write(wide, bits=12)
    assert np.array_equal(pixels_of(items_of(path)), smooth())


@pytest.mark.parametrize("model", ["HSV", "CMYK", "ARGB", "YBR_PARTIAL_422", "SURPRISE"])
def test_other_colour_models_are_not_guessed(model, write, reason_of):
    path, _ = write(smooth(), bits=8, PhotometricInterpretation=model)
    assert reason_of(path)[0] == "quarantined"


def test_several_values_per_pixel_of_a_grey_model_are_refused(write, reason_of):
    path, _ = write(smooth(), bits=8, PhotometricInterpretation="MONOCHROME2")
    assert reason_of(path) == ("quarantined", "corrupt")


def region(left, top, right, bottom, *, kind=1, data=1, **more):
    return {
        "RegionSpatialFormat": kind,
        "RegionDataType": data,
        "RegionLocationMinX0": left,
        "RegionLocationMinY0": top,
        "RegionLocationMaxX1": right,
        "RegionLocationMaxY1": bottom,
        **more,
    }


CENTIMETRES = {
    "PhysicalUnitsXDirection": 3,
    "PhysicalUnitsYDirection": 3,
    "PhysicalDeltaX": 0.02,
    "PhysicalDeltaY": -0.03,
}
WAVE = {"kind": 3, "data": 3}


@pytest.mark.parametrize(
    ("regions", "expected", "spacing"),
    [
        ([region(10, 20, 109, 79, **CENTIMETRES)], (20, 10, 60, 100), (0.3, 0.2)),
        ([region(0, 0, 199, 49, **WAVE), region(10, 60, 89, 119)], (60, 10, 60, 80), None),
        ([region(0, 0, 199, 149, data=2), region(10, 60, 89, 119)], (60, 10, 60, 80), None),
        ([region(0, 0, 99, 59, data=2), region(10, 60, 89, 99, data=2)], (0, 0, 60, 100), None),
        ([region(5, 5, 70, 50), region(80, 5, 190, 140)], (5, 80, 136, 111), None),
        ([region(0, 0, 200, 150)], (0, 0, 150, 200), None),
        ([region(20, 20, 250, 140, **CENTIMETRES)], None, None),
        ([region(20, 20, 140, 152), region(0, 0, 99, 99)], None, None),
        ([region(0, 0, 10, 149)], None, None),
        ([region(50, 50, 40, 40)], None, None),
        ([region(0, 0, 199, 149, **WAVE)], None, None),
        ([], None, None),
    ],
)
def test_the_scan_region_is_the_largest_of_tissue(regions, expected, spacing, write, items_of, items):
    rgb = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    built = items(*regions)
    path, _ = write(rgb, bits=8, Modality="US", SequenceOfUltrasoundRegions=built)
    (image,) = items_of(path)
    assert image.region == expected
    assert image.spacing_mm == (pytest.approx(spacing) if spacing else None)
