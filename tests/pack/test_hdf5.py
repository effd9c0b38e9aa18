"""HDF5 datasets of images: every row an image, read block by block, and nothing outside the file."""

import sys
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from mermed.errors import EnvironmentError_  # noqa: E402
from mermed.pack.readers.raw import Bounds, RawFile, RejectedInput  # noqa: E402
from mermed.pack.readers.reading import read_frames  # noqa: E402
from mermed.pack.treatment import Sampling, Treatment  # noqa: E402


def images(shape, dtype=np.uint8, seed=3):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@pytest.fixture
def save(tmp_path):
    """Write datasets by name into one file; a dict gives its options."""

    def write(options=None, **arrays):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name.replace("__", "/"), data=array, **(options or {}))
        return tmp_path / "a.h5"

    return write


def items_of(path, member="", **bounds):
    treatment = Treatment(sampling=Sampling(max_frames=3))
    return list(read_frames(RawFile(Path(path), member), Bounds(**bounds), treatment))


def reason_of(path, member="", **bounds):
    with pytest.raises(RejectedInput) as caught:
        items_of(path, member, **bounds)
    return caught.value.bin, caught.value.reason_slug


@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (4, 96, 96, 3)}, {"chunks": (1, 96, 96, 3), "compression": "gzip"}, {"chunks": (7, 50, 96, 1)}],
)
def test_a_file_of_patchcamelyon_gives_all_its_patches_in_order(options, save):
    patches = images((10, 96, 96, 3))
    found = items_of(save(options, x=patches))
    assert [image.frame for image in found] == list(range(10))
    assert np.array_equal([image.pixels for image in found], patches)
    assert {(image.scale, image.source_bits) for image in found} == {("display", 8)}


def test_a_dataset_is_found_by_its_path_inside_the_file(save):
    deep, other = images((2, 8, 6), np.int16), images((3, 8, 6))
    path = save(set__train__scans=deep, other=other)
    found = items_of(path, "set/train/scans")
    assert np.array_equal([image.pixels for image in found], deep)
    assert {image.scale for image in found} == {"stored"}
    assert np.array_equal([image.pixels for image in items_of(path, "other")], other)


def test_without_a_name_the_usual_one_or_the_only_one_is_read(save):
    one, two = images((2, 8, 6)), images((2, 8, 6), seed=4)
    for arrays, expected in (({"x": one, "y": two}, one), ({"images": two, "y": one}, two), ({"scans": one}, one)):
        assert np.array_equal([image.pixels for image in items_of(save(**arrays))], expected)
    assert reason_of(save(a=one, b=two)) == ("quarantined", "not_an_image")


def test_a_single_image_and_channels_first_are_read(save):
    (single,) = items_of(save(x=images((9, 7, 3))))
    assert (single.pixels.shape, single.frame) == ((9, 7, 3), None)
    stack = images((4, 3, 9, 7))
    found = items_of(save(x=stack))
    assert np.array_equal([image.pixels for image in found], np.moveaxis(stack, 1, -1))


def test_blocks_of_any_size_give_the_same_images(save, monkeypatch):
    from mermed.pack.readers import hdf5

    patches = images((11, 8, 6))
    path = save({"chunks": (3, 8, 6)}, x=patches)
    for block_bytes in (1, 150, 300, 10**6):
        monkeypatch.setattr(hdf5, "_BLOCK_BYTES", block_bytes)
        assert np.array_equal([image.pixels for image in items_of(path)], patches)


def test_what_lies_outside_the_file_is_never_read(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = images((2, 8, 6))
    (tmp_path / "raw.bin").write_bytes(bytes(2 * 8 * 6))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["linked"] = h5py.ExternalLink(str(secret), "/x")
        file["soft"] = h5py.SoftLink("/linked")
        file["folder"] = h5py.ExternalLink(str(secret), "/")
        file.create_dataset("outside", (2, 8, 6), "u1", external=[(str(tmp_path / "raw.bin"), 0, 2 * 8 * 6)])
        layout = h5py.VirtualLayout((2, 8, 6), "u1")
        layout[:] = h5py.VirtualSource(str(secret), "x", (2, 8, 6))
        file.create_virtual_dataset("virtual", layout)
    for member in ("linked", "soft", "folder/x", "outside", "virtual"):
        assert reason_of(tmp_path / "a.h5", member) == ("quarantined", "path_escape")


@pytest.mark.parametrize(
    ("member", "reason"),
    [("nothing", "missing"), ("group", "missing"), ("x/deeper", "missing"), ("group/none", "missing")],
)
def test_a_name_that_is_not_there_is_missing(member, reason, save):
    assert reason_of(save(x=images((2, 8, 6)), group__inner=images((2, 8, 6))), member) == ("quarantined", reason)


def test_claims_are_checked_before_any_value_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("many", (10**9, 8, 8), "u1", chunks=(1, 8, 8))
        file.create_dataset("wide", (2, 65535, 65535), "u1", chunks=(1, 64, 64))
        file.create_dataset("thick", (2048, 64, 64), "u1", chunks=(2048, 64, 64), compression="gzip")
        file.create_dataset("words", (3,), h5py.string_dtype())
    path = tmp_path / "a.h5"
    assert reason_of(path, "many") == ("quarantined", "limits")
    assert reason_of(path, "wide") == ("quarantined", "pixel_limit")
    assert reason_of(path, "thick", max_bytes=2**20) == ("quarantined", "limits")
    assert reason_of(path, "words") == ("quarantined", "object_array")


def test_a_cut_or_damaged_file_is_an_answer_and_no_crash(save):
    path = save({"chunks": (1, 32, 32), "compression": "gzip"}, x=images((8, 32, 32)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert reason_of(path)[0] == "quarantined"
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 20):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            items = items_of(path)
        except RejectedInput as rejected:
            assert rejected.reason_slug
        else:
            assert sum(getattr(item, "count", 1) for item in items) >= 1


def test_an_hdf5_file_inside_an_archive_is_told_to_be_unpacked(save, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(save(x=images((2, 8, 6))), "a.h5")
    assert reason_of(tmp_path / "a.zip", "a.h5") == ("quarantined", "needs_file")


def test_without_h5py_the_extra_is_named(monkeypatch, save):
    path = save(x=images((2, 8, 6)))
    monkeypatch.delitem(sys.modules, "mermed.pack.readers.hdf5", raising=False)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EnvironmentError_, match=r"pip install 'mermed\[hdf5\]'"):
        items_of(path)
