"""Whole slides: tiles of one resolution, over tissue only, the same every time, and each tile accounted for."""

import struct
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames, sniff_member
from mermed.pack.readers.tissue import colours_of, find_pen, find_tissue, otsu
from mermed.pack.treatment import Sampling, Treatment

pytest.importorskip("openslide")
SIDE, TILE = 64, 32
FEW = Sampling(tile_px=SIDE, tile_um=0.5)
GLASS, STAIN = (243, 242, 244), (190, 110, 170)


def painted(rows, columns, tissue=(), pen=()):
    """A slide of rows x columns tiles, with noise in the tiles of tissue, so that every pixel can be told."""
    pixels = np.empty((rows * SIDE, columns * SIDE, 3), np.uint8)
    pixels[:] = GLASS
    noise = np.random.default_rng(0)
    for row, column in tissue:
        tile = np.array(STAIN) + noise.integers(-30, 31, (SIDE, SIDE, 3))
        pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = tile
    for row, column in pen:
        pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : column * SIDE + SIDE // 2] = (20, 120, 60)
    return pixels


def tiles_of(pixels):
    height, width = pixels.shape[:2]
    padded = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE, 3), np.uint8)
    padded[:height, :width] = pixels
    for top in range(0, padded.shape[0], TILE):
        for left in range(0, padded.shape[1], TILE):
            yield np.ascontiguousarray(padded[top : top + TILE, left : left + TILE]).tobytes()


def directory(pixels, at, um, is_reduced, description):
    """One level laid out from byte `at` on, its directory behind its tiles; returns (bytes, place of the directory)."""
    body, offsets = b"", []
    for tile in tiles_of(pixels):
        offsets.append(at + len(body))
        body += tile
    text = description.encode() + b"\0"
    extra = {
        258: struct.pack("<3H", 8, 8, 8),
        270: text,
        282: struct.pack("<2I", round(1e7 / um) if um else 72_000, 1000),
        324: struct.pack(f"<{len(offsets)}I", *offsets),
        325: struct.pack(f"<{len(offsets)}I", *[TILE * TILE * 3] * len(offsets)),
    }
    extra[283] = extra[282]
    places = {}
    for tag, content in extra.items():
        body += b"\0" * (len(body) % 2)
        places[tag] = at + len(body)
        body += content
    body += b"\0" * (len(body) % 2)
    start = at + len(body)
    height, width = pixels.shape[:2]
    count = len(offsets)
    entries = [(254, 4, 1, int(is_reduced)), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, places[258])]
    entries += [(259, 3, 1, 1), (262, 3, 1, 2), (270, 2, len(text), places[270]), (277, 3, 1, 3)]
    entries += [(282, 5, 1, places[282]), (283, 5, 1, places[283]), (284, 3, 1, 1), (296, 3, 1, 3 if um else 2)]
    entries += [(322, 3, 1, TILE), (323, 3, 1, TILE), (324, 4, count, places[324]), (325, 4, count, places[325])]
    if count == 1:
        entries[-2:] = [(324, 4, 1, offsets[0]), (325, 4, 1, TILE * TILE * 3)]
    block = struct.pack("<H", len(entries))
    for tag, kind, number, value in entries:
        block += struct.pack("<HHI", tag, kind, number) + struct.pack("<I", value)
    return body + block, start


def slide(path, pixels, *, levels=3, um=0.5, description=""):
    """Write a tiled TIFF with a pyramid of halves, by hand after the TIFF 6.0 text, as scanners do."""
    content, link = bytearray(b"II*\0" + bytes(4)), 4
    for level in range(levels):
        height, width = pixels.shape[:2]
        small = np.asarray(Image.fromarray(pixels).resize((width >> level, height >> level), Image.Resampling.BOX))
        body, start = directory(small, len(content), um and um * 2**level, level > 0, description)
        content += body
        struct.pack_into("<I", content, link, start)
        link = len(content)
        content += bytes(4)
    path.write_bytes(content)
    return path


def parted(path, sampling=FEW, **treatment):
    items = list(read_frames(RawFile(path), Bounds(), Treatment(sampling=sampling, **treatment)))
    rejected: Counter[str] = Counter()
    for item in items:
        if isinstance(item, RejectedFrame):
            rejected[item.reason] += item.count
    return {item.frame: item for item in items if isinstance(item, RawImage)}, rejected


def reason_of(path, bounds=None, **treatment):
    with pytest.raises(RejectedInput) as caught:
        list(read_frames(RawFile(path), bounds or Bounds(), Treatment(sampling=FEW, **treatment)))
    return caught.value.bin, caught.value.reason_slug


BLOCK = [(row, column) for row in range(1, 4) for column in range(2, 5)]


