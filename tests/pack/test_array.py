"""Arrays of .npy files and NPZ archives: every row an image, nothing unpickled, nothing held whole."""

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mermed.pack.readers.raw import Bounds, RawFile, RawImage, RejectedFrame, RejectedInput
from mermed.pack.readers.reading import read_frames
from mermed.pack.treatment import Sampling, Treatment

RNG = np.random.default_rng(7)


def items_of(path, member="", treatment=None, **bounds):
    return list(read_frames(RawFile(Path(path), member), Bounds(**bounds), treatment or Treatment()))


def reason_of(path, member="", **bounds):
    with pytest.raises(RejectedInput) as caught:
        items_of(path, member, **bounds)
    return caught.value.bin, caught.value.reason_slug


@pytest.fixture
def save(tmp_path):
    def write(array, name="a.npy"):
        np.save(tmp_path / name, array, allow_pickle=True)
        return tmp_path / name

    return write


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (9, 7, 1)])
def test_an_array_of_one_image_is_one_image(shape, save):
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    (image,) = items_of(save(array))
    assert np.array_equal(image.pixels, array[..., 0] if shape[-1] == 1 else array)
    assert (image.frame, image.scale, image.source_bits) == (None, "display", 8)


@pytest.mark.parametrize("shape", [(5, 9, 7), (5, 9, 7, 3), (5, 9, 7, 1), (5, 3, 9, 7), (5, 1, 9, 7)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_row_of_a_stack_is_an_image_in_order(shape, order, save):
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    images = items_of(save(np.asarray(array, order=order)))
    expected = np.moveaxis(array, 1, -1) if shape[1] in (1, 3) else array
    expected = expected[..., 0] if expected.shape[-1] == 1 else expected
    assert [image.frame for image in images] == list(range(5))
    assert np.array_equal(np.stack([image.pixels for image in images]), expected)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", ">i4", "<f4", "f8"])
def test_values_of_more_than_8_bits_are_kept_in_native_order(dtype, save):
    array = RNG.integers(0, 4000, (3, 8, 6)).astype(dtype)
    images = items_of(save(array))
    assert np.array_equal(np.stack([image.pixels for image in images]), array)
    assert {image.scale for image in images} == {"stored"}
    assert all(image.pixels.dtype.isnative for image in images)


def test_numbers_that_are_none_are_padding(save):
    array = RNG.random((2, 8, 6)).astype(np.float32)
    array[1, :2] = np.nan
    first, second = items_of(save(array))
    assert first.padding is None
    assert second.padding[:2].all()
    assert not second.padding[2:].any()
    assert np.isfinite(second.pixels).all()


def test_16_bit_colour_keeps_its_upper_bits(save):
    array = RNG.integers(0, 2**16, (2, 8, 6, 3)).astype(">u2")
    assert np.array_equal(np.stack([image.pixels for image in items_of(save(array))]), (array >> 8).astype(np.uint8))


def test_the_arrays_of_a_medmnist_archive_are_read_in_place(tmp_path):
    train = RNG.integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)
    test = RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    for name, save in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        save(tmp_path / name, train_images=train, test_images=test, train_labels=np.arange(6)[:, None])
        assert np.array_equal([image.pixels for image in items_of(tmp_path / name, "train_images.npy")], train)
        assert np.array_equal([image.pixels for image in items_of(tmp_path / name, "test_images.npy")], test)
        assert reason_of(tmp_path / name, "val_images.npy") == ("quarantined", "missing")


def test_all_rows_are_taken_whatever_the_sampling(save):
    path = save(RNG.integers(0, 256, (50, 8, 6), dtype=np.uint8))
    treatment = Treatment(sampling=Sampling(max_frames=4))
    assert len(items_of(path, treatment=treatment)) == 50


def test_an_array_larger_than_the_bound_is_streamed_in_the_memory_of_a_row(tmp_path):
    noise = RNG.integers(0, 256, (256, 256, 256), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=noise)
    assert len(items_of(tmp_path / "a.npz", "x.npy", max_bytes=2**20)) == 256  # and everything is imported
    tracemalloc.start()
    try:
        count = 0
        for number, image in enumerate(
            read_frames(RawFile(tmp_path / "a.npz", "x.npy"), Bounds(max_bytes=2**20), Treatment())
        ):
            assert np.array_equal(image.pixels, noise[number])
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 256
    assert peak < 2**21 < noise.nbytes


class _Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_of_objects_is_refused_and_never_unpickled(kind, tmp_path):
    canary = tmp_path / "canary"
    array = np.array([_Canary(canary)], dtype=object)
    (np.save if kind == "npy" else np.savez)(tmp_path / f"a.{kind}", array)
    assert reason_of(tmp_path / f"a.{kind}", "" if kind == "npy" else "arr_0.npy") == ("quarantined", "object_array")
    assert not canary.exists()
    pickle.loads(pickle.dumps(_Canary(canary))).close()  # noqa: S301  the canary sings when it is unpickled
    assert canary.exists()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(5, np.uint8), "not_an_image"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "not_an_image"),
        (np.zeros((4, 4), np.complex64), "no_decoder"),
        (np.zeros((4, 4), [("a", "u1")]), "no_decoder"),
        (np.zeros((4, 4, 3), np.float32), "no_decoder"),
        (np.zeros((0, 4, 4), np.uint8), "limits"),
        (np.zeros((4, 0), np.uint8), "no_pixels"),
        (np.array("text"), "not_an_image"),
    ],
)
def test_what_is_no_image_is_named(array, reason, save):
    found = reason_of(save(array))
    assert found == ("quarantined", reason) or (array.dtype.kind == "U" and found[1] == "no_decoder")


def test_claims_of_the_header_are_checked_before_anything_is_read(tmp_path):
    def claim(shape, order=False):
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": order, "shape": shape})
        (tmp_path / "a.npy").write_bytes(head.getvalue() + bytes(64))
        return tmp_path / "a.npy"

    assert reason_of(claim((65535, 65535))) == ("quarantined", "pixel_limit")
    assert reason_of(claim((10**9, 8, 8))) == ("quarantined", "limits")
    assert reason_of(claim((100, 8, 8))) == ("quarantined", "truncated")
    assert reason_of(claim((100, 8, 8), order=True)) == ("quarantined", "truncated")
    assert reason_of(claim((-3, 8))) == ("quarantined", "no_pixels")


def test_damage_inside_an_archive_is_known_before_the_first_image(tmp_path):
    np.savez(tmp_path / "a.npz", x=RNG.integers(0, 256, (40, 64, 64), dtype=np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert reason_of(tmp_path / "a.npz", "x.npy") == ("quarantined", "corrupt")


def test_an_array_in_a_zip_of_another_name_is_read_too(tmp_path, save):
    array = RNG.integers(0, 256, (3, 8, 6), dtype=np.uint8)
    path = save(array)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(path, "deep/in/a.npy")
    assert np.array_equal([image.pixels for image in items_of(tmp_path / "all.zip", "deep/in/a.npy")], array)


def test_a_random_header_is_an_answer_and_no_crash(save):
    path = save(RNG.integers(0, 256, (3, 8, 6), dtype=np.uint8))
    content = path.read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        for place in RNG.integers(6, 128, 3):
            damaged[place] = RNG.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert all(isinstance(item, RawImage | RejectedFrame) for item in items_of(path))
        except RejectedInput as rejected:
            assert rejected.reason_slug


def test_the_number_of_images_is_bounded(save):
    path = save(np.zeros((5, 8, 6), np.uint8))
    assert len(items_of(path, max_frames=5)) == 5
    assert reason_of(path, max_frames=4) == ("quarantined", "limits")
