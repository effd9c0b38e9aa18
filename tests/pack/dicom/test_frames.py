"""Objects of several frames: every frame is an image or has a reason, and only one is decoded at a time."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest

from mermed.pack.readers.raw import RawImage, RejectedFrame
from mermed.pack.treatment import Sampling, Treatment

JPEG = "1.2.840.10008.1.2.4.50"


def images(items):
    return [item for item in items if isinstance(item, RawImage)]


def rejected(items):
    counts = Counter()
    for item in items:
        if isinstance(item, RejectedFrame):
            counts[item.reason] += item.count
    return dict(counts)


def sampled(**sampling):
    return Treatment(sampling=Sampling(**sampling))


def encapsulate(frames, **options):
    from pydicom.encaps import encapsulate

    return encapsulate(frames, **options)


def as_jpeg(frame):
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(frame).save(content, "JPEG", quality=95)
    return content.getvalue()


def test_a_volume_gives_all_its_slices_when_they_are_few(write, items_of, noise):
    stack = noise(5, 24, 32, bits=12)
    found = items_of(write(stack, frames=5, Modality="MR")[0])
    assert [image.frame for image in found] == [0, 1, 2, 3, 4]
    assert np.array_equal([image.pixels for image in found], stack)


def test_a_large_volume_is_sampled_evenly_and_the_rest_is_counted(write, items_of, noise):
    path, _ = write(noise(40, 24, 32, bits=12), frames=40, Modality="OPT")
    found = items_of(path, treatment=sampled(max_frames=4))
    assert [image.frame for image in images(found)] == [5, 15, 25, 35]
    assert rejected(found) == {"not_sampled": 36}


def plane(number, *, spacing=0.5, slope=1.0, window=(100.0, 50.0)):
    return {
        "PlanePositionSequence": {"ImagePositionPatient": [0, 0, number]},
        "PixelMeasuresSequence": {"PixelSpacing": [spacing, spacing]},
        "PixelValueTransformationSequence": {
            "RescaleSlope": slope,
            "RescaleIntercept": -1024 + number,
            "RescaleType": "HU",
        },
        "FrameVOILUTSequence": {"WindowCenter": window[0] + number, "WindowWidth": window[1]},
    }


SHARED = {"PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}}


def test_the_functional_groups_of_a_frame_are_its_own(write, items_of, items, noise):
    stack = noise(3, 24, 32, bits=12)
    groups = items(*(plane(number, spacing=0.5 + number) for number in range(3)))
    path, _ = write(
        stack,
        frames=3,
        Modality="CT",
        SharedFunctionalGroupsSequence=items(SHARED),
        PerFrameFunctionalGroupsSequence=groups,
    )
    for number, image in enumerate(items_of(path, treatment=sampled(margin=0.0))):
        assert image.scale == "hounsfield"
        assert np.array_equal(image.pixels, stack[number].astype(int) - 1024 + number)
        assert (image.voi.centre, image.voi.width) == (100.0 + number, 50.0)
        assert image.spacing_mm == (0.5 + number, 0.5 + number)


def test_shared_groups_hold_for_every_frame(write, items_of, items, noise):
    path, _ = write(noise(3, 24, 32, bits=12), frames=3, Modality="MR", SharedFunctionalGroupsSequence=items(plane(0)))
    assert {image.spacing_mm for image in items_of(path)} == {(0.5, 0.5)}


def test_slices_follow_their_positions_and_not_the_file(write, items_of, items, noise):
    places = [7, 2, 9, 0, 5, 1, 8, 3, 6, 4]
    path, _ = write(
        noise(10, 24, 32, bits=12),
        frames=10,
        Modality="MR",
        SharedFunctionalGroupsSequence=items(SHARED),
        PerFrameFunctionalGroupsSequence=items(
            *({"PlanePositionSequence": {"ImagePositionPatient": [3, 4, place]}} for place in places)
        ),
    )
    found = items_of(path, treatment=sampled(margin=0.2))
    assert [places[image.frame] for image in images(found)] == [2, 3, 4, 5, 6, 7]
    assert rejected(found) == {"not_sampled": 4}


@pytest.mark.parametrize("kind", ["native", "rle", "jpeg", "jpeg in pieces"])
def test_a_cine_skips_frames_like_the_one_before(kind, write, items_of):
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (3, 2, 2, 3)).repeat(20, axis=1).repeat(24, axis=2).astype(np.uint8)
    cine = scenes[[0, 0, 0, 1, 1, 2, 2, 2, 0, 0]]
    tags = {"frames": 10, "Modality": "US", "bits": 8, "FrameTime": 33}
    if kind.startswith("jpeg"):
        pieces = 3 if "pieces" in kind else 1
        content = encapsulate([as_jpeg(frame) for frame in cine], fragments_per_frame=pieces)
        tags |= {"PixelData": content, "syntax": JPEG, "PhotometricInterpretation": "YBR_FULL_422"}
    path, dataset = write(cine, **tags)
    if kind == "rle":
        from pydicom.uid import RLELossless

        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    found = items_of(path)
    assert [image.frame for image in images(found)] == [0, 3, 5, 8]
    assert rejected(found) == {"near_duplicate_frame": 6}
    for image in images(found):
        assert np.abs(image.pixels.astype(int) - cine[image.frame]).mean() < (3 if kind.startswith("jpeg") else 0.001)


def test_a_cine_of_one_scene_gives_one_frame_and_a_long_one_is_sampled(write, items_of, noise):
    still = np.repeat(noise(1, 24, 32), 6, axis=0)
    found = items_of(write(still, bits=8, frames=6, Modality="US")[0])
    assert ([image.frame for image in images(found)], rejected(found)) == ([0], {"near_duplicate_frame": 5})
    levels = (np.arange(40, dtype=np.uint8) * 6)[:, None, None] + np.zeros((1, 24, 32), np.uint8)
    found = items_of(write(levels, bits=8, frames=40, Modality="XA")[0], treatment=sampled(max_frames=4))
    assert (len(images(found)), rejected(found)) == (4, {"not_sampled": 36})


def test_a_damaged_frame_ends_a_cine_well(write, items_of, noise):
    frames = [as_jpeg(frame) for frame in noise(6, 24, 32, 3)]
    frames[4] = frames[4][:2] + bytes(len(frames[4]) - 2)
    path, _ = write(
        noise(6, 24, 32, 3),
        bits=8,
        frames=6,
        Modality="US",
        PixelData=encapsulate(frames),
        syntax=JPEG,
        PhotometricInterpretation="YBR_FULL_422",
    )
    found = items_of(path)
    assert [image.frame for image in images(found)] == [0, 1, 2, 3]
    assert rejected(found) == {"corrupt": 2}


def test_a_large_cine_is_never_whole_in_memory(write, items_of):
    rng = np.random.default_rng(0)
    cine = rng.integers(0, 256, (64, 1, 1)).astype(np.uint8) + np.zeros((64, 512, 512), np.uint8)
    path, _ = write(cine, bits=8, frames=64, Modality="US")
    items_of(path, treatment=sampled(max_frames=1))
    tracemalloc.start()
    try:
        found = items_of(path, treatment=sampled(max_frames=4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(images(found)) == 4
    assert peak < 12 * 512 * 512 < cine.nbytes / 4


def test_a_cine_larger_than_the_bound_of_bytes_is_read_frame_by_frame(write, items_of, reason_of, noise):
    path, _ = write(noise(40, 256, 256), bits=8, frames=40, Modality="US")
    assert sum(getattr(item, "count", 1) for item in items_of(path, max_bytes=2**20)) == 40
    frames = [as_jpeg(frame) for frame in noise(3, 256, 256, 3)]
    path, _ = write(noise(3, 256, 256, 3), bits=8, frames=3, PixelData=encapsulate(frames), syntax=JPEG)
    assert reason_of(path, max_bytes=2**10) == ("quarantined", "limits")


def slide(noise, *, side=96, count=12, blank=()):
    tiles = np.full((count, side, side, 3), 240, np.uint8)
    for number in set(range(count)) - set(blank):
        tiles[number] = (200, 80, 160)
        tiles[number, ::7] = noise(side, 3, seed=number)
    return tiles


def test_the_tiles_of_a_slide_need_tissue(write, items_of, noise):
    path, _ = write(slide(noise, blank=(1, 4, 5)), bits=8, frames=12, Modality="SM", TotalPixelMatrixColumns=400)
    found = items_of(path)
    assert sorted(image.frame for image in images(found)) == [0, 2, 3, 6, 7, 8, 9, 10, 11]
    assert rejected(found) == {"blank_tile": 3}


def test_the_tiles_kept_are_the_same_every_time_and_spread_over_the_slide(write, items_of, noise):
    path, _ = write(slide(noise, count=40), bits=8, frames=40, Modality="SM")
    first, again = (items_of(path, treatment=sampled(max_tiles=6)) for _ in range(2))
    numbers = [image.frame for image in images(first)]
    assert numbers == [image.frame for image in images(again)]
    assert (len(numbers), rejected(first)) == (6, {"not_sampled": 34})
    assert max(numbers) - min(numbers) > 15


def test_an_empty_slide_ends_soon(write, items_of):
    path, _ = write(np.full((60, 64, 64, 3), 240, np.uint8), bits=8, frames=60, Modality="SM")
    found = items_of(path, treatment=sampled(max_tiles=2))
    assert rejected(found) == {"blank_tile": 32, "not_sampled": 28}


def test_small_tiles_other_levels_and_labels_are_set_aside(write, items_of, reason_of, items, noise):
    path, _ = write(slide(noise, side=32), bits=8, frames=12, Modality="SM")
    assert rejected(items_of(path)) == {"small_tile": 12}
    coarse = items({"PixelMeasuresSequence": {"PixelSpacing": [0.004, 0.004]}})
    path, _ = write(slide(noise), bits=8, frames=12, Modality="SM", SharedFunctionalGroupsSequence=coarse)
    assert reason_of(path) == ("excluded", "other_level")
    assert reason_of(path, treatment=sampled(tile_um=1.9)) == ("excluded", "other_level")
    assert len(images(items_of(path, treatment=sampled(tile_um=2.0)))) == 12
    path, _ = write(noise(96, 96, 3), bits=8, Modality="SM", ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    assert reason_of(path) == ("excluded", "slide_label")


@pytest.mark.parametrize("frames", [2, 7, 33])
@pytest.mark.parametrize("modality", ["US", "MR", "SM", "OPT"])
def test_every_frame_is_accounted_for_once(frames, modality, write, items_of, noise):
    path, _ = write(noise(frames, 64, 64, seed=frames), bits=8, frames=frames, Modality=modality)
    found = items_of(path, treatment=sampled(max_frames=5, max_tiles=3))
    assert sum(getattr(item, "count", 1) for item in found) == frames
    numbers = [image.frame for image in images(found)]
    assert len(set(numbers)) == len(numbers)
