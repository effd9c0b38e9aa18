"""What `bench_pack` holds our packer against: the floor, and packers as their users write them, in as many processes.

Every contestant gets a list of files cut into as many parts as there are processes, and returns how many it packed.
"""

import io
import json
import multiprocessing
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

SIDE_PX, QUALITY = 512, 95
Part = tuple[int, Sequence[Path], Path]


def shrink(path: Path) -> bytes:
    """What all of them must do: decode (reduced by libjpeg where that keeps twice the side), resize, encode."""
    image = Image.open(path)
    if min(image.size) >= 4 * SIDE_PX:
        image.draft("RGB", (2 * SIDE_PX, 2 * SIDE_PX))
    image = image.convert("RGB")
    share = SIDE_PX / min(image.size)
    if share < 1:
        size = tuple(round(side * share) for side in image.size)
        image = image.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def floor(part: Part) -> int:
    """Decode, resize, encode, and nothing else."""
    _, files, _ = part
    return sum(len(shrink(path)) > 0 for path in files)


def webdataset_writer(part: Part) -> int:
    """The `ShardWriter` of webdataset, one per process."""
    import webdataset

    number, files, out = part
    pattern = str(out / f"{number:02d}-%06d.tar")
    with webdataset.ShardWriter(pattern, maxsize=2**28, verbose=0) as writer:
        for path in files:
            writer.write({"__key__": path.stem, "jpg": shrink(path), "json": {"label": "x"}})
    return len(files)


def pil_tar(part: Part) -> int:
    """As img2dataset writes: PIL, a tar per process, a JSON with sizes and the file's hash beside every image."""
    import hashlib

    number, files, out = part
    with tarfile.open(out / f"{number:05d}.tar", "w") as tar:
        for path in files:
            jpeg = shrink(path)
            width, height = Image.open(io.BytesIO(jpeg)).size
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            content = json.dumps({"key": path.stem, "width": width, "height": height, "sha256": digest}).encode()
            for name, data in ((f"{path.stem}.jpg", jpeg), (f"{path.stem}.json", content)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return len(files)


def run(packer: Callable[[Part], int], files: Sequence[Path], out: Path, processes: int) -> int:
    """Let `packer` work on all files in `processes` processes, started anew as ours are; returns images packed."""
    out.mkdir(parents=True)
    parts = [(number, files[number::processes], out) for number in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.map(partial(packer), parts, chunksize=1))
