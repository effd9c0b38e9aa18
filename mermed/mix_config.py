"""MixConfig: which sources a batch is made of, in what shares, and from when on. Part of RunConfig."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mermed.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MixChange:
    """Weights from a slot on. What it does not name stays as it was before.

    Slots are images, counted from the start of the run over all ranks, so the number means the same at any batch. It
    takes effect where the first whole cycle of the mixture before it ends, at or after that slot.
    """

    slot: int = 0
    """Slot from which it holds; 0 when `step` is given."""
    step: int = 0
    """Step from which it holds, at the batch the run starts with; a run stores it as a slot."""
    weights: dict[str, int] = field(default_factory=dict)
    """Images of each named modality per cycle; 0 switches it off."""
    datasets: dict[str, int] = field(default_factory=dict)
    """Images of each named `modality/dataset` per cycle of its modality; 0 switches it off."""

    def __post_init__(self) -> None:
        if min(self.slot, self.step) < 0 or (self.slot > 0) == (self.step > 0):
            raise ConfigError(
                "a change of the mix needs the slot or the step from which it holds",
                expected="slot = N or step = N, above 0",
                found=f"slot {self.slot}, step {self.step}",
                next_step="what holds from the start goes into [weights]",
            )
        _check(self.weights, self.datasets)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixStage:
    """The whole weights that hold from `slot` on."""

    slot: int
    weights: Mapping[str, int]
    datasets: Mapping[str, int]

    def weight(self, modality: str) -> int:
        """Images of `modality` per cycle: 1 unless named."""
        return self.weights.get(modality, 1)


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Which sources a batch is made of, and in what shares."""

    weights: dict[str, int] = field(default_factory=dict)
    """Images of each modality per cycle, whole numbers; one that is not named has 1."""
    datasets: dict[str, int] = field(default_factory=dict)
    """Images of `modality/dataset` per cycle of its modality, instead of alpha there; one not named beside it has 1."""
    alpha: float = 0.5
    """Datasets inside a modality are drawn in proportion to their size to this power: 0 equal, 1 natural."""
    drop: tuple[str, ...] = ()
    """Modalities, or `modality/dataset`, left out although the collection has them."""
    changes: tuple[MixChange, ...] = ()
    """Weights that hold from a later slot on, in order."""

    def __post_init__(self) -> None:
        _check(self.weights, self.datasets)

    def settled(self, batch: int) -> "MixConfig":
        """The same mix with every step written as the slot it begins at when a step holds `batch` images."""
        changes = (replace(change, slot=change.slot or change.step * batch, step=0) for change in self.changes)
        return replace(self, changes=tuple(changes))

    def stages(self) -> tuple[MixStage, ...]:
        """The weights from the start and after every change; raises ConfigError for steps or slots out of order."""
        stages = [MixStage(slot=0, weights=self.weights, datasets=self.datasets)]
        for change in self.changes:
            last = stages[-1]
            if change.slot <= last.slot:
                raise ConfigError(
                    "the changes of the mix are not in order of their slots",
                    expected=f"a slot above {last.slot}",
                    found=f"slot {change.slot}" if change.slot else f"step {change.step}, not yet a slot",
                    next_step="list them by rising slots"
                    if change.slot
                    else "MixConfig.settled(batch) gives the slots",
                )
            stages.append(
                MixStage(
                    slot=change.slot,
                    weights={**last.weights, **change.weights},
                    datasets={**last.datasets, **change.datasets},
                )
            )
        return tuple(stages)

    def named(self) -> tuple[str, ...]:
        """Every modality and `modality/dataset` that the mix names, in order."""
        names = [*self.weights, *self.datasets, *self.drop]
        for change in self.changes:
            names += [*change.weights, *change.datasets]
        return tuple(sorted(set(names)))

    def draws(self, modality: str) -> bool:
        """Whether the mix lets images of `modality` be drawn, from the start or later."""
        later = (change.weights.get(modality, 0) for change in self.changes)
        return modality not in self.drop and max(self.weights.get(modality, 1), *later, 0) > 0


def _check(weights: Mapping[str, int], datasets: Mapping[str, int]) -> None:
    for name, weight in {**weights, **datasets}.items():
        if weight < 0:
            raise ConfigError(
                "a weight counts images", where={"source": name}, expected="a whole number, 0 or more", found=weight
            )
    for name in datasets:
        if name.count("/") != 1:
            raise ConfigError("a dataset is named with its modality", expected="modality/dataset", found=name)
