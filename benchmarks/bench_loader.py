"""Images per second from local shards to decoded canvases: ours against the decode limit and against peers.

The limit is the JPEG decoder alone, from memory, on the same number of threads. Every contestant decodes with
the same function, gets as many workers as there are cores, and makes batches of the same shape.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import harness
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mermed.config import MixConfig, StreamConfig
from mermed.contract import EncodedSample, Manifest, SampleMeta, ShardRow
from mermed.pack.collection.writer import ShardWriter
from mermed.stream.canvases import CanvasStream
from mermed.stream.decode import decode_rgb
from mermed.stream.loader import rank_shares
from mermed.stream.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import LocalStore

SIDE_PX, BATCH, MODALITIES = 512, 56, ("cfp", "ct", "cxr", "derm", "oct", "path", "us")
OURS_OVER_LIMIT_BAR, OURS_OVER_PEER_BAR = 0.95, 1.03


def natural_image(number: int) -> bytes:
    """A JPEG of the entropy of a photograph: noise with a 1/f spectrum."""
    generator = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(SIDE_PX)[:, None], np.fft.rfftfreq(SIDE_PX)[None])
    spectrum = np.fft.rfft2(generator.standard_normal((3, SIDE_PX, SIDE_PX))) / (frequency + 1 / SIDE_PX)
    noise = np.fft.irfft2(spectrum)
    pixels = np.clip(128 + 45 * noise / noise.std(axis=(1, 2), keepdims=True), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def write_collection(folder: Path, images_per_modality: int) -> Manifest:
    """Seven modalities of the same kind of images; each image is stored once per modality."""
    images = [natural_image(number) for number in range(images_per_modality)]
    rows: list[ShardRow] = []
    for modality in MODALITIES:
        writer = ShardWriter(folder=folder, modality=modality, dataset="bench", split="train", shard_bytes=1 << 28)
        for number, image in enumerate(images):
            meta = SampleMeta(
                key=f"{modality}-{number:06d}",
                modality=modality,
                dataset="bench",
                split="train",
                group=str(number),
                width=SIDE_PX,
                height=SIDE_PX,
                source_bits=8,
            )
            writer.add(EncodedSample(meta, image, "jpg"))
        writer.close()
        rows += writer.rows
    return Manifest(shards=tuple(rows))


def count_rate(batches: Iterator[int], num_batches: int) -> float:
    """Images per second over `num_batches` batches, the first one (start-up) left out."""
    next(batches)
    begin = time.perf_counter()
    images = sum(next(batches) for _ in range(num_batches))
    return images / (time.perf_counter() - begin)


def decode_limit(images: list[bytes], num_threads: int) -> float:
    """Images per second of the decoder alone, the work split evenly over threads beforehand."""

    def decode_part(part: int) -> None:
        for image in images[part::num_threads]:
            decode_rgb(image)

    with ThreadPoolExecutor(num_threads) as pool:
        begin = time.perf_counter()
        list(pool.map(decode_part, range(num_threads)))
        return len(images) / (time.perf_counter() - begin)


def ours(folder: Path, manifest: Manifest, num_threads: int, num_batches: int) -> float:
    plan = Plan(manifest, MixConfig(), StreamConfig(), 0)
    shares = rank_shares(0, BATCH, range(BATCH), num_batches + 1)
    with CanvasStream(
        plan, LocalStore(folder), shares, batch=BATCH, canvas_px=SIDE_PX, num_threads=num_threads
    ) as stream:
        return count_rate((len(canvases) for canvases in stream), num_batches)


class _Planned(Dataset):
    """Our order and reader behind torch's own loader with worker processes: what a plain port would be."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._plan = Plan(manifest, MixConfig(), StreamConfig(), 0)
        self._folder = folder
        self._reader: SampleReader | None = None

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, slot: int) -> torch.Tensor:
        self._reader = self._reader or SampleReader(LocalStore(self._folder))
        return decode_rgb(self._reader.read(self._plan.batch(range(slot, slot + 1))[0]).image)


def torch_dataloader(folder: Path, manifest: Manifest, num_workers: int, num_batches: int) -> float:
    loader = DataLoader(
        _Planned(folder, manifest),
        batch_size=BATCH,
        num_workers=num_workers,
        sampler=range(BATCH * (num_batches + 1)),
        multiprocessing_context="fork",
    )
    batches = iter(loader)
    rate = count_rate((len(batch) for batch in batches), num_batches)
    del batches
    return rate


def webdataset_loader(folder: Path, manifest: Manifest, num_workers: int, num_batches: int) -> float:
    """webdataset as its users run it: shuffled shards, a buffer, worker processes. Shares are random, not exact."""
    import webdataset as wds

    urls = [str(folder / row.name) for row in manifest.shards]
    dataset = (
        wds.WebDataset(urls, shardshuffle=len(urls), nodesplitter=wds.split_by_node, seed=0)
        .repeat()
        .shuffle(200)
        .map(lambda sample: decode_rgb(sample["jpg"]))
        .batched(BATCH, collation_fn=torch.stack)
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=num_workers, multiprocessing_context="fork")
    batches = iter(loader)
    rate = count_rate((len(batch) for batch in batches), num_batches)
    del batches
    return rate


@contextmanager
def one_thread_inside() -> Iterator[None]:
    """Keep torch from starting threads of its own below the contestants' workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bench(options: harness.Options) -> harness.Report:
    """Loader throughput on local shards: ours, the decode limit, torch's DataLoader and webdataset."""
    images_per_modality, num_batches = (32, 12) if options.quick else (128, 60)
    num_threads = os.cpu_count() or 1
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name, one_thread_inside():
        folder = Path(name)
        manifest = write_collection(folder, images_per_modality)
        reader, plan = SampleReader(LocalStore(folder)), Plan(manifest, MixConfig(), StreamConfig(), 0)
        in_memory = [reader.read(reference).image for reference in plan.batch(range(BATCH * num_batches))]
        contestants: dict[str, Callable[[], float]] = {
            "limit": lambda: decode_limit(in_memory, num_threads),
            "ours": lambda: ours(folder, manifest, num_threads, num_batches),
            "torch DataLoader": lambda: torch_dataloader(folder, manifest, num_threads, num_batches),
        }
        try:
            import webdataset  # noqa: F401
        except ImportError:
            missing["webdataset"] = "not installed"
        else:
            contestants["webdataset"] = lambda: webdataset_loader(folder, manifest, num_threads, num_batches)
        figures = harness.compare(contestants, options.rounds)
    peers = [name for name in figures if name not in ("limit", "ours")]
    best_peer = max(figures[name].median for name in peers)
    missing |= dict.fromkeys(("DALI CPU", "grain", "litdata", "MosaicML Streaming"), "not a contestant yet")
    return harness.Report(
        bench="bench_loader",
        unit="images/s",
        figures=figures,
        ratios={
            "ours_over_limit": harness.Ratio(
                value=figures["ours"].median / figures["limit"].median, bar=OURS_OVER_LIMIT_BAR
            ),
            "ours_over_best_peer": harness.Ratio(value=figures["ours"].median / best_peer, bar=OURS_OVER_PEER_BAR),
        },
        settings={"side_px": SIDE_PX, "batch": BATCH, "workers": num_threads, "batches": num_batches},
        missing=missing,
    )


if __name__ == "__main__":
    harness.main(bench)
