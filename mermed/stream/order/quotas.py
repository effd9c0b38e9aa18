"""What the mix asks of a collection: which modalities and datasets are drawn, in what quotas and from which slot on."""

import difflib
from collections.abc import Callable, Iterable, Sequence

from mermed.contract import ShardRow
from mermed.errors import ConfigError
from mermed.mix_config import MixConfig, MixStage
from mermed.stream.order.mix import quota_by_size
from mermed.stream.order.schedule import Schedule

Drawn = dict[str, dict[str, list[ShardRow]]]
"""Rows by modality and dataset, both sorted by name; rows in manifest order."""


def drawn_rows(rows: Iterable[ShardRow], mix: MixConfig, stages: Sequence[MixStage]) -> Drawn:
    """The rows that `mix` ever draws from. Raises ConfigError for a name that no row has, or when nothing is left."""
    found: Drawn = {}
    for row in rows:
        found.setdefault(row.modality, {}).setdefault(row.dataset, []).append(row)
    _refuse_absent(mix, found)
    chosen: Drawn = {}
    for modality in sorted(found):
        datasets = {
            dataset: found[modality][dataset]
            for dataset in sorted(found[modality])
            if f"{modality}/{dataset}" not in mix.drop
            and max(stage.datasets.get(f"{modality}/{dataset}", 1) for stage in stages) > 0
        }
        if datasets and mix.draws(modality):
            chosen[modality] = datasets
    if not chosen:
        raise ConfigError("no samples to draw from", found="an empty mixture")
    return chosen


def _refuse_absent(mix: MixConfig, found: Drawn) -> None:
    present = [*found, *(f"{modality}/{dataset}" for modality in found for dataset in found[modality])]
    absent = [name for name in mix.named() if name not in present]
    if absent:
        near = difflib.get_close_matches(absent[0], present, n=1)
        raise ConfigError(
            "the mix names what the collection lacks",
            expected=" ".join(sorted(found)),
            found=" ".join(absent),
            next_step=f"did you mean '{near[0]}'?" if near else "leave it out of the mix file, or pack it",
        )


def modality_schedule(modalities: Sequence[str], stages: Sequence[MixStage]) -> Schedule:
    """Which modality fills a slot; raises ConfigError when a stage draws from none."""
    return Schedule([(stage.slot, tuple(stage.weight(modality) for modality in modalities)) for stage in stages])


def dataset_schedule(
    modality: str,
    samples: dict[str, int],
    stages: Sequence[MixStage],
    alpha: float,
    drawn_at: Callable[[int], int],
) -> Schedule:
    """Which dataset of `modality` fills its draws; `drawn_at` tells how many draws it has given at a slot.

    Raises ConfigError when a stage draws from none of the datasets.
    """
    try:
        return Schedule([(drawn_at(stage.slot), _quota(modality, samples, stage, alpha)) for stage in stages])
    except ConfigError as error:
        error.add_place(modality=modality)
        raise


def _quota(modality: str, samples: dict[str, int], stage: MixStage, alpha: float) -> tuple[int, ...]:
    """By the stage's own numbers when it names a dataset of the modality, else by size."""
    if any(name.startswith(f"{modality}/") for name in stage.datasets):
        return tuple(stage.datasets.get(f"{modality}/{dataset}", 1) for dataset in samples)
    return quota_by_size(tuple(samples.values()), alpha)