def test_tiles_lie_on_tissue_and_every_tile_is_counted(tmp_path):
    pixels = painted(5, 6, BLOCK)
    kept, rejected = parted(slide(tmp_path / "x.svs", pixels))
    assert sorted(kept) == [6 * row + column for row, column in BLOCK]
    assert rejected == {"blank_tile": 30 - 9}
    for tile, raw in kept.items():
        row, column = divmod(tile, 6)
        assert np.array_equal(raw.pixels, pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE])
        assert (raw.spacing_mm, raw.scale, raw.notes) == ((0.0005, 0.0005), "display", ())


def test_coarser_tiles_are_read_from_the_level_that_has_them(tmp_path):
    pixels = painted(4, 4, [(row, column) for row in range(4) for column in range(4)])
    kept, rejected = parted(slide(tmp_path / "x.tif", pixels), Sampling(tile_px=SIDE, tile_um=1.0))
    assert (sorted(kept), rejected) == ([0, 1, 2, 3], {})
    half = np.asarray(Image.fromarray(pixels).resize((2 * SIDE, 2 * SIDE), Image.Resampling.BOX))
    assert np.array_equal(kept[3].pixels, half[SIDE:, SIDE:])
    assert kept[3].spacing_mm == (0.001, 0.001)


def test_a_resolution_between_levels_is_averaged_down(tmp_path):
    kept, _ = parted(slide(tmp_path / "x.tif", painted(5, 5, BLOCK)), Sampling(tile_px=48, tile_um=0.75))
    assert {raw.pixels.shape for raw in kept.values()} == {(48, 48, 3)}
    assert {raw.spacing_mm for raw in kept.values()} == {(0.00075, 0.00075)}


def test_a_slide_is_never_enlarged(tmp_path):
    pixels = painted(3, 3, [(1, 1)])
    kept, _ = parted(slide(tmp_path / "x.tif", pixels, um=1.0))
    assert kept[4].spacing_mm == (0.001, 0.001)
    assert np.array_equal(kept[4].pixels, pixels[SIDE : 2 * SIDE, SIDE : 2 * SIDE])


def test_ink_is_left_out(tmp_path):
    kept, rejected = parted(slide(tmp_path / "x.tif", painted(5, 6, BLOCK, pen=[(1, 2), (0, 0)])))
    assert 6 + 2 not in kept
    assert (len(kept), rejected) == (8, {"blank_tile": 30 - 8 - 2, "pen_tile": 2})


def test_the_choice_of_tiles_is_fixed_and_grows_with_the_bound(tmp_path):
    path = slide(tmp_path / "x.tif", painted(8, 8, [(row, column) for row in range(8) for column in range(8)]))
    few, rejected = parted(path, Sampling(tile_px=SIDE, max_tiles=9))
    more, _ = parted(path, Sampling(tile_px=SIDE, max_tiles=20))
    assert rejected == {"not_sampled": 64 - 9}
    assert list(few) == sorted(few)
    assert set(few) < set(more)
    assert sorted(parted(path, Sampling(tile_px=SIDE, max_tiles=9))[0]) == sorted(few)
    # Spread over the slide and not one corner of it.
    assert {tile // 32 for tile in more} == {0, 1}
    assert {tile % 8 // 4 for tile in more} == {0, 1}


def test_a_slide_without_a_scale_needs_one_from_the_recipe(tmp_path):
    """A22."""
    path = slide(tmp_path / "x.tif", painted(3, 3, [(1, 1)]), um=None)
    assert reason_of(path) == ("quarantined", "no_mpp")
    kept, _ = parted(path, assume_um=0.25)
    assert [raw.spacing_mm for raw in kept.values()] == [(0.0005, 0.0005)] * len(kept)


def damage(path, level):
    """Point the tiles of a level behind the end of the file."""
    content = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    for _ in range(level):
        (entries,) = struct.unpack_from("<H", content, at)
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * entries)
    (entries,) = struct.unpack_from("<H", content, at)
    for place in range(at + 2, at + 2 + 12 * entries, 12):
        tag, _, count, value = struct.unpack_from("<HHII", content, place)
        if tag == 324:
            struct.pack_into(f"<{count}I", content, value, *[len(content) + 10_000] * count)
    path.write_bytes(content)


def test_a_damaged_level_gives_way_to_a_finer_one_and_says_so(tmp_path):
    """A22: the tiles look as they do in the level that is damaged."""
    everywhere = [(row, column) for row in range(4) for column in range(4)]
    path = slide(tmp_path / "x.tif", painted(4, 4, everywhere))
    coarse = Sampling(tile_px=SIDE, tile_um=1.0)
    whole, _ = parted(path, coarse)
    damage(path, 1)
    kept, rejected = parted(path, coarse)
    assert (sorted(kept), rejected) == (sorted(whole), {})
    for tile, raw in kept.items():
        assert raw.notes == ("finer_level",)
        assert np.abs(raw.pixels.astype(int) - whole[tile].pixels).max() <= 1


def test_tiles_without_a_level_left_are_quarantined(tmp_path):
    path = slide(tmp_path / "x.tif", painted(5, 5, BLOCK))
    damage(path, 0)
    kept, rejected = parted(path)
    assert (kept, rejected) == ({}, {"corrupt": 9, "blank_tile": 16})
    items = list(read_frames(RawFile(path), Bounds(), Treatment(sampling=FEW)))
    assert {item.bin for item in items if item.reason == "corrupt"} == {"quarantined"}


def test_a_slide_smaller_than_a_tile_is_one_tile(tmp_path):
    path = slide(tmp_path / "x.tif", painted(1, 1, [(0, 0)]), levels=2)
    kept, rejected = parted(path, Sampling(tile_px=4 * SIDE))
    assert ({tile: raw.pixels.shape for tile, raw in kept.items()}, rejected) == ({0: (SIDE, SIDE, 3)}, {})


def test_a_mrxs_file_alone_says_what_is_missing(tmp_path):
    Image.new("RGB", (40, 40), "white").save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "x.mrxs")
    assert reason_of(tmp_path / "x.mrxs") == ("quarantined", "no_sidecar")


