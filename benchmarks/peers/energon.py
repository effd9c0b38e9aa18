"""Megatron-Energon: plain tars with its own index, its savable loader with worker processes, blending by chance."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    SavableDataLoader,
    WorkerConfig,
    edataclass,
    get_savable_loader,
    get_train_dataset,
    stateless,
)
from megatron.energon.flavors.base_dataset import Sample
from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator
from megatron.energon.flavors.webdataset.sample_loader import SliceState
from megatron.energon.rng import SystemRngState
from megatron.energon.savable_loader import SavableDataLoaderState, SavableDatasetCheckpoint, SavableDatasetState
from megatron.energon.state import FlexState

from peers import webdataset
from peers.border import Opening
from peers.decoding import decode
from peers.states import from_json, to_json

TITLE = "Megatron-Energon"
REQUIREMENTS = ("megatron-energon==7.4.1", "webdataset==1.0.2")
SUPPORTS = frozenset({"processes", "ranks", "state", "mix", "endless"})
BUFFER_SAMPLES, SEQUENCE_SAMPLES = 100, 100
BLEND = "blend.yaml"
RECORDS = {
    record.__name__: record
    for record in (
        FlexState,
        SavableDataLoaderState,
        SavableDatasetCheckpoint,
        SavableDatasetState,
        SliceState,
        SystemRngState,
    )
}
"""What its state is made of."""


def prepare(images: Path, out: Path) -> None:
    """The tars of webdataset, indexed by Energon: as one dataset, as one per modality, and as a blend of these."""
    webdataset.prepare(images, out)
    folders = sorted(path for path in out.iterdir() if path.is_dir())
    for folder in [*folders, out]:
        index_tars(folder)
    blend = {"blend": [{"weight": 1, "path": f"./{folder.name}"} for folder in folders]}
    described = {"__module__": "megatron.energon", "__class__": "MetadatasetV2", "splits": {"train": blend}}
    (out / BLEND).write_text(json.dumps(described), "utf-8")


def index_tars(folder: Path) -> None:
    """What `energon prepare` does, without its questions."""
    tars = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.tar"))
    WebdatasetPreparator.prepare_dataset(folder, tars, split_parts_ratio=[("train", 1.0)], shuffle_seed=None, workers=2)
    described = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
    (folder / ".nv-meta" / "dataset.yaml").write_text(json.dumps(described), "utf-8")


@edataclass
class Picture(Sample):
    """One decoded image."""

    pixels: np.ndarray


@edataclass
class Pictures:
    """A batch of them."""

    pixels: torch.Tensor
    keys: list[str]


class Encoder(DefaultTaskEncoder):
    """Its task encoder, with the decoding that every contestant does; an image that does not decode is skipped."""

    decoder = None

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self._side_px = side_px
        self.cookers = [Cooker(self.cook)]

    @stateless
    def cook(self, sample: dict[str, Any]) -> Picture:
        return Picture(
            __key__=sample["__key__"],
            __restore_key__=sample["__restore_key__"],
            pixels=decode(sample["jpg"], self._side_px),
        )

    @stateless
    def batch(self, samples: list[Picture]) -> Pictures:
        pixels = np.stack([sample.pixels for sample in samples])
        return Pictures(pixels=torch.from_numpy(pixels), keys=[Path(sample.__key__).name for sample in samples])


class EnergonSource:
    """A savable loader as a Source."""

    def __init__(self, loader: SavableDataLoader, state: Any) -> None:
        self._loader: Any = loader
        if state is not None:
            loader.restore_state_rank(from_json(state, RECORDS))
        self._batches: Any = None

    def __iter__(self) -> Iterator[tuple[Any, list[str]]]:
        self._batches = iter(self._loader)
        for batch in self._batches:
            yield batch.pixels, batch.keys

    def state(self) -> Any:
        return to_json(self._loader.save_state_rank(), RECORDS)

    def close(self) -> None:
        """Workers stop with their loader, which lies in a cycle and has no public way to be told."""
        if hasattr(self._batches, "close"):
            self._batches.close()
        self._loader = self._batches = None
        gc.collect()


def open(out: Path, asked: Opening) -> EnergonSource:
    """Endless batches; mixed, every sample's dataset is drawn by chance with equal weights."""
    dataset = get_train_dataset(
        out / BLEND if asked.mix else out,
        worker_config=WorkerConfig(
            rank=asked.rank, world_size=asked.num_ranks, num_workers=asked.workers, seed_offset=asked.seed
        ),
        batch_size=asked.batch,
        shuffle_buffer_size=BUFFER_SAMPLES if asked.shuffle else None,
        max_samples_per_sequence=SEQUENCE_SAMPLES,
        task_encoder=Encoder(asked.side_px),
    )
    return EnergonSource(get_savable_loader(dataset), asked.state)
