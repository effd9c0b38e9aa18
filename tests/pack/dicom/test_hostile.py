"""DICOM files that lie: each gets its reason, quickly and in little memory, and none of them runs or hangs."""

import resource
import struct
import time
import zlib

import numpy as np
import pytest

from mermed.pack.treatment import Treatment

J2K = "1.2.840.10008.1.2.4.90"
JPEG = "1.2.840.10008.1.2.4.50"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF


def element(tag, kind, value, length=None):
    """One explicit little-endian element; `length` is what it claims."""
    claimed = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind)
    is_long = kind in (b"OB", b"OW", b"SQ", b"UN")
    return head + (struct.pack("<HL", 0, claimed) if is_long else struct.pack("<H", claimed)) + value


def item(length=UNDEFINED):
    return struct.pack("<HHL", 0xFFFE, 0xE000, length)


def behind_meta(content):
    """Where the data set starts: behind the preamble, the group length element and the rest of the group."""
    return 132 + 12 + struct.unpack_from("<L", content, 140)[0]


@pytest.fixture
def raw(tmp_path):
    """A DICOM file of hand-made elements behind a proper preamble and meta group."""

    def write(*elements, syntax=b"1.2.840.10008.1.2.1\0"):
        meta = element(0x00020010, b"UI", syntax)
        head = bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta
        (tmp_path / "raw.dcm").write_bytes(head + b"".join(elements))
        return tmp_path / "raw.dcm"

    return write


