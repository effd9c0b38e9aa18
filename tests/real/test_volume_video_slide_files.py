"""Real volumes, films, slides and stacks: pixels against the libraries alone, and every frame accounted for."""

import itertools

import numpy as np
import pytest
from PIL import Image

from mermed.pack.options import PackOptions
from mermed.pack.pixels.canonical import make_canonical
from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame
from mermed.pack.readers.reading import read_frames, read_image
from mermed.pack.treatment import Sampling, Treatment

ALL = Treatment(sampling=Sampling(max_frames=10_000, margin=0.0, least_content=0.0, least_change=0.0))


def parted(path, treatment=None):
    items = list(read_frames(RawFile(path), Bounds(), treatment or Treatment()))
    rejected = {}
    for item in items:
        if isinstance(item, RejectedFrame):
            rejected[item.reason] = rejected.get(item.reason, 0) + item.count
    return [item for item in items if isinstance(item, RawImage)], rejected


@pytest.mark.parametrize(
    ("name", "slices"),
    [("ct_slice_hu_int16.nii.gz", 1), ("mr_small_bigendian.nii", 25), ("ct_head_avm_256x242x154_uint8.nii.gz", 154)],
)
def test_every_slice_of_a_real_volume_is_what_nibabel_reads(name, slices, real_data):
    nib = pytest.importorskip("nibabel")
    path = real_data / "formats/volume" / name
    image = nib.load(path)
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("LPS"))
    expected = image.as_reoriented(turn).get_fdata()
    kept, rejected = parted(path, ALL)
    assert (len(kept), rejected) == (slices, {})
    for raw in kept:
        assert np.allclose(raw.pixels, expected[:, :, raw.frame].T, rtol=0, atol=1e-9)


def test_a_ct_slice_of_a_volume_is_packed_as_its_dicom_is(real_data):
    pytest.importorskip("nibabel")
    (raw,), _ = parted(real_data / "formats/volume/ct_slice_hu_int16.nii.gz")
    dicom = read_image(real_data / "real/ct/tcga_luad_ct_dicom/images/ID_0000_AGE_0060_CONTRAST_1_CT.dcm", Bounds())
    assert (raw.scale, dicom.scale) == ("hounsfield", "hounsfield")
    found, expected = (make_canonical(image, "ct", PackOptions(), Treatment()) for image in (raw, dicom))
    assert found.spacing_mm == expected.spacing_mm
    assert np.array_equal(found.pixels, expected.pixels)


def test_a_volume_of_vessels_alone_has_too_little_to_see(real_data):
    pytest.importorskip("nibabel")
    kept, rejected = parted(real_data / "formats/volume/ct_head_avm_256x242x154_uint8.nii.gz")
    assert (kept, rejected) == ([], {"little_content": 32, "not_sampled": 154 - 32})


def test_a_real_b_scan_looks_like_the_one_that_was_drawn_from_it(real_data):
    """Its B-scan starts where the size of its own header says; 132 bytes of another table end the file."""
    (raw,), _ = parted(real_data / "formats/volume/oct_spectralis_linescan.vol")
    assert (raw.pixels.shape, raw.padding, raw.scale) == ((496, 768), None, "display")
    assert raw.spacing_mm == pytest.approx((0.00387, 0.01182), abs=1e-5)
    content = (real_data / "formats/volume/oct_spectralis_linescan.vol").read_bytes()
    values = np.frombuffer(content, "<f4", 496 * 768, 2048 + 768 * 768 + 55296).reshape(496, 768)
    assert np.abs(raw.pixels - 255 * values.astype(float) ** 0.25).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("suffix", "frames"), [("avi", 93), ("gif", 59), ("mp4", 199), ("mpeg", 183)])
