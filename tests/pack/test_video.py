"""Films: frames that differ, evenly spaced, up to the last good one; the rest is counted."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Sampling, Treatment

av = pytest.importorskip("av")
EVERY = Treatment(sampling=Sampling(max_frames=1000, least_change=0.0))


def picture(number, size=(64, 48)):
    """A ramp with a square that wanders by number; neighbours differ clearly."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    grey = (rows + columns + 40 * number) % 256
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def film(path, pictures, *, codec="mpeg4", container=None, times=None):
    """Write pictures (all of one size) as a film of 25 a second, or at `times`, every frame a key frame."""
    pictures = list(pictures)
    with av.open(str(path), "w", format=container) as out:
        track = out.add_stream(codec, rate=25)
        track.height, track.width = pictures[0].shape[:2]
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track.codec_context.gop_size = 1
        track.bit_rate = 8_000_000
        if codec != "libvpx":
            track.codec_context.qmin = track.codec_context.qmax = 2
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, 25)
            for packet in track.encode(frame):
                out.mux(packet)
        for packet in track.encode():
            out.mux(packet)
    return path


def frames_of(path, treatment=EVERY, **bounds):
    return list(read_frames(RawFile(path), Bounds(**bounds), treatment))


def parted(path, treatment=EVERY, **bounds):
    """The kept frames, and (reason, bin) -> count of the others."""
    items = frames_of(path, treatment, **bounds)
    rejected = {(item.reason, item.bin): item.count for item in items if isinstance(item, RejectedFrame)}
    return [item for item in items if isinstance(item, RawImage)], rejected


def reason_of(path, **bounds):
    with pytest.raises(RejectedInput) as caught:
        frames_of(path, **bounds)
    return caught.value.bin, caught.value.reason_slug


