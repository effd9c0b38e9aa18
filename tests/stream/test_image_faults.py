"""Bad images in good shards: each is replaced and told, and the counts are those of the plan to the last one."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mermed.config import StreamConfig
from mermed.contract import load_manifest
from mermed.errors import IntegrityError, SampleError
from mermed.mix_config import MixConfig
from mermed.stream.decode import Decoder
from mermed.stream.header import check_header
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.loader import Loader, rank_shares
from mermed.stream.meters.ledger import Tally
from mermed.stream.meters.watch import Watch
from mermed.stream.order.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.replace.budget import Limits
from mermed.stream.replace.journal import Journal, incidents
from mermed.stream.replace.spares import Spares
from mermed.stream.store import LocalStore

SLOTS, BATCH, CANVAS_PX = 96, 12, 32
SIZE = (24, 16)


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(mode):
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(1).integers(0, 256, (SIZE[1], SIZE[0], bands), np.uint8)
    return Image.fromarray(values.squeeze(), mode)


def _bomb():
    content = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + content + struct.pack(">I", zlib.crc32(b"IHDR" + content))


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(_noise("RGB"), "JPEG", exif=exif.tobytes())


JPEG = _saved(_noise("RGB"), "JPEG", quality=95)
BAD = {
    "nih-0-000": ("a JPEG cut in half", JPEG[: len(JPEG) // 2], "jpg", SIZE),
    "nih-0-003": ("a JPEG without its end", JPEG[:-40], "jpg", SIZE),
    "nih-1-001": ("zero bytes", b"", "jpg", SIZE),
    "nih-1-002": ("nothing but zeros", bytes(3000), "png", SIZE),
    "nih-1-004": ("a page of HTML", b"<html>not found</html>", "jpg", SIZE),
    "busi-0-001": ("CMYK", _saved(_noise("CMYK"), "JPEG"), "jpg", SIZE),
    "busi-0-002": ("a picture on its side by its EXIF", _turned(), "jpg", SIZE[::-1]),
    "busi-0-005": ("a decompression bomb", _bomb(), "png", (20_000, 20_000)),
    "busi-1-000": ("a bomb under a small size", _bomb(), "png", SIZE),
    "busi-1-003": ("a PNG cut in half", _saved(_noise("RGB"), "PNG")[:300], "png", SIZE),
    "busi-1-004": ("a PNG with alpha", _saved(_noise("RGBA"), "PNG"), "png", SIZE),
}
FINE = {
    "nih-0-001": ("a PNG that is named a JPEG", _saved(_noise("RGB"), "PNG"), "jpg", SIZE),
    "nih-0-002": ("a JPEG that is named a PNG", JPEG, "png", SIZE),
    "busi-0-003": ("16 bits", _saved(Image.fromarray(np.full(SIZE[::-1], 40_000, np.uint16)), "PNG"), "png", SIZE),
}


@pytest.fixture
def world(tiny_world):
    images = {key: image for key, (_, *image) in {**BAD, **FINE}.items()}
    return tiny_world({"cxr/nih": [7, 6], "us/busi": [8, 6]}, image_of=images.get)


def _plan(folder):
    return Plan(load_manifest(folder), MixConfig(), StreamConfig(), 0)


def _checked(read):
    """A reader that looks at the header of what it read, as the stream does."""

    def checked(reference):
        sample = read(reference)
        check_header(sample.image, sample.meta)
        return sample

    return checked


def _expected(folder):
    """By slot, from the plan alone: the keys that fail and the one that fills it in the end."""
    plan, shelf = _plan(folder), IndexShelf(LocalStore(folder))
    filled = []
    for reference in plan.batch(range(SLOTS)):
        line = [reference, *(plan.spare(reference, attempt) for attempt in range(12))]
        keys = [shelf.key(candidate.row, candidate.index) for candidate in line]
        good = next(place for place, key in enumerate(keys) if key not in BAD)
        filled.append((keys[:good], keys[good]))
    return filled


def _run(folder, spares, *, threads):
    """The key in each slot once the image is on its canvas, and the canvases' values."""
    keys, means = [], []
    shares = rank_shares(0, BATCH, range(BATCH), SLOTS // BATCH)
    with (
        Loader(_plan(folder), spares.read, shares, num_threads=threads) as loader,
        Decoder(loader, batch=BATCH, canvas_px=CANVAS_PX, num_threads=threads, replace=spares.replace) as decoder,
    ):
        for canvases in decoder:
            keys += [meta.key for meta in canvases.meta]
            means += canvases.pixels.float().mean((1, 2, 3)).tolist()
    return keys, means


UNSEEN_BY_DECODERS = ("CMYK", "a picture on its side by its EXIF", "a PNG with alpha")


def _checked_in_part(read):
    """A reader that leaves to the decoder what the decoder finds, and looks at the headers of the others."""
    checked = _checked(read)

    def checked_in_part(reference):
        sample = read(reference)
        what = BAD.get(sample.meta.key, ("",))[0]
        return checked(reference) if "bomb" in what or what in UNSEEN_BY_DECODERS else sample

    return checked_in_part


@pytest.mark.parametrize(("check", "threads"), [(_checked, 4), (_checked_in_part, 1), (_checked_in_part, 3)])
def test_each_bad_image_is_replaced_and_told_with_exact_counts(world, tmp_path, check, threads):
    """Found as it is read, or by the decoder alone: the same samples in the same slots."""
    watch, tally = Watch(), Tally(["cxr/nih", "us/busi"])
    reader, shelf = SampleReader(LocalStore(world)), IndexShelf(LocalStore(world))
    expected = _expected(world)
    spares = Spares(
        _plan(world),
        check(reader.read),
        lambda reference: shelf.key(reference.row, reference.index),
        limits=Limits(max_failed=1.0, max_failed_in_a_row=1000),
        journal=Journal(tmp_path, 0, watch),
        tally=tally,
        watch=watch,
    )
    keys, means = _run(world, spares, threads=threads)
    assert keys == [key for _, key in expected]
    assert min(means) > 0, "every canvas holds a picture"
    failed = [(slot, key) for slot, (bad, _) in enumerate(expected) for key in bad]
    assert {key for _, key in failed} == set(BAD), "every kind of fault was drawn"
    assert watch.counts()["failed"] == len(failed)
    told = sorted(incidents(tmp_path), key=lambda incident: (incident.slot, incident.attempt))
    assert [(incident.slot, incident.key) for incident in told] == failed
    last = {incident.slot: incident.replaced_by for incident in told}
    assert last == {slot: key for slot, (bad, key) in enumerate(expected) if bad}
    tally.commit(range(SLOTS))
    counts = tally.as_dict()
    assert sum(row["draws"] for row in counts.values()) == SLOTS
    assert sum(row["failed"] for row in counts.values()) == len(failed)
    assert sum(row["replaced"] for row in counts.values()) == sum(bool(bad) for bad, _ in expected)


def test_a_bad_image_beyond_the_budget_stops_the_run_with_the_reason(world):
    reader, shelf = SampleReader(LocalStore(world)), IndexShelf(LocalStore(world))
    spares = Spares(
        _plan(world),
        reader.read,
        lambda reference: shelf.key(reference.row, reference.index),
        limits=Limits(max_failed=0.0, max_failed_in_a_row=32),
    )
    with pytest.raises(IntegrityError, match="too many samples cannot be used") as caught:
        _run(world, spares, threads=2)
    assert "mermed-shard verify DATA" in str(caught.value)


def test_without_spares_a_bad_image_ends_the_stream_by_name(world):
    shares = rank_shares(0, BATCH, range(BATCH), SLOTS // BATCH)
    read = _checked(SampleReader(LocalStore(world)).read)
    with Loader(_plan(world), read, shares, num_threads=2) as loader:
        with pytest.raises(SampleError):
            for _ in loader:
                pass
