"""Our loader as a torch IterableDataset, for loops that are not ours: batches in plan order, one integer of state."""

import os
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, get_worker_info

from mermed.batch import CanvasBatch, EncodedBatch, Position
from mermed.config import MixConfig, StreamConfig
from mermed.contract import SampleMeta
from mermed.errors import ConfigError, ResumeError
from mermed.stream.canvases import CanvasStream
from mermed.stream.loader import Loader, Share, rank_shares
from mermed.stream.origin import origin_of
from mermed.stream.plan import Plan
from mermed.stream.reader import SampleReader
from mermed.stream.store import open_store, read_manifest
from mermed.world import World, world_from

Batch = dict[str, Any]
_ENDLESS = 1 << 62


class MermedDataset(IterableDataset[Batch]):
    """Batches of a packed collection for any loop: give it to `DataLoader(dataset, batch_size=None)`, or iterate it.

    `location` is a local folder or a URL, `batch` counts images over all ranks, `world` is what torch.distributed or
    torchrun says unless given. Every batch is a dict: `key` (list of str), `labels` (list of dict), `modality` and
    `slot` (int64 [batch]), `position` (slots consumed once this batch is trained on) and, as `yields` asks,

    - "canvases": `pixels` (uint8 [batch 3 side side], RGB, image at the top left) and `size_px` (int32 [batch 2],
      height and width);
    - "encoded": `image` (list of bytes, JPEG or PNG as stored).

    `transform` is applied to the dict as a whole. The order has no end; `num_batches` is the length of the whole run.
    With `copy=False` tensors are lent from the ring: they stay valid until the next batch is asked for.

    The position moves with every batch that is yielded: iterating again goes on, and `state_dict` is that position.
    Reading and decoding run in threads, so worker processes are not needed (`num_workers=0`); with them, worker w
    takes batches w, w + W, ... and torch's round robin restores the order, but their position is not seen here: give
    `seek` the position of the last batch before iterating anew. Raises ConfigError, ResumeError, IntegrityError.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        batch: int,
        seed: int = 0,
        mix: MixConfig | None = None,
        stream: StreamConfig | None = None,
        num_batches: int | None = None,
        yields: Literal["canvases", "encoded"] = "canvases",
        transform: Callable[[Batch], Any] | None = None,
        copy: bool = True,
        world: World | None = None,
    ) -> None:
        if batch < 1 or yields not in ("canvases", "encoded"):
            raise ConfigError(
                "a dataset yields batches of one kind",
                expected="batch >= 1; yields canvases or encoded",
                found=f"batch {batch}; yields {yields}",
            )
        self.batch = batch
        self.stream = stream or StreamConfig()
        self.num_batches = num_batches
        self._location = str(location)
        self._yields = yields
        self._transform = transform
        self._copy = copy
        self._world = world
        mix = mix or MixConfig()
        manifest = read_manifest(open_store(location, patience_s=self.stream.patience_s))
        self.plan = Plan(manifest, mix, self.stream, seed)
        self._origin = origin_of(manifest.digest, mix, self.stream, seed)
        self._begun_with = _shared_number()
        self.seek(Position(0))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names that the numbers in `modality` index."""
        return self.plan.modalities

    @property
    def world(self) -> World:
        """Which rank this is: as given, else as torch.distributed says, else as torchrun says."""
        return self._world or current_world()

    @property
    def position(self) -> Position:
        """The slots consumed by what was yielded in this process."""
        return Position(self._start + self._yielded * self.batch)

    def seek(self, position: Position | int) -> None:
        """Go on from `position`, such as the one of the last batch that was trained on."""
        self._start = position.slots if isinstance(position, Position) else int(position)
        self._yielded = 0
        self._token = secrets.randbits(62) + 1

    def state_dict(self) -> dict[str, Any]:
        """Where this process stands and what the order follows from: plain values, equal on all ranks."""
        here = {"slots": self.position.slots, **self._origin.as_dict()}
        worker = get_worker_info()
        if worker is None:
            return here
        return here | {
            "slots": self._start,
            "batch": self.batch,
            "yielded": self._yielded,
            "worker": worker.id,
            "workers": worker.num_workers,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was saved, on any number of ranks and with any batch.

        Raises ResumeError for a state of another collection, seed, order or mixture, and for the state of a worker
        process that is given to another number of workers.
        """
        self._origin.require(state)
        worker = get_worker_info()
        here = (worker.id, worker.num_workers, self.batch) if worker else (None, None, None)
        saved = (state.get("worker"), state.get("workers"), state.get("batch"))
        if saved not in (here, (None, None, None)):
            raise ResumeError(
                "the state of one worker process fits the same worker, number of workers and batch alone",
                expected=f"worker, workers, batch = {here}",
                found=saved,
                next_step="seek the position that the last batch carries: it fits any number of workers",
            )
        self.seek(state["slots"])
        self._yielded = state.get("yielded", 0)

    def __iter__(self) -> Iterator[Any]:
        return self._run()

    def _check_worker(self, number: int) -> None:
        """Refuse what would go wrong without a word in worker processes: lent buffers, and a position met twice."""
        if not self._copy:
            raise ConfigError("lent buffers cannot leave a worker process", expected="copy=True, or num_workers=0")
        if number == 0:
            if int(self._begun_with) == self._token:
                raise ConfigError(
                    "worker processes have already begun at this position: the same batches would come again",
                    where={"slot": self._start},
                    next_step="dataset.seek(batch['position']) before iterating anew; num_workers=0 needs no seek",
                )
            self._begun_with.fill_(self._token)

    def _run(self) -> Generator[Any]:
        info = get_worker_info()
        if info is None:
            self.seek(self.position)
        else:
            self._check_worker(info.id)
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        token, world = self._token, self.world
        first = self._start + (worker + self._yielded * workers) * self.batch
        shares = islice(self._shares(first, world), 0, None, workers)
        cores = max(1, (os.cpu_count() or 1) // (world.ranks_per_node * workers))
        for batch in self._batches(shares, world.share(self.batch), self.stream.num_threads or cores):
            item = batch if self._transform is None else self._transform(batch)
            if self._token != token:
                raise ConfigError("this iteration is over: the dataset was moved, or iterated anew, since it began")
            self._yielded += 1
            yield item

    def _shares(self, first_slot: int, world: World) -> Iterator[Share]:
        """What this rank reads from `first_slot` to the end of the run."""
        stop = _ENDLESS if self.num_batches is None else self.num_batches * self.batch
        num_batches = max(0, -(-(stop - first_slot) // self.batch))
        return rank_shares(first_slot, self.batch, world.share(self.batch), num_batches)

    def _batches(self, shares: Iterator[Share], offsets: range, num_threads: int) -> Generator[Batch]:
        store = open_store(self._location, patience_s=self.stream.patience_s)
        ahead = self.stream.batches_ahead
        if self._yields == "encoded":
            read = SampleReader(store).read
            with Loader(self.plan, read, shares, num_threads=num_threads, ahead=ahead) as loader:
                for encoded in loader:
                    yield {"image": list(encoded.images), **_facts(encoded, encoded.meta)}
            return
        with CanvasStream(
            self.plan,
            SampleReader(store).read,
            shares,
            batch=len(offsets),
            canvas_px=self.stream.canvas_px,
            num_threads=num_threads,
            ahead=ahead,
        ) as canvases:
            for canvas in canvases:
                lent = {"pixels": canvas.pixels, "size_px": canvas.size_px}
                kept = {name: tensor.clone() for name, tensor in lent.items()} if self._copy else lent
                yield kept | _facts(canvas, canvas.meta)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_world": self.world}


def _shared_number() -> torch.Tensor:
    """A number that worker processes write and their successors read."""
    number = torch.zeros(1, dtype=torch.int64)
    try:
        return number.share_memory_()
    except RuntimeError:  # no /dev/shm: then torch cannot run worker processes either, and nobody will read it
        return number


def _facts(batch: CanvasBatch | EncodedBatch, meta: tuple[SampleMeta, ...]) -> Batch:
    """What both kinds of batch say, in types that torch's and Lightning's loops pass on untouched."""
    return {
        "key": [sample.key for sample in meta],
        "labels": [sample.labels for sample in meta],
        "modality": torch.as_tensor(batch.modality),
        "slot": torch.as_tensor(batch.slot),
        "position": batch.position.slots,
    }


def current_world(environ: Mapping[str, str] = os.environ) -> World:
    """This process among its ranks: as torch.distributed says once it is initialised, else as torchrun says.

    Raises ConfigError where there are several ranks and nothing says which one this is: all would read the same.
    """
    world = world_from(environ)
    if dist.is_available() and dist.is_initialized():
        return replace(world, rank=dist.get_rank(), num_ranks=dist.get_world_size())
    if world.num_ranks > 1 and "RANK" not in environ:
        raise ConfigError(
            "several ranks are announced, and nothing says which one this is",
            expected="RANK beside WORLD_SIZE, or torch.distributed initialised",
            found=f"WORLD_SIZE {world.num_ranks}",
            next_step="build the dataset after the process group, or pass world=World(rank=..., num_ranks=...)",
        )
    return world
