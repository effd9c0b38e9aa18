"""The figure of a run's report that shows its views: the sheet the run began with, small enough to lie in the page."""

import base64
import io
from pathlib import Path

from PIL import Image

from mermed.page import figure, paragraph

VIEWS_NAME = "views.png"
"""The sheet in a run folder."""
MAX_BYTES = 1_100_000
"""Of the picture; written as text in the page it takes a third more."""
STYLE = """
.wide img { max-width: none; width: 1340px; display: block; }
"""
_QUALITIES = (85, 70, 55)
_SHRUNK = 0.75
_MAX_SIDE_PX = 30_000
_ALT = "One image of each modality with its views and what was drawn for them"


def views_parts(run: Path) -> list[str]:
    """The sheet and what it is; what is said instead where the run left none or one that cannot be read."""
    path = run / VIEWS_NAME
    if not path.is_file():
        return [paragraph("The run left no sheet; mermed-train views makes one.", "soft")]
    try:
        data = base64.b64encode(_jpeg(path)).decode("ascii")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for a file cut short or changed
        return [paragraph(f"{VIEWS_NAME} cannot be read ({type(error).__name__}).", "soft")]
    told = (
        "The first image of each modality with the boxes of its views; G are global, L local views. These are pixels "
        f"of patients: keep this page where the data may be. Sharper in {VIEWS_NAME}."
    )
    return [paragraph(told, "soft"), figure(f'<img alt="{_ALT}" src="data:image/jpeg;base64,{data}">')]


def _jpeg(path: Path) -> bytes:
    """The picture as JPEG of MAX_BYTES at most: coarser first, smaller after that."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
    while True:
        for quality in _QUALITIES:
            encoded = io.BytesIO()
            picture.save(encoded, "JPEG", quality=quality, optimize=True)
            if encoded.tell() <= MAX_BYTES:
                return encoded.getvalue()
        picture = picture.resize([max(1, round(side * _SHRUNK)) for side in picture.size], Image.Resampling.LANCZOS)
