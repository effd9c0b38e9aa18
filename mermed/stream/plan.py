"""The plan: a pure function from slots to samples, whatever the ranks, threads and batch. Opens no shard."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mermed import keyed
from mermed.config import MixConfig, StreamConfig
from mermed.contract import Manifest, ShardRow
from mermed.errors import ConfigError, SampleError
from mermed.stream.mix import Mixture, quota_by_size, reduced
from mermed.stream.shuffle import shuffled

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reference:
    """One sample to read: the `index`-th of `row`, for `slot`; `modality` indexes the plan's modalities.

    `block` holds the indexes in `row` of the neighbours that the shuffle keeps together, `index` among them: they are
    drawn close to each other, so a remote store is asked for all of them at once.
    """

    slot: int
    modality: int
    row: ShardRow
    index: int
    block: range


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What one source has given after some slots: draws, whole cycles over its samples, distinct samples, repeats."""

    source: str
    samples: int
    draws: int
    cycles: int
    unique: int

    @property
    def repeats(self) -> int:
        """Draws of a sample that had been drawn before."""
        return self.draws - self.unique


class Source:
    """The samples of one dataset of one modality: shards in manifest order, drawn in a new keyed order each cycle."""

    def __init__(self, name: str, modality: int, rows: Sequence[ShardRow], seed: int, stream: StreamConfig) -> None:
        self.name = name
        self.modality = modality
        self.rows = tuple(rows)
        self._ends = np.cumsum([row.samples for row in rows])
        self.samples = int(self._ends[-1])
        self._seed = seed
        self._stream = stream

    def locate(self, draws: Int64s) -> Int64s:
        """The sample index of each draw; every cycle of draws holds each sample once."""
        cycle, place = np.divmod(draws, self.samples)
        index = np.empty_like(place)
        for number in np.unique(cycle):
            inside = cycle == number
            index[inside] = shuffled(
                place[inside],
                self.samples,
                keyed.key("order", keyed.ORDER_VERSION, self._seed, self.name, int(number)),
                block=self._stream.block_samples,
                window_blocks=self._stream.window_blocks,
            )
        return index

    def reference(self, slot: int, index: int) -> Reference:
        """Which shard holds sample `index`, and where in it."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        first = index - index % self._stream.block_samples
        stop = min(first + self._stream.block_samples, int(self._ends[number]))
        block = range(max(first, before) - before, stop - before)
        return Reference(slot, self.modality, self.rows[number], index - before, block)

    def spare(self, reference: Reference, attempt: int) -> Reference:
        """The `attempt`-th sample (from 0) that stands in for `reference`: see Plan.spare."""
        if attempt >= self.samples - 1:
            raise SampleError(
                "no sample of the source is left to stand in for one that cannot be used",
                where={"source": self.name, "slot": reference.slot},
                expected="a source with a good sample",
                found=f"{self.samples} samples, {attempt} tried instead",
                next_step="pack the dataset again, or leave its modality out: --set mix.drop=NAME",
            )
        stream = keyed.key("spare", keyed.ORDER_VERSION, self._seed, self.name, reference.slot)
        place = int(keyed.permute(attempt, self.samples - 1, stream))
        itself = self._firsts[reference.row.name] + reference.index
        return self.reference(reference.slot, place + (place >= itself))

    @cached_property
    def _firsts(self) -> dict[str, int]:
        """The number in the source of the first sample of each shard."""
        return {row.name: int(end) - row.samples for row, end in zip(self.rows, self._ends, strict=True)}

    def ledger(self, draws: int) -> Ledger:
        """The account after `draws` draws."""
        return Ledger(
            source=self.name,
            samples=self.samples,
            draws=draws,
            cycles=draws // self.samples,
            unique=min(draws, self.samples),
        )


class Plan:
    """Which sample fills which slot: modality by the outer mixture, dataset by the inner one, sample by keyed shuffle.

    Everything follows from (manifest, mix, stream settings, seed); a position in it is one integer. Raises ConfigError
    when the mix names a modality the collection lacks, or nothing is left to draw from.
    """

    def __init__(self, manifest: Manifest, mix: MixConfig, stream: StreamConfig, seed: int) -> None:
        self.modalities = manifest.modalities
        rows = [row for row in manifest.shards if row.split in stream.splits and row.samples]
        self.drawn_modalities = _drawn_modalities(rows, mix, stream.splits)
        self.sources = tuple(
            tuple(self._sources_of(rows, modality, seed, stream)) for modality in self.drawn_modalities
        )
        self.outer = Mixture(reduced(tuple(mix.weights.get(modality, 1) for modality in self.drawn_modalities)))
        self.inner = tuple(
            Mixture(quota_by_size(tuple(source.samples for source in sources), mix.alpha)) for sources in self.sources
        )

        self._by_name = {source.name: source for sources in self.sources for source in sources}

    def _sources_of(self, rows: Sequence[ShardRow], modality: str, seed: int, stream: StreamConfig) -> list[Source]:
        number = self.modalities.index(modality)
        by_dataset: dict[str, list[ShardRow]] = {}
        for row in rows:
            if row.modality == modality:
                by_dataset.setdefault(row.dataset, []).append(row)
        return [
            Source(f"{modality}/{dataset}", number, by_dataset[dataset], seed, stream) for dataset in sorted(by_dataset)
        ]

    def batch(self, slots: range) -> list[Reference]:
        """The samples of `slots`, in slot order."""
        numbers = np.arange(slots.start, slots.stop, dtype=np.int64)
        references: list[Reference | None] = [None] * len(numbers)
        modality, draws = self.outer.locate(numbers)
        for outer, (sources, inner) in enumerate(zip(self.sources, self.inner, strict=True)):
            of_modality = np.flatnonzero(modality == outer)
            dataset, dataset_draws = inner.locate(draws[of_modality])
            for number, source in enumerate(sources):
                chosen = of_modality[dataset == number]
                for offset, index in zip(chosen, source.locate(dataset_draws[dataset == number]), strict=True):
                    references[offset] = source.reference(int(numbers[offset]), int(index))
        return [reference for reference in references if reference is not None]

    def spare(self, reference: Reference, attempt: int) -> Reference:
        """The sample that stands in for `reference`, which cannot be used, after `attempt` others could not either.

        A pure function of (seed, source, slot, attempt) that never names `reference` itself nor any sample twice, so
        every topology replaces alike. `reference` is the planned one, not an earlier stand-in. Raises SampleError once
        every other sample of the source was named.
        """
        return self._by_name[f"{reference.row.modality}/{reference.row.dataset}"].spare(reference, attempt)

    def ledger(self, slots: int) -> list[Ledger]:
        """One account per source once the first `slots` slots are consumed, in closed form."""
        accounts = []
        for sources, inner, draws in zip(self.sources, self.inner, self.outer.drawn(slots), strict=True):
            accounts += [source.ledger(given) for source, given in zip(sources, inner.drawn(draws), strict=True)]
        return accounts

    def quota(self, batch: int) -> dict[str, float]:
        """Exact images of each modality in a batch, on average over a cycle."""
        total = sum(self.outer.quota)
        return {
            name: batch * quota / total for name, quota in zip(self.drawn_modalities, self.outer.quota, strict=True)
        }


def _drawn_modalities(rows: Sequence[ShardRow], mix: MixConfig, splits: tuple[str, ...]) -> tuple[str, ...]:
    present = {row.modality for row in rows}
    absent = sorted((set(mix.weights) | set(mix.drop)) - present)
    if absent:
        raise ConfigError(
            "the mix names modalities that the collection lacks",
            expected=" ".join(sorted(present)),
            found=" ".join(absent),
            next_step="leave them out of the mix file, or pack them",
        )
    chosen = tuple(name for name in sorted(present) if name not in mix.drop and mix.weights.get(name, 1) > 0)
    if not chosen:
        raise ConfigError("no samples to draw from", where={"splits": " ".join(splits)}, found="an empty mixture")
    return chosen
