"""DICOM files, made here with pydicom, against pydicom's own transforms and against themselves."""

import zlib

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian  # noqa: E402

from mermed.pack.options import PackOptions  # noqa: E402
from mermed.pack.pixels.canonical import make_canonical  # noqa: E402
from mermed.pack.readers.raw import Bounds, RejectedInput  # noqa: E402
from mermed.pack.readers.reading import read_image  # noqa: E402


def stored_values(bits=12, seed=0):
    return np.random.default_rng(seed).integers(0, 2**bits, (24, 32)).astype(np.uint16 if bits > 8 else np.uint8)


def canonical(path, modality="cxr", **options):
    return make_canonical(read_image(path, Bounds()), modality, PackOptions(**options))


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2, 5), (0.37, -11.5)])
def test_rescale_equals_pydicom(slope, intercept, write):
    path, dataset = write(stored_values(), Modality="CT", RescaleSlope=slope, RescaleIntercept=intercept)
    raw = read_image(path, Bounds())
    assert raw.scale == "hounsfield"
    np.testing.assert_allclose(raw.pixels, apply_modality_lut(stored_values(), dataset))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("width", [900, 2400])
def test_a_window_equals_pydicom(function, width, write):
    tags = {"WindowCenter": 1700.5, "WindowWidth": width, "VOILUTFunction": function}
    path, dataset = write(stored_values(), **tags)
    made = np.asarray(canonical(path).image).astype(float)
    shown = apply_voi_lut(stored_values(), dataset)
    np.testing.assert_allclose(made, shown / 4095 * 255, atol=0.51)


@pytest.mark.parametrize("kind", ["OW", "US"])
def test_a_voi_table_equals_pydicom_and_beats_the_window(kind, write):
    item = pydicom.Dataset()
    table = (np.linspace(0, 1, 4096) ** 2 * 4095).astype("<u2")
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new(0x00283006, kind, table.tobytes() if kind == "OW" else table.tolist())
    path, dataset = write(stored_values(), VOILUTSequence=Sequence([item]), WindowCenter=100, WindowWidth=10)
    made = canonical(path)
    np.testing.assert_allclose(np.asarray(made.image), apply_voi_lut(stored_values(), dataset) / 4095 * 255, atol=0.51)
    assert made.window is None


def test_a_voi_table_without_entries_is_refused(write, reason_of):
    item = pydicom.Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new(0x00283006, "OW", b"")
    path, _ = write(stored_values(), VOILUTSequence=Sequence([item]))
    assert reason_of(path) == ("quarantined", "corrupt")


def test_of_several_windows_the_first_is_used_and_recorded(write):
    path, _ = write(stored_values(), WindowCenter=[1000, 3000], WindowWidth=[500, 20])
    assert canonical(path).window == (1000.0, 500.0)


def test_ct_is_shown_through_our_window_and_never_the_headers(write):
    path, _ = write(
        stored_values(), Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=-600, WindowWidth=9
    )
    made = canonical(path, "ct")
    hounsfield = stored_values().astype(float) - 1024
    expected = np.clip((hounsfield + 160) / 400, 0, 1) * 255
    np.testing.assert_allclose(np.asarray(made.image), expected, atol=0.51)
    assert made.window == (40.0, 400.0)
    assert canonical(path, "ct", ct_window="lung").window == (-600.0, 1500.0)


def test_ct_without_a_known_unit_goes_by_percentiles(write):
    path, _ = write(
        stored_values(),
        Modality="CT",
        RescaleSlope=1,
        RescaleIntercept=0,
        RescaleType="US",
        WindowCenter=9,
        WindowWidth=9,
    )
    values = np.sort(stored_values().ravel())
    low, high = values[round(0.005 * (values.size - 1))], values[round(0.995 * (values.size - 1))]
    assert canonical(path, "ct").window == ((int(low) + int(high)) / 2, float(high - low))


def test_monochrome1_is_inverted_after_its_window(write):
    plain, _ = write(stored_values(), name="two.dcm", WindowCenter=1500, WindowWidth=900)
    inverted, _ = write(
        4095 - stored_values(),
        name="one.dcm",
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=4095 - 1500 + 1,
        WindowWidth=900,
    )
    difference = np.asarray(canonical(plain).image).astype(int) - np.asarray(canonical(inverted).image)
    assert np.abs(difference).max() <= 1


