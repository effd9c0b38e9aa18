"""Our loader as a torch IterableDataset, for loops that are not ours: batches in plan order, one integer of state."""

import atexit
import os
import secrets
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, get_worker_info

from mermed.batch import CanvasBatch, EncodedBatch, Position
from mermed.errors import ConfigError, ResumeError
from mermed.mix_config import MixConfig
from mermed.stream.loader import Share, rank_shares
from mermed.stream.order.origin import origin_of
from mermed.stream.order.plan import Plan
from mermed.stream.store import open_manifest
from mermed.stream.supply import Supply, decode_threads
from mermed.stream_config import StreamConfig
from mermed.world import World, world_from

Batch = dict[str, Any]
_ENDLESS = 1 << 62
_running: weakref.WeakSet[Generator[Any]] = weakref.WeakSet()


@atexit.register
def _end_running() -> None:
    """Close what the main program left open, while there still is a Python to close it with."""
    for batches in list(_running):
        batches.close()


def _leave_without_parent(parent: int) -> None:
    """End a worker process whose parent was killed: torch would wait for ever that somebody takes its batches."""
    if os.getppid() != parent:
        os._exit(1)


class MermedDataset(IterableDataset[Batch]):
    """Batches of a packed collection for any loop: give it to `DataLoader(dataset, batch_size=None)`, or iterate it.

    `location` is a local folder or a URL, `batch` counts images over all ranks, `world` is what torch.distributed or
    torchrun says unless given. Every batch is a dict: `key` (list of str), `labels` (list of dict), `modality` and
    `slot` (int64 [batch]), `position` (slots consumed once this batch is trained on) and, as `yields` asks,

    - "canvases": `pixels` (uint8 [batch 3 side side], RGB, image at the top left) and `size_px` (int32 [batch 2],
      height and width);
    - "encoded": `image` (list of bytes, JPEG or PNG as stored).

    `transform` is applied to the dict as a whole. The order has no end; `num_batches` is the length of the whole run.
    With `copy=False` tensors are lent from the ring: they stay valid until the next batch is asked for. A sample that
    cannot be used is replaced by another of its source and, with a folder `run`, journalled there.

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
        run: str | Path | None = None,
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
        self._run_folder = Path(run) if run is not None else None
        mix = mix or MixConfig()
        manifest = open_manifest(location, self.stream.patience_s)
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
        batches = self._run()
        _running.add(batches)
        return batches

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
        Finalize(None, _leave_without_parent, (os.getppid(),), exitpriority=1)

    def _run(self) -> Generator[Any]:
        info = get_worker_info()
        if info is None:
            self.seek(self.position)
        else:
            self._check_worker(info.id)
        token = self._token
        for batch in self._batches(info.id if info else 0, info.num_workers if info else 1):
            item = batch if self._transform is None else self._transform(batch)
            if self._token != token:
                raise ConfigError("this iteration is over: the dataset was moved, or iterated anew, since it began")
            self._yielded += 1
            yield item

    def _shares(self, world: World, worker: int, workers: int) -> Iterator[Share]:
        """What this rank, or one worker process of it, reads from where it stands to the end of the run."""
        first = self._start + (worker + self._yielded * workers) * self.batch
        stop = _ENDLESS if self.num_batches is None else self.num_batches * self.batch
        num_batches = max(0, -(-(stop - first) // self.batch))
        return islice(rank_shares(first, self.batch, world.share(self.batch), num_batches), 0, None, workers)

    def _batches(self, worker: int, workers: int) -> Generator[Batch]:
        world = self.world
        shares = partial(self._shares, world, worker, workers)
        threads = decode_threads(self.stream, world.ranks_per_node * workers)
        with Supply(self.plan, self._location, shares, self.stream, run=self._run_folder, rank=world.rank) as supply:
            images = len(world.share(self.batch))
            encoded = self._yields == "encoded"
            opened = (
                supply.encoded(num_threads=threads) if encoded else supply.canvases(batch=images, num_threads=threads)
            )
            with opened as batches:
                for batch in batches:
                    supply.tally.commit(batch.slot)
                    yield self._as_dict(batch)

    def _as_dict(self, batch: CanvasBatch | EncodedBatch) -> Batch:
        """A batch in types that torch's and Lightning's loops pass on untouched."""
        facts = {
            "key": [sample.key for sample in batch.meta],
            "labels": [sample.labels for sample in batch.meta],
            "modality": torch.as_tensor(batch.modality),
            "slot": torch.as_tensor(batch.slot),
            "position": batch.position.slots,
        }
        if isinstance(batch, EncodedBatch):
            return {"image": list(batch.images), **facts}
        pixels, size_px = batch.pixels, batch.size_px
        if self._copy:
            pixels, size_px = pixels.clone(), size_px.clone()
        return {"pixels": pixels, "size_px": size_px, **facts}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_world": self.world}


def _shared_number() -> torch.Tensor:
    """A number that worker processes write and their successors read."""
    number = torch.zeros(1, dtype=torch.int64)
    try:
        return number.share_memory_()
    except RuntimeError:  # no /dev/shm: then torch cannot run worker processes either, and nobody will read it
        return number


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
