"""DALI as the decoder: our order, our keys and, where it decodes a canvas-sized image, our pixels."""

import io
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mermed.batch import EncodedBatch, Position
from mermed.config import StreamConfig
from mermed.contract import EncodedSample, SampleMeta
from mermed.errors import EnvironmentError_, IntegrityError
from mermed.stream.dali_decode import DaliDecoder
from mermed.stream.decode import Decoder

pytest.importorskip("nvidia.dali")

CANVAS_PX = 64


def _picture(height, width, seed):
    """Smooth colour with an edge: what a JPEG is made for, and what shows a shift of half a pixel."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [128 + 90 * np.sin(6 * (x * (c + 1) + y * (3 - c)) + seed) for c in range(3)]
    picture = np.stack(waves, -1)
    picture[height // 3 : height // 2, width // 4 : width // 2] = (230, 40, 90)
    return picture.clip(0, 255).astype(np.uint8)


def _sample(key, height, width, form="JPEG", grey=False, **options):
    pixels = _picture(height, width, sum(key.encode()))
    if form == "deep":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
        facts, form = {"source_bits": 16, "window": (20000.0, 30000.0), "rescale": (1.0, 0.0)}, "PNG"
    else:
        image, facts = Image.fromarray(pixels[..., 0] if grey else pixels), {"source_bits": 8}
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    meta = SampleMeta(
        key=key, modality="derm", dataset="made", split="train", group=key, width=width, height=height, **facts
    )
    return EncodedSample(image=buffer.getvalue(), meta=meta, extension="jpg" if form == "JPEG" else "png")


def _batch(samples, first=0):
    count = len(samples)
    return EncodedBatch(
        images=tuple(sample.image for sample in samples),
        meta=tuple(sample.meta for sample in samples),
        modality=np.arange(count, dtype=np.int64),
        slot=np.arange(first, first + count, dtype=np.int64),
        position=Position(first + count),
    )


def _canvases(kind, batches, **options):
    """Copies of what a decoder yields: its buffers are used again."""
    with kind(iter(batches), batch=4, canvas_px=CANVAS_PX, **options) as decoder:
        return [replace(got, pixels=got.pixels.clone(), size_px=got.size_px.clone()) for got in decoder]


@pytest.fixture
def fitting():
    """Batches of images no larger than the canvas, the last one partial, large ones before small ones."""
    full = [_sample("a", 64, 64, quality=95, subsampling=0), _sample("b", 64, 64, grey=True, quality=90)]
    full += [_sample("c", 64, 48, quality=90, subsampling=2), _sample("d", 41, 64, form="PNG")]
    small = [_sample(f"s{n}", 20 + n, 33 - n, quality=95, subsampling=0) for n in range(4)]
    return [_batch(full), _batch(small, 4), _batch(full[2:], 8), _batch([_sample("w", 30, 50, form="deep")], 10)]


def test_images_that_fit_have_the_pixels_keys_and_order_of_our_own_decoder(fitting):
    ours, dalis = _canvases(Decoder, fitting), _canvases(DaliDecoder, fitting)
    assert [len(batch) for batch in dalis] == [4, 4, 2, 1]
    for own, other in zip(ours, dalis, strict=True):
        np.testing.assert_array_equal(other.pixels.numpy(), own.pixels.numpy())
        np.testing.assert_array_equal(other.size_px.numpy(), own.size_px.numpy())
        assert other.meta == own.meta and other.position == own.position
        assert other.slot.tolist() == own.slot.tolist() and other.modality.tolist() == own.modality.tolist()


def test_larger_images_are_reduced_to_our_size_with_antialiasing():
    batch = _batch([_sample("wide", 150, 200, subsampling=0), _sample("tall", 97, 65), _sample("p", 300, 300)])
    (own,), (other,) = _canvases(Decoder, [batch]), _canvases(DaliDecoder, [batch])
    assert other.size_px.tolist() == own.size_px.tolist() == [[48, 64], [64, 43], [64, 64]]
    difference = (other.pixels.int() - own.pixels.int()).abs().numpy()
    assert difference.max() <= 3 and difference.mean() < 0.15
    for canvas, (height, width) in zip(other.pixels, other.size_px.tolist(), strict=True):
        assert not canvas[:, height:].any() and not canvas[:, :, width:].any()


def _broken(kind):
    good = _sample("bad", 64, 64, quality=95)
    scan = good.image.index(b"\xff\xda")
    image = {"cut": good.image[: scan + 40], "no scan": good.image[:scan], "empty": b"", "text": b"not an image" * 20}
    return replace(good, image=image[kind])


@pytest.mark.parametrize("kind", ["cut", "no scan", "empty", "text"])
def test_bytes_that_do_not_decode_are_named_by_their_key(fitting, kind):
    batch = _batch([_sample("a", 64, 64), _broken(kind), _sample("c", 64, 64)])
    with pytest.raises(IntegrityError, match="derm/made/train, key bad"):
        _canvases(DaliDecoder, [fitting[0], batch])


@pytest.mark.parametrize("kind", ["cut", "no scan", "text"])
def test_an_image_that_does_not_decode_is_replaced_and_the_pipeline_lives_on(fitting, kind):
    batches = [_batch([_sample("a", 64, 64), _broken(kind)]), fitting[0], fitting[1]]
    asked = []

    def spare(slot, failed, error):
        asked.append((slot, set(failed)))
        return _sample("spare", 50, 64)

    first, *rest = _canvases(DaliDecoder, batches, replace=spare)
    assert asked == [(1, {"bad"})]
    assert [meta.key for meta in first.meta] == ["a", "spare"] and first.size_px.tolist() == [[64, 64], [50, 64]]
    for own, other in zip(_canvases(Decoder, batches[1:]), rest, strict=True):
        np.testing.assert_array_equal(other.pixels.numpy(), own.pixels.numpy())


def test_a_failure_that_is_no_images_fault_ends_the_stream_and_says_so(fitting, monkeypatch):
    def fail(*_):
        raise RuntimeError("Critical error in pipeline\nAssert on out of memory failed")

    monkeypatch.setattr("mermed.dali.DaliPipeline.__call__", fail)
    monkeypatch.setattr("mermed.stream.dali_decode.undecodable", lambda _: [])
    with pytest.raises(EnvironmentError_, match="out of memory"):
        _canvases(DaliDecoder, fitting)


def test_leaving_early_leaves_no_thread_of_ours(fitting):
    with DaliDecoder(iter(fitting * 20), batch=4, canvas_px=CANVAS_PX, num_threads=2) as decoder:
        next(decoder)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mermed-")]


def test_without_dali_the_answer_is_the_extra(collection, monkeypatch):
    from mermed.config import MixConfig
    from mermed.contract import load_manifest
    from mermed.stream.order.plan import Plan
    from mermed.stream.supply import Supply

    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    config = StreamConfig(decoder="dali")
    plan = Plan(load_manifest(collection), MixConfig(), config, 0)
    with (
        Supply(plan, collection, list, config) as supply,
        pytest.raises(EnvironmentError_, match=r"mermed\[dali\]"),
        supply.canvases(batch=4, num_threads=1),
    ):
        pass
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mermed-")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_canvases_made_on_a_gpu_lie_there_and_differ_from_ours_by_rounding(fitting):
    ours, dalis = _canvases(Decoder, fitting), _canvases(DaliDecoder, fitting, device=0, pin=True)
    for own, other in zip(ours, dalis, strict=True):
        assert other.pixels.device == torch.device("cuda", 0)
        assert other.size_px.tolist() == own.size_px.tolist() and other.meta == own.meta
        difference = (other.pixels.cpu().int() - own.pixels.int()).abs().numpy()
        assert difference.mean() < 0.5 and np.quantile(difference, 0.999) <= 4
