"""NIfTI volumes: axial slices whatever the stored axes, values as scaled, and bad headers refused before the voxels."""

import gzip
import struct
import time
import zipfile

import numpy as np
import pytest

from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Sampling, Treatment

nib = pytest.importorskip("nibabel")
ALL = Treatment(sampling=Sampling(max_frames=1000, margin=0.0, least_content=0.0))


def body(shape=(12, 16, 10), low=-1000, high=400):
    """A volume without symmetry: an off-centre box whose values name their voxel, in air."""
    volume = np.full(shape, low, np.int16)
    inner = tuple(slice(2, size - 1) for size in shape)
    volume[inner] = np.arange(volume[inner].size).reshape(volume[inner].shape) % (high + 100) - 100
    return volume


def save(path, volume, affine=None, **fields):
    image = nib.Nifti1Image(volume, np.diag([0.8, 0.7, 2.5, 1.0]) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def frames_of(path, treatment=ALL, **bounds):
    return list(read_frames(RawFile(path), Bounds(**bounds), treatment))


def images_of(path, treatment=ALL):
    return [item for item in frames_of(path, treatment) if isinstance(item, RawImage)]


def reason_of(path, **bounds):
    with pytest.raises(RejectedInput) as caught:
        frames_of(path, **bounds)
    return caught.value.bin, caught.value.reason_slug


def patch(path, offset, kind, *values):
    """Overwrite bytes of the header of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(f"<{kind}", content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "RPI", "SAR", "ASL", "PIR", "IRP", "LSA", "SPL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_axial_slices_are_the_same_whatever_axes_are_stored(codes, suffix, tmp_path):
    """A20: the truth is nibabel's own reorientation, and its whole array."""
    image = nib.Nifti1Image(body(), np.diag([0.8, 0.7, 2.5, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == codes
    nib.save(turned, tmp_path / f"x{suffix}")
    found = images_of(tmp_path / f"x{suffix}")
    assert [raw.frame for raw in found] == list(range(10))
    for raw in found:
        # From RAS: front at the top, and the patient's left at the right of the picture.
        assert np.array_equal(raw.pixels, body()[::-1, ::-1, raw.frame].T)
        assert raw.spacing_mm == pytest.approx((0.7, 0.8))


def test_oblique_volumes_are_cut_along_the_nearest_axis(tmp_path):
    turn = np.radians(20)
    affine = np.array(
        [[np.cos(turn), 0, np.sin(turn), 0], [0, 1, 0, 0], [-np.sin(turn), 0, np.cos(turn), 0], [0, 0, 0, 1]]
    )
    found = images_of(save(tmp_path / "x.nii", body(), affine))
    assert np.array_equal(found[3].pixels, body()[::-1, ::-1, 3].T)
    assert found[3].spacing_mm == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_that_slice_with_the_head_or_the_front_at_the_top(axis, tmp_path):
    thin = body().take([5], axis)
    (found,) = images_of(save(tmp_path / "x.nii", thin))
    expected = {0: lambda a: a[0, ::-1, ::-1].T, 1: lambda a: a[::-1, 0, ::-1].T, 2: lambda a: a[::-1, ::-1, 0].T}
    assert np.array_equal(found.pixels, expected[axis](thin))
    assert found.spacing_mm == pytest.approx({0: (2.5, 0.7), 1: (2.5, 0.8), 2: (0.7, 0.8)}[axis])


def test_air_makes_hounsfield_units_and_nothing_else_does(tmp_path):
    assert images_of(save(tmp_path / "hu.nii", body()))[4].scale == "hounsfield"
    assert images_of(save(tmp_path / "offset.nii", body() + np.int16(1024)))[4].scale == "stored"
    assert images_of(save(tmp_path / "byte.nii", (body() > 0).astype(np.uint8) * 200))[4].scale == "display"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(("slope", "inter"), [(1.0, 0.0), (2.0, -1024.0), (0.5, 0.25)])
def test_values_are_scaled_as_nibabel_scales_them(dtype, slope, inter, tmp_path):
    stored = np.random.default_rng(0).integers(0, 200, (6, 5, 4)).astype(dtype)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(slope, inter)
    (tmp_path / "x.nii").write_bytes(image.header.binaryblock[:352] + bytes(4) + stored.tobytes(order="F"))
    patch(tmp_path / "x.nii", 108, "f", 352.0)
    expected = nib.load(tmp_path / "x.nii").get_fdata()
    for raw in images_of(tmp_path / "x.nii"):
        assert np.allclose(raw.pixels, expected[::-1, ::-1, raw.frame].T, rtol=0, atol=1e-9)


def test_both_byte_orders_are_read(tmp_path):
    image = nib.Nifti1Image(body(), np.eye(4), nib.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    nib.save(image, tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    assert np.array_equal(images_of(tmp_path / "x.nii")[3].pixels, body()[::-1, ::-1, 3].T)


@pytest.mark.parametrize("kind", [nib.Nifti2Image, nib.Nifti1Pair, nib.Nifti2Pair])
def test_the_second_version_and_pairs_of_files_are_read(kind, tmp_path):
    image = kind(body(), np.eye(4))
    name = "x.img" if "Pair" in kind.__name__ else "x.nii"
    nib.save(image, tmp_path / name)
    for path in tmp_path.iterdir():
        assert np.array_equal(images_of(path)[3].pixels, body()[::-1, ::-1, 3].T)


def test_half_a_pair_says_what_is_missing(tmp_path):
    nib.save(nib.Nifti1Pair(body(), np.eye(4)), tmp_path / "x.img")
    (tmp_path / "x.img").unlink()
    assert reason_of(tmp_path / "x.hdr") == ("quarantined", "missing")
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (tmp_path / "x.img").symlink_to(tmp_path / "secret.bin")
    assert reason_of(tmp_path / "x.hdr") == ("quarantined", "missing")


def test_colour_voxels_become_rgb(tmp_path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours = np.random.default_rng(0).integers(0, 255, (6, 5, 4, 3), dtype=np.uint8)
    volume = np.ascontiguousarray(colours).view(kind)[..., 0]
    found = images_of(save(tmp_path / "x.nii", volume))
    assert (found[2].scale, found[2].source_bits) == ("display", 8)
    assert np.array_equal(found[2].pixels, colours[::-1, ::-1, 2].transpose(1, 0, 2))


def test_voxels_that_are_no_number_are_padding(tmp_path):
    volume = body().astype(np.float32)
    volume[3, 4, 5] = np.nan
    raw = images_of(save(tmp_path / "x.nii", volume))[5]
    assert np.array_equal(np.argwhere(raw.padding), [[16 - 1 - 4, 12 - 1 - 3]])
    assert np.isfinite(raw.pixels).all()


def test_the_range_a_header_asks_for_is_its_window(tmp_path):
    raw = images_of(save(tmp_path / "x.nii", body(), cal_min=-160, cal_max=240))[3]
    assert (raw.voi.centre, raw.voi.width) == (40.0, 400.0)


def test_sampling_accounts_for_every_slice(tmp_path):
    path = save(tmp_path / "x.nii", body((12, 16, 60)))
    items = frames_of(path, Treatment(sampling=Sampling(max_frames=8)))
    kept = [item.frame for item in items if isinstance(item, RawImage)]
    assert kept == [9, 15, 21, 27, 33, 39, 45, 51]
    assert [(item.reason, item.bin, item.count) for item in items[8:]] == [("not_sampled", "excluded", 52)]


def test_empty_slices_are_told_apart_from_those_not_chosen(tmp_path):
    volume = body((12, 16, 20))
    volume[:, :, :8] = -1000
    items = frames_of(save(tmp_path / "x.nii.gz", volume), Treatment(sampling=Sampling(margin=0.0)))
    assert [item.frame for item in items if isinstance(item, RawImage)] == list(range(8, 19))
    (empty,) = (item for item in items if isinstance(item, RejectedFrame))
    assert (empty.reason, empty.bin, empty.count, empty.frame) == ("little_content", "excluded", 9, 0)


def test_of_several_volumes_the_first_is_cut_and_all_are_counted(tmp_path):
    series = np.stack([body(), body() + np.int16(7), body() - np.int16(9)], axis=-1)
    items = frames_of(save(tmp_path / "x.nii.gz", series))
    assert np.array_equal(items[3].pixels, body()[::-1, ::-1, 3].T)
    assert [(item.reason, item.count) for item in items[10:]] == [("not_sampled", 20)]


def test_a_name_in_gz_that_is_not_gzip_is_read_as_it_is(tmp_path):
    plain = save(tmp_path / "x.nii", body())
    plain.rename(tmp_path / "x.nii.gz")
    assert [raw.notes for raw in images_of(tmp_path / "x.nii.gz")] == [("not_gzip",)] * 10


def test_a_gzip_file_that_is_not_named_so_is_unfolded(tmp_path):
    save(tmp_path / "x.nii.gz", body()).rename(tmp_path / "x.nii")
    assert len(images_of(tmp_path / "x.nii")) == 10


@pytest.mark.parametrize(
    ("offset", "kind", "values", "expected"),
    [
        (40, "h", [-5], "corrupt"),
        (42, "h", [-5], "corrupt"),
        (46, "h", [0], "corrupt"),
        (70, "h", [999], "corrupt"),
        (70, "h", [32], "no_decoder"),
        (112, "f", [float("nan")], "corrupt"),
        (112, "f", [float("inf")], "corrupt"),
        (116, "f", [float("nan")], "corrupt"),
        (108, "f", [float("nan")], "corrupt"),
        (108, "f", [20.0], "corrupt"),
        (108, "f", [1e9], "truncated"),
        (42, "h", [300], "truncated"),
        (42, "hh", [32767, 32767], "pixel_limit"),
        (280, "4f", [float("nan")] * 4, "corrupt"),
        (280, "12f", [0.0] * 12, "corrupt"),
    ],
)
def test_a_bad_header_has_its_reason(offset, kind, values, expected, tmp_path):
    """A19: dim -5, data type 999, a slope that is no number, and their kin."""
    path = patch(save(tmp_path / "x.nii", body()), offset, kind, *values)
    assert reason_of(path) == ("quarantined", expected)
    with path.open("rb") as file, gzip.open(tmp_path / "y.nii.gz", "wb") as folded:
        folded.write(file.read())
    assert reason_of(tmp_path / "y.nii.gz")[0] == "quarantined"


def test_a_cut_file_is_truncated_folded_or_not(tmp_path):
    plain, folded = save(tmp_path / "x.nii", body()), save(tmp_path / "y.nii.gz", body())
    plain.write_bytes(plain.read_bytes()[:-1])
    assert reason_of(plain) == ("quarantined", "truncated")
    whole = folded.read_bytes()
    for length in (400, len(whole) // 2 + 300, len(whole) - 4):
        folded.write_bytes(whole[:length])
        assert reason_of(folded) == ("quarantined", "truncated"), length


def test_a_damaged_header_in_a_gzip_stream_is_named_too(tmp_path):
    folded = save(tmp_path / "x.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (32, 32, 20), np.int16))
    content = bytearray(folded.read_bytes())
    content[300:340] = bytes(range(200, 240))
    folded.write_bytes(content)
    assert reason_of(folded) == ("quarantined", "corrupt")


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0), (7, None)])
def test_units_of_length_count_and_unknown_ones_give_no_spacing(code, factor, tmp_path):
    raw = images_of(patch(save(tmp_path / "x.nii", body()), 123, "B", code))[3]
    assert raw.spacing_mm == (None if factor is None else pytest.approx((0.7 * factor, 0.8 * factor)))


def test_a_huge_scale_stays_a_number(tmp_path):
    raw = images_of(patch(save(tmp_path / "x.nii", body()), 112, "f", 2.0**100))[3]
    assert raw.pixels.max() == body()[..., 3].max() * 2.0**100


def test_a_flipped_byte_behind_the_last_chosen_slice_is_still_noticed(tmp_path):
    folded = save(tmp_path / "x.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (32, 32, 20), np.int16))
    content = bytearray(folded.read_bytes())
    content[-100] ^= 1
    folded.write_bytes(content)
    with pytest.raises(RejectedInput) as caught:
        frames_of(folded, Treatment(sampling=Sampling(max_frames=1)))
    assert caught.value.reason_slug == "corrupt"


def test_a_header_that_claims_terabytes_is_refused_at_once(tmp_path):
    path = patch(save(tmp_path / "x.nii", body()), 42, "hhh", 4000, 4000, 500)
    with path.open("rb") as file, gzip.open(tmp_path / "y.nii.gz", "wb") as folded:
        folded.write(file.read())
    start = time.perf_counter()
    assert reason_of(tmp_path / "y.nii.gz") == ("quarantined", "file_limit")
    assert reason_of(tmp_path / "y.nii.gz", max_bytes=2**40) == ("quarantined", "truncated")
    assert time.perf_counter() - start < 1.0


def test_a_gzip_bomb_is_not_unfolded(tmp_path):
    header = save(tmp_path / "x.nii", body()).read_bytes()
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=9) as folded:
        folded.write(header)
        for _ in range(64):
            folded.write(bytes(2**20))
    assert (tmp_path / "bomb.nii.gz").stat().st_size < 2**18
    assert reason_of(tmp_path / "bomb.nii.gz") == ("quarantined", "limits")


def test_a_volume_in_an_archive_is_read_in_place(tmp_path):
    for name in ("x.nii", "x.nii.gz"):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.write(save(tmp_path / name, body()), f"a/{name}")
        items = list(read_frames(RawFile(tmp_path / "x.zip", f"a/{name}"), Bounds(), ALL))
        assert np.array_equal(items[3].pixels, body()[::-1, ::-1, 3].T)
        (tmp_path / "x.zip").unlink()
    nib.save(nib.Nifti1Pair(body(), np.eye(4)), tmp_path / "x.img")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x.hdr", "x.hdr")
    with pytest.raises(RejectedInput) as caught:
        list(read_frames(RawFile(tmp_path / "x.zip", "x.hdr"), Bounds(), ALL))
    assert caught.value.reason_slug == "needs_file"


def test_slices_beyond_the_bound_are_refused(tmp_path):
    path = save(tmp_path / "x.nii", body())
    assert reason_of(path, max_frames=9) == ("quarantined", "limits")
    assert reason_of(path, max_pixels=100) == ("quarantined", "pixel_limit")
    assert reason_of(path, max_bytes=1000) == ("quarantined", "file_limit")


def test_nothing_a_header_says_in_words_is_in_a_frame_or_a_reason(tmp_path):
    words = {"descrip": b"JANE DOE", "db_name": b"MRN-4711", "aux_file": b"JANE DOE"}
    image = nib.Nifti1Image(body(), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"JANE DOE MRN-4711"))
    for name, value in words.items():
        image.header[name] = value
    nib.save(image, tmp_path / "x.nii")
    found = frames_of(tmp_path / "x.nii")
    assert not any(word in repr(item) for item in found for word in ("JANE", "4711"))
    assert np.array_equal(found[3].pixels, body()[::-1, ::-1, 3].T)