def decoded(path):
    """The truth: every frame as PyAV alone gives it."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "mjpeg"), ("mp4", "mpeg4"), ("mpg", "mpeg1video"), ("mkv", "mpeg4"), ("webm", "libvpx")],
)
def test_every_container_gives_the_frames_of_its_decoder(suffix, codec, tmp_path):
    path = film(tmp_path / f"x.{suffix}", map(picture, range(9)), codec=codec)
    kept, rejected = parted(path)
    assert ([raw.frame for raw in kept], rejected) == (list(range(9)), {})
    assert {(raw.scale, raw.source_bits) for raw in kept} == {("display", 8)}
    for raw, expected in zip(kept, decoded(path), strict=True):
        assert np.array_equal(raw.pixels, expected)
    assert np.abs(kept[4].pixels.astype(int) - picture(4)).mean() < 12


def test_frames_that_hardly_change_are_skipped_and_counted(tmp_path):
    still = [picture(0)] * 6 + [picture(3)] * 6 + [picture(0)] * 3
    kept, rejected = parted(film(tmp_path / "x.avi", still, codec="mjpeg"), Treatment())
    assert [raw.frame for raw in kept] == [0, 6, 12]
    assert rejected == {("near_duplicate_frame", "excluded"): 12}


def test_too_many_frames_are_thinned_evenly(tmp_path):
    path = film(tmp_path / "x.avi", map(picture, range(40)), codec="mjpeg")
    kept, rejected = parted(path, Treatment(sampling=Sampling(max_frames=4)))
    assert [raw.frame for raw in kept] == [5, 15, 25, 35]
    assert rejected == {("not_sampled", "excluded"): 36}


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_a_cut_film_gives_its_frames_up_to_the_cut(share, tmp_path):
    """A21: the index at the end is gone, and the header still promises every frame."""
    path = film(tmp_path / "x.avi", map(picture, range(30)), codec="mjpeg")
    whole, content = decoded(path), path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    kept, rejected = parted(path)
    assert len(kept) + sum(rejected.values()) == 30
    assert {bin for _, bin in rejected} == {"quarantined"}
    assert 30 * share - 8 < len(kept) < 30 * share + 4
    for raw in kept[:-1]:
        assert np.array_equal(raw.pixels, whole[raw.frame])


def test_frames_that_stand_still_are_left_out_of_a_film_and_not_missed(tmp_path):
    path = film(tmp_path / "x.avi", map(picture, range(7)), codec="mjpeg", times=[0, 1, 2, 6, 7, 8, 12])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 13
    kept, rejected = parted(path)
    assert ([raw.frame for raw in kept], rejected) == (list(range(7)), {})


def test_a_header_that_promises_too_much_is_not_believed(tmp_path):
    path = film(tmp_path / "x.avi", map(picture, range(7)), codec="mjpeg")
    content = bytearray(path.read_bytes())
    length = content.index(b"strh") + 8 + 32
    assert int.from_bytes(content[length : length + 4], "little") == 7
    content[length : length + 4] = (2**30).to_bytes(4, "little")
    path.write_bytes(content)
    kept, rejected = parted(path)
    assert (len(kept), rejected) == (7, {})


def test_a_film_without_frames_is_quarantined(tmp_path):
    content = film(tmp_path / "x.avi", [picture(0)], codec="mjpeg").read_bytes()
    (tmp_path / "none.avi").write_bytes(content[: content.index(b"movi") + 4])
    assert reason_of(tmp_path / "none.avi")[0] == "quarantined"


@pytest.mark.parametrize("content", [b"RIFF\0\0\0\0AVI LIST" + bytes(100), b"\0\0\0\x20ftypisom" + bytes(100)])
def test_the_beginning_of_a_film_is_no_film(content, tmp_path):
    (tmp_path / "x.mp4").write_bytes(content)
    assert reason_of(tmp_path / "x.mp4")[0] == "quarantined"


def test_frames_may_change_their_size_on_the_way(tmp_path):
    first = film(tmp_path / "a.mpg", map(picture, range(5)), codec="mpeg1video").read_bytes()
    larger = (picture(number, (128, 96)) for number in range(5))
    second = film(tmp_path / "b.mpg", larger, codec="mpeg1video").read_bytes()
    (tmp_path / "x.mpg").write_bytes(first + second)
    kept, _ = parted(tmp_path / "x.mpg")
    shapes = [shape for shape, _ in itertools.groupby(raw.pixels.shape[:2] for raw in kept)]
    assert shapes == [(48, 64), (96, 128)]


def test_a_frame_larger_than_the_bound_ends_the_film(tmp_path):
    path = film(tmp_path / "x.avi", map(picture, range(3)), codec="mjpeg")
    assert reason_of(path, max_pixels=1000) == ("quarantined", "pixel_limit")
    kept, rejected = parted(path, max_frames=2)
    assert (len(kept), rejected) == (2, {("limits", "quarantined"): 1})


def test_a_film_turned_by_its_player_comes_out_upright(tmp_path):
    path = film(tmp_path / "x.mp4", map(picture, range(2)))
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    straight = decoded(path)
    path.write_bytes(content)
    kept, _ = parted(path)
    assert np.array_equal(kept[0].pixels, np.rot90(straight[0], -1))


def test_a_playlist_is_no_film_and_opens_nothing(tmp_path):
    inner = film(tmp_path / "inner.ts", map(picture, range(3)), codec="mpeg1video", container="mpegts")
    lists = {"x.mp4": f"#EXTM3U\n#EXTINF:1,\n{inner}\n", "y.avi": f"ffconcat version 1.0\nfile {inner.name}\n"}
    for name, text in lists.items():
        # Bytes that are no text, so that only the demuxers that are allowed stand in the way.
        (tmp_path / name).write_bytes(text.encode() + b"#" + bytes(range(128, 256)) * 8)
        assert reason_of(tmp_path / name)[0] == "quarantined"


def test_a_member_of_an_archive_is_a_film_too(tmp_path):
    import zipfile

    path = film(tmp_path / "x.avi", map(picture, range(3)), codec="mjpeg")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "films/x.avi")
    items = list(read_frames(RawFile(tmp_path / "x.zip", "films/x.avi"), Bounds(), EVERY))
    assert [item.frame for item in items] == [0, 1, 2]