def test_every_frame_of_a_real_film_is_counted_and_few_are_kept(suffix, frames, real_data):
    pytest.importorskip("av")
    kept, rejected = parted(real_data / f"formats/video/us_lung.{suffix}")
    assert len(kept) + sum(rejected.values()) == frames
    assert set(rejected) <= {"near_duplicate_frame", "not_sampled"}
    assert 10 < len(kept) <= 32
    assert kept[0].frame <= 3
    for before, after in itertools.pairwise(kept):
        assert not np.array_equal(before.pixels, after.pixels)


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mpeg"])
def test_frames_of_a_real_film_are_those_of_its_decoder(suffix, real_data):
    av = pytest.importorskip("av")
    path = real_data / f"formats/video/us_lung.{suffix}"
    kept, _ = parted(path)
    with av.open(str(path)) as container:
        expected = dict(enumerate(frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)))
    assert all(np.array_equal(raw.pixels, expected[raw.frame]) for raw in kept)


def test_frames_of_a_real_gif_are_those_of_pillow(real_data):
    path = real_data / "formats/video/us_lung.gif"
    kept, _ = parted(path)
    with Image.open(path) as image:
        for raw in kept:
            image.seek(raw.frame)
            colour = raw.pixels if raw.pixels.ndim == 3 else np.repeat(raw.pixels[..., None], 3, axis=2)
            assert np.array_equal(colour, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "pyramid_jpeg_tiled.tif"])
def test_tiles_of_a_real_slide_lie_on_its_tissue(name, real_data):
    openslide = pytest.importorskip("openslide")
    path = real_data / "formats/slide" / name
    kept, rejected = parted(path, Treatment(sampling=Sampling(tile_px=256, tile_um=0.5)))
    columns, rows = int(2220 // 256.6), int(2967 // 256.6)
    assert len(kept) + sum(rejected.values()) == columns * rows
    assert 30 <= len(kept) <= 50
    assert {raw.spacing_mm for raw in kept} == {(0.0005, 0.0005)}
    # Stained tissue is darker in green than glass, and glass is what is left out.
    assert all(raw.pixels[..., 1].mean() < 225 for raw in kept)
    with openslide.OpenSlide(path) as slide:
        whole = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"), int)
    um = 0.499 if name.endswith("svs") else 0.5
    side = 256 * 0.5 / um
    for raw in kept:
        top, left = round(raw.frame // columns * side), round(raw.frame % columns * side)
        part = whole[top : top + round(side), left : left + round(side)]
        assert np.abs(raw.pixels.mean((0, 1)) - part.mean((0, 1))).max() < 1.0


def test_the_same_slide_in_two_containers_gives_the_same_tiles(real_data):
    pytest.importorskip("openslide")
    numbers = [
        [raw.frame for raw in parted(real_data / "formats/slide" / name)[0]]
        for name in ("CMU-1-Small-Region.svs", "pyramid_jpeg_tiled.tif")
    ]
    assert numbers[0] == numbers[1] != []


def test_the_label_and_the_overview_of_a_slide_are_never_opened(real_data, monkeypatch):
    openslide = pytest.importorskip("openslide")
    path = real_data / "formats/slide/CMU-1-Small-Region.svs"
    with openslide.OpenSlide(path) as slide:
        assert {"label", "macro"} <= set(slide.associated_images)

    def refuse(*arguments):
        raise AssertionError("a picture beside the pyramid was asked for")

    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(refuse))
    monkeypatch.setattr(openslide.lowlevel, "read_associated_image", refuse)
    assert parted(path)[0]


def test_pages_of_a_real_stack_keep_their_values(real_data):
    path = real_data / "formats/raster/ct_multipage_uint16.tif"
    kept, rejected = parted(path)
    assert ([raw.frame for raw in kept], rejected) == ([0, 1, 2], {})
    with Image.open(path) as image:
        for raw in kept:
            image.seek(raw.frame)
            assert np.array_equal(raw.pixels, np.asarray(image))
            assert (raw.scale, raw.source_bits) == ("stored", 16)
