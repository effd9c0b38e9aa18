"""Loader and decoder on real shards: every byte checked, every order kept, every damage named, no thread left."""

import io
import json
import shutil
import threading
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from PIL import Image

from mermed import tar
from mermed.batch import Position
from mermed.config import MixConfig, StreamConfig
from mermed.contract import load_manifest
from mermed.errors import ContractError, IntegrityError, SampleError
from mermed.stream.canvases import CanvasStream
from mermed.stream.decode import Decoder
from mermed.stream.image import decode_rgb, fitted
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.scan import canvases_in_order
from mermed.stream.store import LocalStore
from mermed.world import World

CANVAS_PX = 96


def _plan(folder):
    return Plan(load_manifest(folder), MixConfig(), StreamConfig(), 0)


def _stream(folder, *, batch=14, num_batches=4, first_slot=0, world=None, num_threads=2, ahead=2):
    offsets = (world or World()).share(batch)
    shares = rank_shares(first_slot, batch, offsets, num_batches)
    return CanvasStream(
        _plan(folder),
        SampleReader(LocalStore(folder)).read,
        shares,
        batch=len(offsets),
        canvas_px=CANVAS_PX,
        num_threads=num_threads,
        ahead=ahead,
    )


def _keys(stream):
    with stream:
        return [meta.key for canvases in stream for meta in canvases.meta]


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("ahead", [1, 4])
def test_threads_and_read_ahead_change_nothing(collection, num_threads, ahead):
    expected = _keys(_stream(collection))
    assert len(expected) == 56
    assert _keys(_stream(collection, num_threads=num_threads, ahead=ahead)) == expected


def test_the_ranks_together_read_the_batches_of_one(collection):
    whole = np.array(_keys(_stream(collection))).reshape(4, 14)
    parts = [_keys(_stream(collection, world=World(rank=r, num_ranks=2))) for r in range(2)]
    assert np.concatenate([np.array(part).reshape(4, 7) for part in parts], axis=1).tolist() == whole.tolist()


def test_a_stream_that_starts_later_goes_on_in_the_same_order(collection):
    assert _keys(_stream(collection, first_slot=14, num_batches=3)) == _keys(_stream(collection))[14:]


def test_a_canvas_holds_the_stored_image_and_zeros(collection):
    reader = _plan(collection)
    with _stream(collection, num_batches=1) as stream:
        canvases = next(stream)
        assert canvases.position == Position(14)
        for row, reference in enumerate(reader.batch(range(14))):
            stored = _stored(collection, reference)
            height, width = canvases.size_px[row].tolist()
            assert max(height, width) <= CANVAS_PX
            assert canvases.modality[row] == reference.modality
            if max(stored.size) <= CANVAS_PX:
                assert np.array_equal(canvases.pixels[row, :, :height, :width].permute(1, 2, 0), stored.convert("RGB"))
            else:
                assert max(height, width) == CANVAS_PX
            assert not canvases.pixels[row, :, height:].any()
            assert not canvases.pixels[row, :, :, width:].any()


def _stored(folder, reference):
    row = reference.row
    span = tar.parse_index((folder / row.index_name).read_text(), row.name)[reference.index]
    content = (folder / row.name).read_bytes()
    return Image.open(io.BytesIO(content[span.image.offset : span.image.offset + span.image.size]))


def test_buffers_are_reused_and_never_those_in_use(collection):
    with _stream(collection, num_batches=12) as stream:
        places = [next(stream).pixels.data_ptr() for _ in range(12)]
    assert len(set(places)) == 3
    assert all(one != two for one, two in pairwise(places))


def test_leaving_early_leaves_no_thread(collection):
    before = threading.active_count()
    for _ in range(10):
        with _stream(collection, num_batches=100) as stream:
            next(stream)
    assert threading.active_count() == before


def test_waits_of_both_queues_are_counted(collection):
    with _stream(collection) as stream:
        list(stream)
        stats = stream.stats()
    assert {"encoded_get_wait_s", "encoded_put_wait_s", "canvas_get_wait_s", "canvas_occupancy"} <= set(stats)
    assert stats["canvas_get_wait_s"] > 0


def test_scanning_meets_every_sample_once_in_manifest_order(collection):
    manifest = load_manifest(collection)
    met = [
        (meta.modality, meta.dataset, meta.split)
        for canvases in canvases_in_order(
            collection, manifest.shards, manifest.modalities, canvas_px=CANVAS_PX, batch=10, num_threads=2
        )
        for meta in canvases.meta
    ]
    expected = [(row.modality, row.dataset, row.split) for row in manifest.shards for _ in range(row.samples)]
    assert met == expected


@pytest.fixture
def damaged(collection, tmp_path):
    """A copy of the collection to damage, and the row of its first shard of ultrasound training images."""
    folder = tmp_path / "damaged"
    shutil.copytree(collection, folder)
    row = next(row for row in load_manifest(folder).shards if row.modality == "us" and row.split == "train")
    return folder, row


def _read_all(folder):
    with _stream(folder, num_batches=20) as stream:
        for _ in stream:
            pass


