"""Heidelberg volumes: every B-scan as a screen shows it, and lengths that do not fit refused."""

import struct

import numpy as np
import pytest

from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Sampling, Treatment

SCAN_HEADER = 300
INVALID = np.float32(3.4e38)


def volume(scans, *, scan_header=SCAN_HEADER, tail=132):
    """A .vol file of B-scans [N H W] in [0, 1], written after the layout of real files, with names in its header."""
    count, height, width = scans.shape
    header = bytearray(2048)
    header[:12] = b"HSF-OCT-103\0"
    struct.pack_into("<3i", header, 12, width, count, height)
    struct.pack_into("<3d", header, 24, 0.0118, 0.12, 0.0039)
    struct.pack_into("<2i", header, 48, 6, 5)
    struct.pack_into("<i", header, 100, scan_header)
    header[140:160] = b"DOE^JANE MRN-4711   "
    content = bytes(header) + bytes(30)
    for scan in scans:
        content += b"HSF-BS-103\0\0".ljust(scan_header, b"\1") + scan.astype("<f4").tobytes()
    return content + bytes(tail)


def scans(count=3):
    return np.random.default_rng(0).uniform(0, 1, (count, 12, 20)).astype(np.float32)


def parted(path, treatment=None, **bounds):
    items = list(read_frames(RawFile(path), Bounds(**bounds), treatment or Treatment()))
    rejected = {(item.reason, item.bin): item.count for item in items if isinstance(item, RejectedFrame)}
    return [item for item in items if isinstance(item, RawImage)], rejected


def reason_of(path, **bounds):
    with pytest.raises(RejectedInput) as caught:
        parted(path, **bounds)
    return caught.value.bin, caught.value.reason_slug


def test_b_scans_are_the_fourth_root_of_their_reflectivity(tmp_path):
    (tmp_path / "x.vol").write_bytes(volume(scans()))
    kept, rejected = parted(tmp_path / "x.vol")
    assert ([raw.frame for raw in kept], rejected) == ([0, 1, 2], {})
    for raw in kept:
        exact = 255 * scans()[raw.frame].astype(np.float64) ** 0.25
        assert np.abs(raw.pixels - exact).max() <= 0.5 + 1e-9
        assert (raw.pixels.dtype, raw.scale, raw.source_bits) == (np.uint8, "display", 32)
        assert raw.spacing_mm == (0.0039, 0.0118)
        assert raw.padding is None


def test_pixels_that_were_not_measured_are_padding(tmp_path):
    content = scans(1)
    content[0, 3, :] = INVALID
    content[0, 5, 7] = np.nan
    (tmp_path / "x.vol").write_bytes(volume(content))
    (raw,), _ = parted(tmp_path / "x.vol")
    assert raw.padding[3].all()
    assert raw.padding.sum() == 21
    assert not raw.pixels[raw.padding].any()


def test_too_many_b_scans_are_thinned_evenly(tmp_path):
    (tmp_path / "x.vol").write_bytes(volume(scans(10)))
    kept, rejected = parted(tmp_path / "x.vol", Treatment(sampling=Sampling(max_frames=2)))
    assert ([raw.frame for raw in kept], rejected) == ([2, 7], {("not_sampled", "excluded"): 8})


def test_a_cut_volume_gives_its_whole_b_scans(tmp_path):
    (tmp_path / "x.vol").write_bytes(volume(scans(4), tail=0)[:-1])
    kept, rejected = parted(tmp_path / "x.vol")
    assert (len(kept), rejected) == (3, {("truncated", "quarantined"): 1})
    (tmp_path / "x.vol").write_bytes(volume(scans(4))[:2500])
    assert reason_of(tmp_path / "x.vol") == ("quarantined", "truncated")
    (tmp_path / "x.vol").write_bytes(volume(scans(4))[:600])
    assert reason_of(tmp_path / "x.vol") == ("quarantined", "truncated")


@pytest.mark.parametrize(
    ("offset", "value", "expected"),
    [
        (12, 0, "no_pixels"),
        (20, -4, "no_pixels"),
        (12, 2**30, "pixel_limit"),
        (16, 0, "limits"),
        (48, -7, "corrupt"),
        (48, 7, "corrupt"),
        (100, 12, "corrupt"),
        (100, 2**31 - 1, "truncated"),
    ],
)
def test_sizes_that_cannot_be_are_refused(offset, value, expected, tmp_path):
    content = bytearray(volume(scans()))
    struct.pack_into("<i", content, offset, value)
    (tmp_path / "x.vol").write_bytes(content)
    assert reason_of(tmp_path / "x.vol") == ("quarantined", expected)


def test_no_name_of_the_header_leaves_the_reader(tmp_path):
    (tmp_path / "x.vol").write_bytes(volume(scans()))
    kept, _ = parted(tmp_path / "x.vol")
    assert not any("JANE" in repr(raw) or "4711" in repr(raw) for raw in kept)
