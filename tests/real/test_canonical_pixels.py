"""Real images made canonical: no crop loses what is seen, and the units of real CT come back from 16 bits."""

import io

import numpy as np
import pytest
from PIL import Image

from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.readers.raw import RejectedInput
from mermed.pack.readers.reading import read_image
from mermed.pack.treatment import Treatment
from mermed.stream.image import decode_rgb

OPTIONS = PackOptions()


def images(folder, count):
    """`count` images of a folder, evenly spread by name."""
    paths = sorted(
        path for path in folder.rglob("images/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".dcm")
    )
    return paths[:: max(len(paths) // count, 1)]


def lost(path, modality, bright):
    """The share of an image's pixels that are brighter than `bright` and were cropped away; the share that is kept."""
    raw = read_image(path, OPTIONS.bounds)
    made = make_canonical(raw, modality, OPTIONS)
    if made.crop is None:
        return 0.0, 1.0
    seen = (raw.pixels if raw.pixels.ndim == 2 else raw.pixels.max(axis=2)) > bright
    top, left, height, width = made.crop
    outside = seen.sum() - seen[top : top + height, left : left + width].sum()
    return outside / seen.size, height * width / seen.size


def test_no_fundus_loses_its_edge_and_small_discs_fill_the_frame(real_data):
    found = [lost(path, "cfp", 25) for path in images(real_data / "real/cfp/eye_diseases_256", 120)]
    # One picture has a thin white arc drawn outside of its disc, which is the most that any of them loses.
    assert max(share for share, _ in found) < 0.006
    assert sorted(share for share, _ in found)[-2] < 0.001
    assert sum(kept < 0.5 for _, kept in found) >= 10
    assert sum(kept == 1.0 for _, kept in found) >= 60


def test_no_ultrasound_loses_echoes(real_data):
    for folder, count in (("busi_256", 60), ("pocus_lung_us", 14)):
        found = [lost(path, "us", 30) for path in images(real_data / "real/us" / folder, count)]
        assert max(share for share, _ in found) < 0.01
        assert np.mean([kept for _, kept in found]) > 0.95


def test_dermoscopy_without_a_frame_is_kept_whole(real_data):
    assert all(lost(path, "derm", 0)[1] == 1.0 for path in images(real_data / "real/derm", 60))


def test_no_real_image_is_taken_for_a_mask_or_blank(real_data):
    for modality in ("ct", "cxr", "us", "path", "cfp", "oct", "derm"):
        for path in images(real_data / "real" / modality, 12):
            assert make_canonical(read_image(path, OPTIONS.bounds), modality, OPTIONS).steps is not None


def test_the_units_of_real_ct_come_back_from_16_bits_and_look_the_same(real_data):
    pydicom = pytest.importorskip("pydicom")
    from mermed.contract import SampleMeta
    from mermed.pack.pixels.encode import encode_image

    for path in images(real_data / "real/ct/tcga_luad_ct_dicom", 6):
        header = pydicom.dcmread(path)
        values = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        raw = read_image(path, OPTIONS.bounds)
        deep = make_canonical(raw, "ct", PackOptions(depth=16))
        kept = np.ones(values.shape, bool) if raw.padding is None else ~raw.padding
        step = 0.0 if float(header.RescaleSlope).is_integer() else deep.rescale[0]
        assert np.abs(deep.pixels * deep.rescale[0] + deep.rescale[1] - values)[kept].max() <= step
        meta = SampleMeta(
            key="a", modality="ct", dataset="d", split="train", group="g", width=1, height=1, source_bits=16,
            window=deep.window, rescale=deep.rescale,
        )  # fmt: skip
        canvas = decode_rgb(encode_image(deep.image, "jpeg")[0], meta)[..., 0].astype(int)
        assert np.abs(canvas - make_canonical(raw, "ct", OPTIONS).pixels).max() <= 1


def test_a_16_bit_png_with_an_offset_equals_its_dicom(real_data, tmp_path):
    dicom = read_image(next(iter(images(real_data / "real/ct/tcga_luad_ct_dicom", 60))), OPTIONS.bounds)
    raw = read_image(real_data / "formats/raster/ct_16bit.png", OPTIONS.bounds)
    made = make_canonical(raw, "ct", OPTIONS, Treatment(offset_hu=-1024))
    expected = np.clip((dicom.pixels + 160) / 400, 0, 1) * 255
    assert np.abs(made.pixels - expected).max() <= 1


def test_a_real_mask_is_refused(real_data):
    image = (
        Image.open(next(iter(images(real_data / "real/us/busi_256", 10)))).convert("L").point(lambda v: 255 * (v > 90))
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    from mermed.pack.readers.raw import RawImage

    with pytest.raises(RejectedInput, match="looks_like_mask"):
        make_canonical(RawImage(pixels=np.asarray(image), scale="display", source_bits=8), "us", OPTIONS)
