"""DICOM: images, cines, volumes and tiled slides of one DICOM file, through pydicom. Needs the extra 'dicom'.

Nothing of the header leaves but numbers about pixels: the elements that are read at all are on a list
(`mermed.pack.readers.dicom_file`), and reasons for a rejection quote sizes and names of the standard only.
"""

from functools import partial

from mermed.errors import missing_extra
from mermed.pack.readers.raw import Bounds, Frames, RawFile, RejectedInput
from mermed.pack.treatment import Treatment

try:
    from mermed.pack.readers.dicom_frames import choose_frames
    from mermed.pack.readers.dicom_object import open_object
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("pydicom"):
        raise
    raise missing_extra("dicom", "reading DICOM files") from None


def read(file: RawFile, bounds: Bounds, treatment: Treatment) -> Frames:
    """The frames of one DICOM file; see `mermed.pack.readers.reading`.

    Grey comes back after the modality transform (HU for CT), with the header's VOI beside it and not applied; colour
    comes back as 8-bit RGB. Raises RejectedInput.
    """
    reopen = partial(open_object, file, bounds, treatment)
    try:
        with reopen() as item:
            if item.frames == 1:
                return Frames.single(item.image(0))
            return choose_frames(item, reopen, bounds, treatment.sampling)
    except OSError as error:
        # pydicom calls whatever happens inside a sequence an error of reading, a stack that ran over too.
        if _has_recursed(error):
            raise RejectedInput("limits", "sequences nested too deep to read") from None
        raise


def _has_recursed(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, RecursionError):
        error = error.__context__
    return error is not None