@pytest.fixture
def bounded():
    """Fails when what is inside takes 10 s, or half a GB more than before."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19


@pytest.mark.usefixtures("bounded")
class TestClaims:
    """A14: what the header claims is checked before anything is decoded."""

    def test_sizes(self, write, reason_of, noise):
        path, _ = write(noise(24, 32), bits=8, Rows=65535, Columns=65535)
        assert reason_of(path) == ("quarantined", "pixel_limit")
        path, _ = write(noise(24, 32), bits=8, Rows=0)
        assert reason_of(path) == ("quarantined", "no_pixels")
        path, _ = write(noise(24, 32), bits=8, Rows=60000, Columns=4000)
        assert reason_of(path) == ("quarantined", "truncated")

    @pytest.mark.parametrize(("allocated", "stored"), [(8, 0), (8, 9), (0, 8), (12, 12), (8, 65535)])
    def test_bits(self, allocated, stored, write, reason_of, noise):
        path, _ = write(noise(24, 32), bits=8, BitsAllocated=allocated, BitsStored=stored)
        assert reason_of(path) == ("quarantined", "corrupt")

    @pytest.mark.parametrize("modality", ["US", "CT", "SM"])
    def test_a_million_frames(self, modality, write, reason_of, noise):
        path, _ = write(noise(24, 32), bits=8, NumberOfFrames=10**6, Modality=modality)
        assert reason_of(path) == ("quarantined", "truncated")
        path, _ = write(noise(24, 32), bits=8, NumberOfFrames=10**8, Modality=modality)
        assert reason_of(path) == ("quarantined", "limits")
        path, _ = write(noise(24, 32), bits=8, NumberOfFrames=-5, Modality=modality)
        assert reason_of(path) == ("quarantined", "limits")

    def test_a_million_frames_in_one_fragment(self, write, reason_of, noise):
        from pydicom.encaps import encapsulate

        content = encapsulate([bytes(64)])
        path, _ = write(noise(24, 32), bits=8, NumberOfFrames=10**6, PixelData=content, syntax=JPEG)
        assert reason_of(path) == ("quarantined", "truncated")

    def test_pixels_that_are_missing_or_cut(self, write, reason_of, noise):
        path, dataset = write(noise(24, 32), bits=8)
        content = path.read_bytes()
        del dataset.PixelData
        dataset.save_as(path)
        assert reason_of(path) == ("quarantined", "no_pixels")
        for cut in (1, 100, 24 * 32 - 1):
            path.write_bytes(content[:-cut])
            assert reason_of(path) == ("quarantined", "truncated")

    def test_a_compressed_frame_that_is_cut_is_never_half_decoded(self, write, reason_of, noise):
        from pydicom.uid import JPEG2000Lossless, RLELossless

        for syntax in (JPEG2000Lossless, RLELossless):
            path, copy = write(noise(64, 64), bits=8)
            copy.compress(syntax, generate_instance_uid=False)
            copy.save_as(path)
            content = path.read_bytes()
            path.write_bytes(content[: len(content) * 3 // 4])
            assert reason_of(path) == ("quarantined", "truncated")

    def test_a_compressed_frame_without_its_end_is_never_half_decoded(self, write, reason_of, items_of, noise):
        import io

        from PIL import Image
        from pydicom.encaps import encapsulate

        whole = {}
        for kind, syntax in (("JPEG", JPEG), ("JPEG2000", J2K)):
            buffer = io.BytesIO()
            options = {} if kind == "JPEG" else {"no_jp2": True}
            Image.fromarray(noise(96, 96)).save(buffer, kind, **options)
            whole[syntax] = buffer.getvalue()
        for syntax, content in whole.items():
            path, _ = write(noise(96, 96), bits=8, PixelData=encapsulate([content + bytes(7)]), syntax=syntax)
            assert len(items_of(path)) == 1
            for share in (0.5, 0.98):
                cut = content[: int(len(content) * share)]
                path, _ = write(noise(96, 96), bits=8, PixelData=encapsulate([cut]), syntax=syntax)
                assert reason_of(path) == ("quarantined", "truncated")

    def test_a_codestream_larger_than_its_header(self, write, reason_of, noise):
        from pydicom.encaps import encapsulate

        jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 65000, 65000) + bytes(64)
        j2k = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + struct.pack(">LLLL", 60000, 60000, 0, 0) + bytes(64)
        for content, syntax in ((jpeg, JPEG), (j2k, J2K)):
            path, _ = write(noise(24, 32), bits=8, PixelData=encapsulate([content]), syntax=syntax)
            assert reason_of(path) == ("quarantined", "corrupt")


@pytest.mark.usefixtures("bounded")
class TestLimits:
    """A17: bombs and endless headers."""

    def test_20000_nested_sequences(self, raw, reason_of):
        level = element(0x0040A730, b"SQ", b"", UNDEFINED) + item()
        assert reason_of(raw(level * 20_000)) == ("quarantined", "limits")
        inside = element(0x00186011, b"SQ", b"", UNDEFINED) + item()
        assert reason_of(raw(inside, level * 20_000)) == ("quarantined", "limits")

    def test_nested_sequences_of_known_length(self, raw, reason_of):
        content = b""
        for _ in range(3000):
            content = element(0x00186011, b"SQ", item(len(content)) + content)
        path = raw(content, element(0x00280010, b"US", b"\x18\0"))
        assert reason_of(path)[0] == "quarantined"

    @pytest.mark.parametrize("length", [UNDEFINED - 1, 0x80000000, 10**9])
    @pytest.mark.parametrize("tag", [0x00186011, 0x00091011, 0x00283010])
    def test_lengths_that_overflow(self, length, tag, raw, reason_of):
        assert reason_of(raw(element(tag, b"SQ", item(length), length))) == ("quarantined", "truncated")
        assert reason_of(raw(element(tag, b"UN", b"x" * 8, length))) == ("quarantined", "truncated")
        inner = element(tag, b"SQ", item(length) + element(tag, b"SQ", b"", length), UNDEFINED)
        assert reason_of(raw(inner))[0] == "quarantined"

    def test_more_elements_than_any_header_has(self, raw, reason_of):
        assert reason_of(raw(element(0x00091001, b"LO", b"") * 200_000)) == ("quarantined", "limits")

    def test_a_deflated_bomb_by_its_size_and_by_its_ratio(self, write, reason_of, noise):
        path, _ = write(noise(24, 32), bits=8, syntax=DEFLATED)
        content = path.read_bytes()
        start = behind_meta(content)
        unfolded = zlib.decompress(content[start:], -15)
        for size, bounds in ((2**22, {"max_bytes": 2**21}), (2**27, {})):
            bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
            path.write_bytes(content[:start] + bomb.compress(unfolded + bytes(size)) + bomb.flush())
            assert reason_of(path, **bounds) == ("quarantined", "limits")

    def test_more_fragments_than_any_file_has(self, write, reason_of, noise, monkeypatch):
        from mermed.pack.readers import dicom_file

        monkeypatch.setattr(dicom_file, "MAX_FRAGMENTS", 1000)
        path, _ = write(noise(24, 32), bits=8, PixelData=item(0) * 2000, syntax=JPEG)
        assert reason_of(path) == ("quarantined", "limits")

    def test_an_element_larger_than_any_header_has(self, raw, reason_of, monkeypatch):
        from mermed.pack.readers import dicom_file

        monkeypatch.setattr(dicom_file, "MAX_VALUE_BYTES", 1000)
        assert reason_of(raw(element(0x00281201, b"OW", bytes(2000)))) == ("quarantined", "limits")
        assert reason_of(raw(element(0x00091201, b"OW", bytes(2000)))) == ("quarantined", "no_pixels")

    def test_a_deflated_object_that_is_cut(self, write, reason_of, noise):
        path, _ = write(noise(240, 320), bits=8, syntax=DEFLATED)
        path.write_bytes(path.read_bytes()[:-20_000])
        assert reason_of(path) == ("quarantined", "truncated")


@pytest.mark.parametrize(
    "start",
    [
        b"MZ\x90\0",
        b"\x7fELF",
        b"\xcf\xfa\xed\xfe",
        b"\xce\xfa\xed\xfe",
        b"\xfe\xed\xfa\xcf",
        b"\xca\xfe\xba\xbe",
        b"#!/bin/sh\n",
    ],
)
def test_a_preamble_that_is_a_program_is_refused(start, write, reason_of, noise):
    path, _ = write(noise(24, 32), bits=8)
    content = path.read_bytes()
    path.write_bytes(start.ljust(128, b"\0") + content[128:])
    assert reason_of(path) == ("quarantined", "preamble_exec")


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*"])
def test_a_preamble_that_is_a_tiff_is_allowed(start, write, items_of, noise):
    path, _ = write(noise(24, 32), bits=8)
    path.write_bytes(start.ljust(128, b"\0") + path.read_bytes()[128:])
    (image,) = items_of(path)
    assert np.array_equal(image.pixels, noise(24, 32))


class TestBareFiles:
    """A15: files without preamble, with and without their meta group."""

    @pytest.fixture
    def bare(self, write, noise):
        path, _ = write(noise(24, 32), bits=8, syntax="1.2.840.10008.1.2", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
        content = path.read_bytes()
        start = behind_meta(content)
        return {
            "no preamble": content[132:],
            "no meta group": content[start:],
            "preamble alone": content[:132] + content[start:],
        }

    @pytest.mark.parametrize("kind", ["no preamble", "no meta group", "preamble alone"])
    def test_they_are_read(self, kind, bare, tmp_path, items_of, noise):
        (tmp_path / "b.dcm").write_bytes(bare[kind])
        (image,) = items_of(tmp_path / "b.dcm")
        assert np.array_equal(image.pixels, noise(24, 32))

    @pytest.mark.parametrize("kind", ["no preamble", "no meta group"])
    def test_a_recipe_may_refuse_them(self, kind, bare, tmp_path, reason_of):
        (tmp_path / "b.dcm").write_bytes(bare[kind])
        strict = Treatment(allow_bare_dicom=False)
        assert reason_of(tmp_path / "b.dcm", treatment=strict) == ("quarantined", "not_dicom")

    def test_what_only_starts_like_one_is_not_dicom(self, tmp_path, reason_of):
        (tmp_path / "b.dcm").write_bytes(b"\x08\0\0\0\x04\0\0\0\x01\0\0\0" + b"\x10\0\x10\0\x02\0\0\0ab")
        assert reason_of(tmp_path / "b.dcm") == ("quarantined", "not_dicom")


def test_members_of_archives_are_read_in_place(write, items_of, noise, tmp_path):
    import tarfile
    import zipfile

    for syntax in ("1.2.840.10008.1.2", DEFLATED):
        path, _ = write(noise(24, 32), bits=8, syntax=syntax)
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "deep/x.dcm")
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(path, "deep/x.dcm")
        for container in ("a.zip", "a.tar"):
            (image,) = items_of(tmp_path / container, "deep/x.dcm")
            assert np.array_equal(image.pixels, noise(24, 32))


def test_films_inside_dicom_are_set_aside_by_name(write, reason_of, noise):
    from pydicom.encaps import encapsulate

    path, _ = write(noise(24, 32), bits=8, PixelData=encapsulate([bytes(64)]), syntax="1.2.840.10008.1.2.4.102")
    assert reason_of(path) == ("excluded", "video")


def test_an_unknown_syntax_is_not_quoted(write, items_of, noise):
    from pydicom.encaps import encapsulate

    from mermed.pack.readers.raw import RejectedInput

    path, _ = write(noise(24, 32), bits=8, PixelData=encapsulate([bytes(64)]), syntax="1.2.3.4.5.6789")
    with pytest.raises(RejectedInput, match="no_decoder: an unknown transfer syntax") as caught:
        items_of(path)
    assert "6789" not in str(caught.value)
