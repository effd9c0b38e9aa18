"""Canvases tell where they show something, and keep 16 bits, where views need it and nowhere else."""

import io
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image

from mermed.batch import EncodedBatch, Position
from mermed.contract import SampleMeta
from mermed.errors import IntegrityError
from mermed.stream.content import CELLS, content_cells
from mermed.stream.decode import Decoder, Needs
from mermed.stream.image import decode_rgb, window_shares

CANVAS_PX = 96
CT, CXR = 0, 1


def meta(height, width, **more):
    known = {"key": "a", "dataset": "d", "split": "train", "group": "g", "modality": "ct", "source_bits": 16}
    return SampleMeta(**{**known, "height": height, "width": width, **more})


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def decode(samples, needs, modality=None):
    """One batch of (values, meta) as the decoder gives it."""
    batch = EncodedBatch(
        images=tuple(png(values) for values, _ in samples),
        meta=tuple(said for _, said in samples),
        modality=np.zeros(len(samples), np.int64) if modality is None else np.array(modality),
        slot=np.arange(len(samples)),
        position=Position(0),
    )
    with Decoder(iter([batch]), batch=len(samples), canvas_px=CANVAS_PX, needs=needs) as decoder:
        canvases = next(decoder)
        return replace(canvases, pixels=canvases.pixels.clone(), size_px=canvases.size_px.clone())


def deep(height, width, low=1000, high=5000, seed=0):
    values = np.random.default_rng(seed).integers(low, high, (height, width)).astype(np.uint16)
    return values, meta(height, width, window=(2000.0, 4000.0), rescale=(1.0, -1000.0))


def stored(canvas):
    red, green, blue = canvas.numpy().astype(np.int64)
    np.testing.assert_array_equal(red, blue)
    return 256 * red + green


def test_cells_show_something_where_the_valid_area_is_bright():
    canvas = np.full((96, 96, 3), 255, np.uint8)
    canvas[:80, :40] = 0
    canvas[40:80, 20:40] = 60
    cells = content_cells(canvas, (80, 40))
    assert cells.shape == (CELLS, CELLS) and cells[8:, 8:].all() and cells.sum() == 64


@pytest.mark.parametrize("size", [(1, 1), (1, 96), (96, 1), (3, 50)])
@pytest.mark.parametrize("level", [0, 10, 11])
def test_cells_of_thin_images_see_no_padding(size, level):
    canvas = np.zeros((96, 96, 3), np.uint8)
    canvas[: size[0], : size[1]] = level
    assert (content_cells(canvas, size) == (level > 10)).all()


def test_a_canvas_of_sixteen_bits_holds_its_values_and_their_window():
    values, said = deep(60, 50)
    canvases = decode([(values, said), (np.full((9, 9), 7, np.uint8), meta(9, 9))], Needs(deep=frozenset({CT})))
    np.testing.assert_array_equal(stored(canvases.pixels[0])[:60, :50], values)
    assert not stored(canvases.pixels[0])[60:].any() and (canvases.pixels[1, :, :9, :9] == 7).all()
    np.testing.assert_allclose(canvases.window[0] * 65535, [1000, 5000], rtol=1e-6)
    assert np.isnan(canvases.window[1]).all() and canvases.content is None


def test_a_large_image_is_reduced_in_sixteen_bits():
    ramp = np.add.outer(np.arange(300) * 100, np.arange(200) * 60).astype(np.uint16)
    said = meta(300, 200, window=(20000.0, 40000.0), rescale=(1.0, 0.0))
    canvases = decode([(ramp, said)], Needs(deep=frozenset({CT})))
    assert canvases.size_px.tolist() == [[96, 64]]
    expected = np.add.outer(((np.arange(96) + 0.5) * 3.125 - 0.5) * 100, ((np.arange(64) + 0.5) * 3.125 - 0.5) * 60)
    np.testing.assert_allclose(stored(canvases.pixels[0])[3:-3, 3:61], expected[3:-3, 3:61], atol=5)


@pytest.mark.parametrize("needs", [Needs(), Needs(deep=frozenset({CXR}))])
def test_other_modalities_and_whoever_does_not_ask_get_eight_bits(needs):
    values, said = deep(60, 50)
    canvases = decode([(values, said)], needs)
    shown = np.moveaxis(decode_rgb(png(values), said), -1, 0)
    np.testing.assert_array_equal(canvases.pixels[0, :, :60, :50].numpy(), shown)
    assert canvases.window is None and canvases.content is None


@pytest.mark.parametrize("missing", ["window", "rescale"])
def test_sixteen_bits_without_a_window_are_shown_as_before(missing):
    values, said = deep(60, 50)
    said = msgspec.structs.replace(said, **{missing: None})
    canvases = decode([(values, said)], Needs(deep=frozenset({CT})))
    shown = np.moveaxis(decode_rgb(png(values), said), -1, 0)
    np.testing.assert_array_equal(canvases.pixels[0, :, :60, :50].numpy(), shown)
    assert canvases.window is None


def test_maps_come_for_the_modalities_that_ask_and_look_through_the_window():
    values = np.full((64, 64), 1000, np.uint16)
    values[:, 32:] = 3000
    said = meta(64, 64, window=(2000.0, 4000.0), rescale=(1.0, -1000.0))
    bright = (np.full((64, 64), 200, np.uint8), meta(64, 64))
    needs = Needs(deep=frozenset({CT}), content=frozenset({CT}))
    content = decode([(values, said), bright, (np.zeros((9, 9), np.uint8), meta(9, 9))], needs, [CT, CT, CXR]).content
    assert content[0, :, 8:].all() and not content[0, :, :8].any()
    assert content[1].all() and content[2].all()


def test_the_window_of_a_downward_rescale_runs_from_high_to_low():
    low, high = window_shares(meta(1, 1, window=(0.0, 200.0), rescale=(-2.0, 1000.0)))
    assert (low * 65535, high * 65535) == pytest.approx((550, 450))
    assert window_shares(meta(1, 1, window=(0.0, 200.0))) is None


def test_a_deep_image_that_is_cut_short_is_an_incident():
    values, said = deep(60, 50)
    encoded = EncodedBatch(
        images=(png(values)[:900],),
        meta=(said,),
        modality=np.array([CT]),
        slot=np.arange(1),
        position=Position(0),
    )
    with (
        Decoder(iter([encoded]), batch=1, canvas_px=CANVAS_PX, needs=Needs(deep=frozenset({CT}))) as decoder,
        pytest.raises(IntegrityError, match="does not decode"),
    ):
        next(decoder)
