"""DICOM object: one opened object, checked, whose frames can be asked for one at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mermed.pack.readers.dicom_file import DicomFile, open_dicom
from mermed.pack.readers.dicom_header import FrameHeader, check_header, frame_headers
from mermed.pack.readers.dicom_pixels import FrameDecoder, ImageMaker, Stored
from mermed.pack.readers.raw import Bounds, RawFile, RawImage
from mermed.pack.treatment import Treatment


class DicomObject:
    """The frames of one object. The last frame decoded is kept, so that looking at it and taking it decodes it once."""

    def __init__(self, file: DicomFile, bounds: Bounds, treatment: Treatment) -> None:
        self.header: Dataset = file.header
        self.frames = check_header(file.header, bounds, treatment)
        self.frame_header: Callable[[int], FrameHeader] = frame_headers(file.header)
        self._decoder = FrameDecoder(file, self.frames, bounds)
        self._maker = ImageMaker(file.header, treatment)
        self._last: tuple[int, Stored] | None = None

    def image(self, index: int) -> RawImage:
        """The image of one frame, numbered where the object has several; raises RejectedInput."""
        return self._maker.make(self._stored(index), self.frame_header(index), index if self.frames > 1 else None)

    def display(self, index: int) -> NDArray[np.uint8]:
        """One frame in 8 bits as it is stored, grey or RGB, for a rule to look at; raises RejectedInput."""
        stored = self._stored(index)
        if stored.values.ndim == 2 and not stored.photometric.startswith("PALETTE"):
            return self._maker.to_levels(stored.values)
        return self._maker.to_rgb(stored)

    def _stored(self, index: int) -> Stored:
        if self._last is None or self._last[0] != index:
            self._last = None  # One frame in memory, not two.
            self._last = index, self._decoder.decode(index)
        return self._last[1]


@contextmanager
def open_object(file: RawFile, bounds: Bounds, treatment: Treatment) -> Iterator[DicomObject]:
    """Open one object and check its header; raises RejectedInput."""
    with open_dicom(file, bounds, allow_bare=treatment.allow_bare_dicom) as opened:
        yield DicomObject(opened, bounds, treatment)
