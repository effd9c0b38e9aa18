"""Images per second from raw files to finished shards: ours against decode + resize + encode alone, and against peers.

Also: seconds to find that a packed source of many files is unchanged, and the memory of this process over many inputs.
"""

import csv
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np
import pack_peers
from PIL import Image

OURS_OVER_FLOOR_BAR, OURS_OVER_PEER_BAR, UNCHANGED_BAR_S = 0.8, 1.2, 10.0
RAW_PX = 1024
SMALL_PX = 32


def raw_image(number: int) -> bytes:
    """A JPEG of the entropy of a photograph: noise with a 1/f spectrum, larger than what is stored."""
    generator = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(RAW_PX)[:, None], np.fft.rfftfreq(RAW_PX)[None])
    noise = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((3, RAW_PX, RAW_PX))) / (frequency + 1 / RAW_PX))
    pixels = np.clip(128 + 45 * noise / noise.std(axis=(1, 2), keepdims=True), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_source(folder: Path, count: int, images: list[bytes]) -> list[Path]:
    """A plain layout of `count` pathology images."""
    dataset = folder / "path" / "bench"
    dataset.mkdir(parents=True)
    files = []
    with (dataset / "labels.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("file", "label"))
        for number in range(count):
            path = dataset / f"{number:07d}.jpg"
            path.write_bytes(images[number % len(images)])
            writer.writerow((path.name, "ab"[number % 2]))
            files.append(path)
    return files


def ours(source: Path, out: Path, hands: int) -> int:
    """Our packer, as the command runs it; returns images packed."""
    from mermed.pack.identity import Identity
    from mermed.pack.options import PackOptions
    from mermed.pack.packing import pack
    from mermed.pack.work.engine import LocalEngine

    engine = LocalEngine(hands=hands)
    result = pack(source, out, options=PackOptions(), identity=Identity(b"a salt for benchmarks"), engine=engine)
    return result.manifest.totals["packed"]


def rate(work: Callable[[Path], int], count: int, folder: Path) -> Callable[[], float]:
    """A contestant that packs into a fresh folder; images per second, checked to be all images."""

    def measure() -> float:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        begin = time.perf_counter()
        packed = work(out)
        taken = time.perf_counter() - begin
        if packed != count:
            raise RuntimeError(f"{packed} of {count} images were packed")
        return count / taken

    return measure


def many_files(count: int, folder: Path) -> tuple[float, float, float]:
    """(seconds of a run over an unchanged source of `count` files, MiB of memory after a tenth, and after all)."""
    generator = np.random.default_rng(0)
    images = []
    for _ in range(count):
        buffer = io.BytesIO()
        pixels = generator.integers(0, 256, (SMALL_PX, SMALL_PX), np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        images.append(buffer.getvalue())
    write_source(folder / "all", count, images)
    write_source(folder / "tenth", count // 10, images)
    peaks = [_peak_mib(folder / name, folder / f"{name}-out") for name in ("tenth", "all")]
    begin = time.perf_counter()
    _peak_mib(folder / "all", folder / "all-out")
    return time.perf_counter() - begin, peaks[0], peaks[1]


def _peak_mib(source: Path, out: Path) -> float:
    """Pack in a process of its own; its peak resident memory, its decoder processes not counted."""
    code = (
        "import re, sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[3])\nfrom bench_pack import ours\n"
        "if __name__ == '__main__':\n"
        f"    ours(Path(sys.argv[1]), Path(sys.argv[2]), {_cores()})\n"
        "    print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
        program.write(code)
        program.flush()
        command = [sys.executable, program.name, str(source), str(out), str(Path(__file__).parent)]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout) / 1024


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def run(options: harness.Options) -> harness.Report:
    """Measure packing."""
    count = 64 if options.quick else 600
    many = 2_000 if options.quick else 100_000
    cores = _cores()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = [raw_image(number) for number in range(count)]
        files = write_source(folder / "src", count, images)
        contestants: dict[str, Callable[[Path], int]] = {
            "ours": lambda out: ours(folder / "src", out, cores),
            "floor": lambda out: pack_peers.run(pack_peers.floor, files, out, cores),
            "pil_tar": lambda out: pack_peers.run(pack_peers.pil_tar, files, out, cores),
        }
        missing = {}
        if importlib.util.find_spec("webdataset"):
            contestants["webdataset"] = lambda out: pack_peers.run(pack_peers.webdataset_writer, files, out, cores)
        else:
            missing["webdataset"] = "not installed"
        figures = harness.compare({n: rate(w, count, folder) for n, w in contestants.items()}, options.rounds)
        unchanged_s, tenth_mib, all_mib = many_files(many, folder)
    peers = [figures[name].median for name in ("pil_tar", "webdataset") if name in figures]
    median = figures["ours"].median
    return harness.Report(
        bench="bench_pack",
        unit="images/s",
        figures=figures,
        ratios={
            "ours_over_floor": harness.Ratio(value=median / figures["floor"].median, bar=OURS_OVER_FLOOR_BAR),
            "ours_over_best_peer": harness.Ratio(value=median / max(peers), bar=OURS_OVER_PEER_BAR),
            "unchanged_s": harness.Ratio(value=unchanged_s, bar=UNCHANGED_BAR_S, lower_is_better=True),
            "memory_all_over_tenth": harness.Ratio(value=all_mib / tenth_mib, lower_is_better=True),
        },
        settings={"images": count, "raw_px": RAW_PX, "processes": cores, "many": many},
        missing=missing,
        notes=(
            f"{median / cores:.1f} images/s per core; every contestant starts its processes anew in each round",
            f"unchanged_s: one run, process start included, over {many:,} unchanged files of {SMALL_PX} px",
            f"peak memory of the packing process: {tenth_mib:.0f} MiB for {many // 10:,} files, "
            f"{all_mib:.0f} MiB for {many:,}; decoder processes not counted",
        ),
    )


if __name__ == "__main__":
    harness.main(run)