def test_a_flipped_byte_is_named_by_shard_and_key(damaged):
    folder, row = damaged
    content = bytearray((folder / row.name).read_bytes())
    span = tar.parse_index((folder / row.index_name).read_text(), row.name)[1]
    for place in (span.image.offset + span.image.size // 2, span.meta.offset + 5):
        content[place] ^= 0x10
        (folder / row.name).write_bytes(content)
        with pytest.raises(IntegrityError) as caught:
            _read_all(folder)
        assert row.name in str(caught.value)
        assert span.key in str(caught.value)
        content[place] ^= 0x10


def test_a_cut_shard_is_refused_before_anything_is_read_from_it(damaged):
    folder, row = damaged
    content = (folder / row.name).read_bytes()
    (folder / row.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(IntegrityError, match=row.name):
        _read_all(folder)


def test_a_missing_shard_is_named(damaged):
    folder, row = damaged
    (folder / row.name).unlink()
    with pytest.raises(IntegrityError, match=row.name):
        _read_all(folder)


def test_a_stale_index_is_refused(damaged):
    folder, row = damaged
    path = folder / row.index_name
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    with pytest.raises(IntegrityError, match="stale"):
        _read_all(folder)


def test_a_newer_format_is_refused(damaged):
    folder, _ = damaged
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 2}))
    with pytest.raises(ContractError, match="another format version"):
        load_manifest(folder)


def test_an_error_comes_at_its_place_in_the_order_and_not_before(damaged):
    folder, row = damaged
    references = [r for r in _plan(folder).batch(range(280)) if r.row == row]
    place = next(number for number, r in enumerate(_plan(folder).batch(range(280))) if r is not None and r.row == row)
    span = tar.parse_index((folder / row.index_name).read_text(), row.name)[references[-1].index]
    content = bytearray((folder / row.name).read_bytes())
    content[span.image.offset + 50] ^= 1
    (folder / row.name).write_bytes(content)
    first_bad = min(r.slot for r in references if r.index == references[-1].index)
    assert place <= first_bad
    with Loader(
        _plan(folder), SampleReader(LocalStore(folder)).read, rank_shares(0, 7, range(7), 40), num_threads=2
    ) as loader:
        for _ in range(first_bad // 7):
            next(loader)
        with pytest.raises(IntegrityError, match=span.key):
            next(loader)


def test_bytes_that_are_no_image_are_a_sample_error():
    with pytest.raises(SampleError, match="does not decode"):
        decode_rgb(b"\xff\xd8\xff no image")


def test_an_image_that_does_not_decode_is_named_by_its_key(collection):
    plan, store = _plan(collection), LocalStore(collection)
    with Loader(plan, SampleReader(store).read, rank_shares(0, 7, range(7), 2), num_threads=1) as loader:
        batch = next(loader)
        broken = replace(batch, images=(*batch.images[:3], b"no image", *batch.images[4:]))
        with Decoder(iter([broken]), batch=7, canvas_px=CANVAS_PX, num_threads=1) as decoder:
            with pytest.raises(IntegrityError, match=batch.meta[3].key):
                next(decoder)


def test_sixteen_bits_scale_to_eight_and_grey_repeats():
    ramp = np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    pixels = decode_rgb(buffer.getvalue())
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[..., 0], ramp / 257, atol=0.5)
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize(
    ("window", "rescale"), [((40.0, 400.0), (1.0, -1024.0)), ((2.5, 0.7), (1e-3, -1.0)), ((2000.0, 4095.0), (1.0, 0.0))]
)
def test_sixteen_bits_are_shown_through_the_window_of_their_json(collection, window, rescale):
    stored = np.random.default_rng(0).integers(0, 4096, (40, 30), dtype=np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "PNG")
    values = stored.astype(float) * rescale[0] + rescale[1]
    expected = np.clip((values - window[0] + window[1] / 2) / window[1], 0, 1) * 255
    meta = msgspec.structs.replace(_first_meta(collection), window=window, rescale=rescale)
    pixels = decode_rgb(buffer.getvalue(), meta)
    assert (pixels.shape, pixels.dtype) == ((40, 30, 3), np.uint8)
    for channel in range(3):
        np.testing.assert_allclose(pixels[..., channel], expected, atol=0.501)


def test_a_canvas_of_sixteen_bits_goes_through_its_window_too(collection):
    plan, store = _plan(collection), LocalStore(collection)
    ramp = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    with Loader(plan, SampleReader(store).read, rank_shares(0, 7, range(7), 2), num_threads=1) as loader:
        batch = next(loader)
        meta = msgspec.structs.replace(batch.meta[2], window=(1500.0, 3000.0), rescale=(1.0, 0.0), height=60, width=50)
        images = (*batch.images[:2], buffer.getvalue(), *batch.images[3:])
        deep = replace(batch, images=images, meta=(*batch.meta[:2], meta, *batch.meta[3:]))
        with Decoder(iter([deep]), batch=7, canvas_px=CANVAS_PX, num_threads=1) as decoder:
            canvas = next(decoder).pixels[2]
    np.testing.assert_allclose(canvas[1, :60, :50].numpy(), ramp * (255 / 3000), atol=0.501)
    assert not canvas[:, 60:].any()


def _first_meta(collection):
    with Loader(
        _plan(collection), SampleReader(LocalStore(collection)).read, rank_shares(0, 7, range(7), 1), num_threads=1
    ) as loader:
        return next(loader).meta[0]


def test_fitting_keeps_the_aspect_and_never_enlarges():
    assert fitted(200, 100, 50) == (50, 25)
    assert fitted(20, 10, 50) == (20, 10)
    assert fitted(1000, 3, 50) == (50, 1)