def test_monochrome1_twins_are_equal_under_percentiles(write):
    plain, _ = write(stored_values(), name="two.dcm")
    inverted, _ = write(4095 - stored_values(), name="one.dcm", PhotometricInterpretation="MONOCHROME1")
    difference = np.asarray(canonical(plain).image).astype(int) - np.asarray(canonical(inverted).image)
    assert np.abs(difference).max() <= 1


def test_eight_bits_without_a_window_are_kept(write):
    path, _ = write(stored_values(8), bits=8)
    made = canonical(path)
    assert np.array_equal(np.asarray(made.image), stored_values(8))
    assert made.window is None


def test_padding_is_black_and_does_not_move_the_percentiles(write):
    values = stored_values().astype(np.int16)
    padded = values.copy()
    padded[:, :8] = -2000
    tags = {"PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"}
    path, _ = write(padded, bits=16, **tags)
    made = canonical(path)
    assert not np.asarray(made.image)[:, :8].any()
    half, _ = write(
        np.ascontiguousarray(values[:, 8:]), bits=16, name="half.dcm", PhotometricInterpretation="MONOCHROME1"
    )
    assert made.window == canonical(half).window


def test_a_padding_range_is_taken_whole(write):
    path, _ = write(np.tile(np.arange(32, dtype=np.uint16), (24, 1)), PixelPaddingValue=28, PixelPaddingRangeLimit=31)
    raw = read_image(path, Bounds())
    assert raw.padding[:, 28:].all()
    assert not raw.padding[:, :28].any()


def test_big_values_are_signed_where_the_header_says_so(write):
    values = (stored_values().astype(np.int32) - 2048).astype(np.int16)
    path, _ = write(values, bits=16)
    assert np.array_equal(read_image(path, Bounds()).pixels, values)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_is_rgb_in_both_planar_layouts(planar, write):
    colour = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(colour.transpose(2, 0, 1)) if planar else colour
    path, _ = write(
        colour,
        bits=8,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=planar,
        PixelData=stored.tobytes(),
    )
    assert np.array_equal(read_image(path, Bounds()).pixels, colour)


