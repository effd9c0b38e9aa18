"""A file replaced as a whole: whoever reads it meets the old content or the new one, never half of either."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and give it that name; what cannot be written leaves nothing behind.

    Not flushed to the disk: for files that can be made again. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
