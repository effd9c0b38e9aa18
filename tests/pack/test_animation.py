"""Moving pictures and stacks of pages: the frames that Pillow shows, each accounted for."""

import struct

import numpy as np
import pytest
from PIL import Image

from mermed.pack.readers.kinds import count_pages
from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames, read_image
from mermed.pack.treatment import Sampling, Treatment

EVERY = Treatment(sampling=Sampling(max_frames=1000, least_change=0.0))
MOVING = ["GIF", "PNG", "WEBP"]


def save(path, pictures, format):
    images = [Image.fromarray(picture) for picture in pictures]
    options = {"lossless": True} if format == "WEBP" else {}
    images[0].save(path, format, save_all=True, append_images=images[1:], **options)
    return path


def pictures(count, shape=(24, 32)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def parted(path, treatment=EVERY, **bounds):
    items = list(read_frames(RawFile(path), Bounds(**bounds), treatment))
    rejected = {item.reason: item.count for item in items if isinstance(item, RejectedFrame)}
    return [item for item in items if isinstance(item, RawImage)], rejected


def grey(pixels):
    return pixels if pixels.ndim == 2 else pixels[..., 0]


@pytest.mark.parametrize("format", MOVING)
def test_every_frame_of_a_moving_picture_is_read(format, tmp_path):
    drawn = pictures(5)
    kept, rejected = parted(save(tmp_path / "x.jpg", drawn, format))
    assert ([raw.frame for raw in kept], rejected) == ([0, 1, 2, 3, 4], {})
    for raw, expected in zip(kept, drawn, strict=True):
        assert np.array_equal(grey(raw.pixels), expected)


@pytest.mark.parametrize("format", MOVING)
def test_a_picture_of_one_frame_stays_an_image(format, tmp_path):
    save(tmp_path / "x", pictures(1), format)
    assert read_image(tmp_path / "x", Bounds()).frame is None


def test_frames_of_a_gif_lie_over_those_before_them(tmp_path):
    base, changed = np.full((20, 20), 50, np.uint8), np.full((20, 20), 50, np.uint8)
    changed[5:9, 5:9] = 200
    kept, _ = parted(save(tmp_path / "x.gif", [base, changed], "GIF"))
    assert np.array_equal(grey(kept[1].pixels), changed)


def test_still_frames_are_near_duplicates(tmp_path):
    drawn = pictures(2)
    # A pixel of its own keeps Pillow from merging equal frames.
    still = [drawn[0].copy() for _ in range(4)]
    for number, picture in enumerate(still):
        picture[0, number] ^= 64
    kept, rejected = parted(save(tmp_path / "x.png", [*still, drawn[1]], "PNG"), Treatment())
    assert [raw.frame for raw in kept] == [0, 4]
    assert rejected == {"near_duplicate_frame": 3}


@pytest.mark.parametrize("format", MOVING)
def test_a_cut_moving_picture_gives_a_reason_and_only_whole_frames(format, tmp_path):
    drawn = pictures(6)
    path = save(tmp_path / "x", drawn, format)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    try:
        items = list(read_frames(RawFile(path), Bounds(), EVERY))
    except RejectedInput as rejected:
        assert (rejected.bin, format) == ("quarantined", "WEBP")
        return
    kept = [item for item in items if isinstance(item, RawImage)]
    assert 1 <= len(kept) < 6
    assert items[-1].bin == "quarantined"
    for raw in kept:
        assert np.array_equal(grey(raw.pixels), drawn[raw.frame])


def test_moving_pictures_are_bound(tmp_path):
    path = save(tmp_path / "x.gif", pictures(6), "GIF")
    kept, rejected = parted(path, max_frames=4)
    assert (len(kept), rejected) == (4, {"limits": 1})
    with pytest.raises(RejectedInput) as caught:
        parted(path, max_pixels=100)
    assert caught.value.reason_slug == "pixel_limit"


def test_every_page_of_a_tiff_keeps_its_values(tmp_path):
    pages = [page.astype(np.uint16) * 257 for page in pictures(5)]
    kept, rejected = parted(save(tmp_path / "x.tif", pages, "TIFF"))
    assert ([raw.frame for raw in kept], rejected) == ([0, 1, 2, 3, 4], {})
    for raw, expected in zip(kept, pages, strict=True):
        assert (raw.scale, raw.source_bits) == ("stored", 16)
        assert np.array_equal(raw.pixels, expected)


def test_too_many_pages_are_thinned_evenly(tmp_path):
    path = save(tmp_path / "x.tif", pictures(20), "TIFF")
    kept, rejected = parted(path, Treatment(sampling=Sampling(max_frames=4)))
    assert [raw.frame for raw in kept] == [2, 7, 12, 17]
    assert rejected == {"not_sampled": 16}


def test_a_smaller_copy_and_a_mask_among_the_pages_are_no_images(tmp_path):
    from PIL.TiffImagePlugin import AppendingTiffWriter

    with AppendingTiffWriter(tmp_path / "x.tif", True) as file:
        for number, kind in enumerate((0, 1, 4)):
            Image.fromarray(pictures(3)[number]).save(file, "TIFF", tiffinfo={254: kind})
            file.newFrame()
    kept, rejected = parted(tmp_path / "x.tif")
    assert [raw.frame for raw in kept] == [0]
    assert rejected == {"thumbnail": 1, "segmentation": 1}


def test_a_damaged_page_ends_the_stack_with_a_row_for_the_rest(tmp_path):
    pages = [np.tile(page, (4, 4)) for page in pictures(4)]
    images = [Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "x.tif", save_all=True, append_images=images[1:], compression="tiff_adobe_deflate")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    with Image.open(tmp_path / "x.tif") as image:
        image.seek(2)
        start = image.tag_v2[273][0]
    content[start : start + 20] = bytes(20)
    (tmp_path / "x.tif").write_bytes(content)
    kept, rejected = parted(tmp_path / "x.tif")
    assert [raw.frame for raw in kept] == [0, 1]
    assert rejected == {"corrupt": 2}


def test_pages_of_a_kind_that_pillow_does_not_know_have_no_decoder(tmp_path):
    path = save(tmp_path / "x.tif", [page.astype(np.uint16) for page in pictures(2)], "TIFF")
    content = bytearray(path.read_bytes())
    bits = content.index(struct.pack("<HHI", 258, 3, 1))
    struct.pack_into("<H", content, bits + 8, 48)
    path.write_bytes(content)
    with pytest.raises(RejectedInput) as caught:
        parted(path)
    assert caught.value.reason_slug == "no_decoder"


def chain(count, *, is_ring=False):
    """A TIFF of `count` directories without entries, each pointing at the next."""
    following = [8 + 6 * number for number in range(1, count)] + [8 if is_ring else 0]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(struct.pack("<HI", 0, at) for at in following)


@pytest.mark.parametrize(("count", "is_ring"), [(100_000, False), (3, True), (1, True)])
def test_a_tiff_of_endless_directories_is_refused(count, is_ring, tmp_path):
    """A18."""
    (tmp_path / "x.tif").write_bytes(chain(count, is_ring=is_ring))
    with pytest.raises(RejectedInput) as caught:
        read_image(tmp_path / "x.tif", Bounds())
    assert caught.value.reason_slug == "limits"


def test_pages_are_counted_without_decoding(tmp_path):
    path = save(tmp_path / "x.tif", pictures(7), "TIFF")
    with path.open("rb") as stream:
        assert count_pages(stream, 100) == 7
