"""A picture written by a command: checked before the work, whole or absent after it."""

from pathlib import Path
from typing import TYPE_CHECKING

from mermed.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image


def check_png(path: Path | None) -> None:
    """Raise ConfigError unless `path` can become a PNG file."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise ConfigError("pictures are written as PNG", expected="a name that ends in .png", found=path.name)
    if not path.parent.is_dir():
        raise ConfigError("the folder of the picture is not there", where={"folder": path.parent})


def write_png(picture: "Image", path: Path) -> None:
    """Write an 8-bit picture; raises ConfigError when that is not possible."""
    import io

    from mermed.pack.collection.writer import write_atomically

    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise ConfigError("the picture cannot be written", where={"file": path}, found=error.strerror) from None