def test_ybr_becomes_rgb(write):
    from PIL import Image

    colour = np.full((24, 32, 3), (180, 60, 90), np.uint8)
    ybr = np.asarray(Image.fromarray(colour).convert("YCbCr"))
    path, _ = write(ybr, bits=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
    assert np.abs(read_image(path, Bounds()).pixels.astype(int) - colour).max() <= 2


def test_a_palette_is_looked_up(write):
    index = np.tile(np.arange(32, dtype=np.uint8), (24, 1))
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, factor in (("Red", 8), ("Green", 4), ("Blue", 2)):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = (
            (np.minimum(np.arange(256) * factor, 255) * 257).astype("<u2").tobytes()
        )
    path, _ = write(index, bits=8, **tags)
    assert tuple(read_image(path, Bounds()).pixels[0, 10]) == (80, 40, 20)


def test_spacing_follows_the_reduction(write):
    path, _ = write(stored_values(), PixelSpacing=[0.5, 0.25])
    made = canonical(path, side_px=16)
    assert made.image.size == (21, 16)
    assert made.spacing_mm == (0.75, round(0.25 * 32 / 21, 6))


def test_masks_are_set_aside(write, reason_of):
    path, _ = write(stored_values(), Modality="SEG")
    assert reason_of(path) == ("excluded", "segmentation")


def test_burned_in_text_is_quarantined(write, reason_of):
    path, _ = write(stored_values(), BurnedInAnnotation="YES")
    assert reason_of(path) == ("quarantined", "burned_in")


def test_claims_of_the_header_are_checked_before_decoding(write, reason_of):
    path, _ = write(stored_values(), Rows=65535, Columns=65535)
    assert reason_of(path) == ("quarantined", "pixel_limit")
    path, _ = write(stored_values(), Rows=0)
    assert reason_of(path) == ("quarantined", "no_pixels")


def test_short_pixel_data_is_truncated(write, reason_of):
    path, _ = write(stored_values(), PixelData=stored_values().tobytes()[:-64])
    assert reason_of(path) == ("quarantined", "truncated")


def test_a_syntax_without_decoder_is_named_without_the_patient(write):
    path, _ = write(
        stored_values(), PixelData=pydicom.encaps.encapsulate([bytes(64)]), syntax=UID("1.2.840.10008.1.2.4.55")
    )
    with pytest.raises(RejectedInput, match="no_decoder") as caught:
        read_image(path, Bounds())
    assert "Secret" not in str(caught.value)
    assert "MRN" not in str(caught.value)


def test_a_file_without_preamble_is_read(write, tmp_path):
    path, _ = write(stored_values())
    dataset = pydicom.dcmread(path)
    (tmp_path / "bare.dcm").write_bytes(path.read_bytes()[132:])
    assert np.array_equal(read_image(tmp_path / "bare.dcm", Bounds()).pixels, dataset.pixel_array)


def test_a_deflated_bomb_is_refused_before_it_unfolds(write, reason_of):
    path, _ = write(stored_values(), syntax=DeflatedExplicitVRLittleEndian)
    assert np.array_equal(read_image(path, Bounds()).pixels, stored_values())
    content = path.read_bytes()
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = 132 + 12 + int(pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength)
    unfolded = zlib.decompress(content[start:], -15) + bytes(2**22)
    path.write_bytes(content[:start] + bomb.compress(unfolded) + bomb.flush())
    assert reason_of(path, max_bytes=2**21) == ("quarantined", "limits")


@pytest.mark.parametrize("cut", [140, 200, 300, 400])
def test_a_cut_header_is_an_answer_and_no_crash(cut, write, reason_of):
    path, _ = write(stored_values())
    path.write_bytes(path.read_bytes()[:cut])
    assert reason_of(path)[0] == "quarantined"


def test_random_damage_is_an_answer_and_no_crash(write):
    path, _ = write(stored_values(), WindowCenter=1000, WindowWidth=500)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, 700, 4):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            make_canonical(read_image(path, Bounds()), "cxr", PackOptions())
        except RejectedInput as rejected:
            assert rejected.reason_slug


def test_what_is_packed_does_not_depend_on_other_decoders(monkeypatch, write, items_of):
    import io

    from PIL import Image
    from pydicom.pixels.decoders.base import get_decoder

    content = io.BytesIO()
    Image.fromarray(stored_values(8)).save(content, "JPEG", quality=60)
    syntax = UID("1.2.840.10008.1.2.4.50")
    data = pydicom.encaps.encapsulate([content.getvalue()])
    path, _ = write(stored_values(8), bits=8, PixelData=data, syntax=syntax)
    decoder = get_decoder(syntax)
    (expected,) = items_of(path)
    assert np.array_equal(expected.pixels, np.asarray(Image.open(content)))

    def other(src, runner):
        return bytes(24 * 32)

    monkeypatch.setattr(decoder, "_available", {"another": other, **decoder._available})
    (found,) = items_of(path)
    assert np.array_equal(found.pixels, expected.pixels)


def test_without_a_decoder_its_extra_is_named(monkeypatch, write, items_of):
    from pydicom.pixels.decoders.base import get_decoder

    lossless = UID("1.2.840.10008.1.2.4.70")
    monkeypatch.setattr(get_decoder(lossless), "_available", {})
    path, _ = write(stored_values(), PixelData=pydicom.encaps.encapsulate([bytes(64)]), syntax=lossless)
    with pytest.raises(RejectedInput, match=r"no_decoder: .*JPEG Lossless.*pip install 'mermed\[gdcm\]'"):
        items_of(path)


def test_without_pydicom_the_extra_is_named(monkeypatch, write):
    import sys

    from mermed.errors import EnvironmentError_

    path, _ = write(stored_values())
    for name in [name for name in sys.modules if name.startswith("mermed.pack.readers.dicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom.dataset", None)
    with pytest.raises(EnvironmentError_, match=r"pip install 'mermed\[dicom\]'"):
        read_image(path, Bounds())