def test_a_slide_in_an_archive_must_be_unpacked(tmp_path):
    path = slide(tmp_path / "x.tif", painted(2, 2, [(0, 0)]))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "x.tif")
    with pytest.raises(RejectedInput) as caught:
        list(read_frames(RawFile(tmp_path / "x.zip", "x.tif"), Bounds(), Treatment()))
    assert caught.value.reason_slug == "needs_file"


def test_only_pyramids_and_scans_are_slides(tmp_path):
    pixels = painted(2, 2, [(0, 0)])
    paths = {
        "slide": slide(tmp_path / "a.tif", pixels),
        "raster": slide(tmp_path / "b.tif", pixels, levels=1),
    }
    assert {sniff_member(RawFile(path), Bounds()): kind for kind, path in paths.items()} == {k: k for k in paths}
    scanned = slide(tmp_path / "c.tif", pixels, levels=1, description="Aperio Image Library v11\n|MPP = 0.5")
    assert sniff_member(RawFile(scanned), Bounds()) == "slide"
    Image.new("1", (9000, 9000)).save(tmp_path / "d.tif", compression="group4")
    assert sniff_member(RawFile(tmp_path / "d.tif"), Bounds()) == "raster"


def test_a_slide_without_a_low_level_is_refused_beyond_the_bound(tmp_path):
    path = slide(tmp_path / "x.tif", painted(6, 6, BLOCK), levels=1, description="Aperio x\n|AppMag = 20|MPP = 0.5")
    assert reason_of(path, Bounds(max_pixels=100_000)) == ("quarantined", "pixel_limit")


def test_no_word_of_the_description_leaves_the_reader(tmp_path):
    path = slide(tmp_path / "x.tif", painted(3, 3, [(1, 1)]), description="Aperio |User = JANE DOE|MPP = 0.5")
    items = list(read_frames(RawFile(path), Bounds(), Treatment(sampling=FEW)))
    assert not any("JANE" in repr(item) for item in items)


def test_colours_are_those_of_the_standard_library():
    import colorsys

    pixels = np.random.default_rng(0).integers(0, 256, (50, 3), dtype=np.uint8)
    pixels[:3] = [[0, 0, 0], [255, 255, 255], [9, 9, 9]]
    hue, saturation, value = colours_of(pixels)
    for number, pixel in enumerate(pixels):
        expected = colorsys.rgb_to_hsv(*(pixel / 255))
        assert (hue[number] / 360, saturation[number], value[number]) == pytest.approx(expected)


def test_otsu_parts_two_heaps():
    heaps = np.concatenate([np.random.default_rng(0).normal(0.1, 0.02, 500), np.full(300, 0.7)])
    assert 0.15 < otsu(heaps) < 0.7
    assert otsu(np.full(10, 0.3)) == 0.0


@pytest.mark.parametrize("ink", [(20, 120, 60), (20, 60, 170), (230, 20, 30), (40, 38, 42)])
def test_inks_are_told_from_stains(ink):
    stains = [(190, 110, 170), (120, 70, 140), (235, 160, 190), (150, 100, 60), (110, 130, 170), (215, 90, 110)]
    assert find_pen(np.array([[ink]], np.uint8)).all()
    assert not find_pen(np.array([stains], np.uint8)).any()
    assert find_tissue(np.array([[*stains, GLASS]], np.uint8))[0].tolist() == [True] * len(stains) + [False]
