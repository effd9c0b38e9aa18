"""The plan: a pure function from slots to samples, whatever the ranks, threads and batch. Opens no shard."""

from functools import partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mermed.config import StreamConfig
from mermed.contract import Manifest, ShardRow
from mermed.errors import ConfigError
from mermed.mix_config import MixConfig
from mermed.stream.order.quotas import Drawn, dataset_schedule, drawn_rows, modality_schedule
from mermed.stream.order.schedule import NEVER
from mermed.stream.order.shuffle import shuffled
from mermed.stream.order.source import Ledger, Source, cycle_key

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]


class Reference(NamedTuple):
    """One sample to read: the `index`-th of `row`, for `slot`; `modality` indexes the plan's modalities.

    `block` holds the indexes in `row` of the neighbours that the shuffle keeps together, `index` among them: they are
    drawn close to each other, so a remote store is asked for all of them at once.
    """

    slot: int
    modality: int
    row: ShardRow
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index, of no use here
    block: range


class Plan:
    """Which sample fills which slot: modality by the outer schedule, dataset by the inner one, sample by keyed shuffle.

    Everything follows from (manifest, mix, stream settings, seed); a position in it is one integer. `sources[m][d]`
    is dataset d of drawn modality m, `outer` deals slots to modalities, `inner[m]` the draws of m to its datasets.
    Raises ConfigError when the mix names what the collection lacks, or nothing is left to draw from.
    """

    def __init__(self, manifest: Manifest, mix: MixConfig, stream: StreamConfig, seed: int) -> None:
        self.modalities = manifest.modalities
        self._seed = seed
        stages = mix.stages()
        chosen = _chosen(manifest, mix, stream)
        self.drawn_modalities = tuple(chosen)
        self.sources = tuple(
            tuple(
                Source(f"{modality}/{dataset}", self.modalities.index(modality), rows, seed, stream)
                for dataset, rows in datasets.items()
            )
            for modality, datasets in chosen.items()
        )
        self.outer = modality_schedule(self.drawn_modalities, stages)
        self.inner = tuple(
            dataset_schedule(
                modality,
                dict(zip(chosen[modality], (source.samples for source in sources), strict=True)),
                stages,
                mix.alpha,
                partial(self._drawn_of, number),
            )
            for number, (modality, sources) in enumerate(zip(self.drawn_modalities, self.sources, strict=True))
        )
        self._shelve()

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """The sources of every modality, in one row."""
        return tuple(source for sources in self.sources for source in sources)

    def _drawn_of(self, modality: int, slots: int) -> int:
        return self.outer.drawn(slots)[modality]

    def _shelve(self) -> None:
        """Lay the shards of all sources end to end, so that a batch over many sources is found in one search."""
        flat = self.all_sources
        self._names = [source.name for source in flat]
        self._places = {
            source.name: (modality, dataset)
            for modality, sources in enumerate(self.sources)
            for dataset, source in enumerate(sources)
        }
        self._first_of_modality = np.cumsum([0, *(len(sources) for sources in self.sources)])
        self._samples, self._block, self._window, self._modality = (
            np.array(column, np.int64)
            for column in zip(*((s.samples, s.block, s.window, s.modality) for s in flat), strict=True)
        )
        self._base = np.cumsum(self._samples) - self._samples
        self._rows = [row for source in flat for row in source.rows]
        self._ends = np.concatenate([source.ends + base for source, base in zip(flat, self._base, strict=True)])
        self._starts = self._ends - np.array([row.samples for row in self._rows], np.int64)

    def batch(self, slots: range) -> list[Reference]:
        """The samples of `slots`, in slot order."""
        numbers = np.arange(slots.start, slots.stop, dtype=np.int64)
        source, draws = self._draws(numbers)
        return self._references(numbers, source, self._locate(source, draws))

    def _draws(self, slots: Int64s) -> tuple[Int64s, Int64s]:
        """Which source fills each slot, counted over all modalities, and which of its draws that is."""
        modality, draws = self.outer.locate(slots)
        source = self._first_of_modality[modality]
        for number, inner in enumerate(self.inner):
            inside = np.flatnonzero(modality == number)
            dataset, draws[inside] = inner.locate(draws[inside])
            source[inside] += dataset
        return source, draws

    def _locate(self, source: Int64s, draws: Int64s) -> Int64s:
        """The sample in its source that each draw gives; every cycle of draws holds each sample once."""
        cycle, place = np.divmod(draws, self._samples[source])
        return shuffled(
            place,
            self._samples[source],
            self._cycle_keys(source, cycle),
            block=self._block[source],
            window=self._window[source],
        )

    def _cycle_keys(self, source: Int64s, cycle: Int64s) -> UInt64s:
        """The key of the order of each cycle of each source; a batch meets few of them, many times each."""
        met, place = np.unique(cycle * len(self._names) + source, return_inverse=True)
        pairs = (divmod(number, len(self._names)) for number in met.tolist())
        keys = [cycle_key(self._seed, self._names[number], turn) for turn, number in pairs]
        return np.array(keys, np.uint64)[place]

    def _references(self, slots: Int64s, source: Int64s, index: Int64s) -> list[Reference]:
        """Which shard holds each sample, and where in it."""
        base, block = self._base[source], self._block[source]
        number = np.searchsorted(self._ends, base + index, side="right")
        start = self._starts[number] - base
        first = index - index % block
        columns = (
            slots,
            self._modality[source],
            number,
            index - start,
            np.maximum(first, start) - start,
            np.minimum(first + block, self._ends[number] - base) - start,
        )
        slot, modality, row, sample, low, high = (column.tolist() for column in columns)
        rows = map(self._rows.__getitem__, row)
        fields = zip(slot, modality, rows, sample, map(range, low, high), strict=True)
        return list(map(tuple.__new__, repeat(Reference), fields))  # Reference._make, without a Python call for each

    def next_slot(self, row: ShardRow, block: range, slot: int) -> int:
        """The first slot at or after `slot` that draws one of the samples `block` of `row`; NEVER when none will.

        In closed form: what a cache needs to know what to drop, and what to fetch next.
        """
        modality, dataset = self._places[f"{row.modality}/{row.dataset}"]
        source, inner = self.sources[modality][dataset], self.inner[modality]
        drawn = inner.drawn(self._drawn_of(modality, slot))[dataset]
        samples = source.first_of(row) + np.arange(block.start, block.stop, dtype=np.int64)
        of_modality = inner.slots_of(dataset, np.array([source.next_draw(samples, drawn)]))
        return NEVER if of_modality[0] == NEVER else int(self.outer.slots_of(modality, of_modality)[0])

    def spare(self, reference: Reference, attempt: int) -> Reference:
        """The sample that stands in for `reference`, which cannot be used, after `attempt` others could not either.

        A pure function of (seed, source, slot, attempt) that never names `reference` itself nor any sample twice, so
        every topology replaces alike. `reference` is the planned one, not an earlier stand-in. Raises SampleError once
        every other sample of the source was named.
        """
        modality, dataset = self._places[f"{reference.row.modality}/{reference.row.dataset}"]
        source = self.sources[modality][dataset]
        sample = source.spare(source.first_of(reference.row) + reference.index, reference.slot, attempt)
        number = self._first_of_modality[modality] + dataset
        (spare,) = self._references(np.array([reference.slot]), np.array([number]), np.array([sample]))
        return spare

    def ledger(self, slots: int) -> list[Ledger]:
        """One account per source once the first `slots` slots are consumed, in closed form."""
        accounts = []
        for sources, inner, draws in zip(self.sources, self.inner, self.outer.drawn(slots), strict=True):
            accounts += [source.ledger(given) for source, given in zip(sources, inner.drawn(draws), strict=True)]
        return accounts

    def quota(self, batch: int, slot: int = 0) -> dict[str, float]:
        """Exact images of each modality in a batch at `slot`, on average over a cycle."""
        quota = self.outer.quota(slot)
        return {name: batch * images / sum(quota) for name, images in zip(self.drawn_modalities, quota, strict=True)}


def _chosen(manifest: Manifest, mix: MixConfig, stream: StreamConfig) -> Drawn:
    rows = (row for row in manifest.shards if row.split in stream.splits and row.samples)
    try:
        return drawn_rows(rows, mix, mix.stages())
    except ConfigError as error:
        error.add_place(splits=" ".join(stream.splits))
        raise
