"""Which slots of a run to look at: the first of each modality, or the one that draws a given key."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

import numpy as np

from mermed.config import RunConfig
from mermed.contract import KEY_GRAMMAR, check_name
from mermed.errors import ConfigError
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.order.schedule import NEVER
from mermed.stream.store import open_store
from mermed.train.run import RunData

_SEARCHED_SLOTS = 1 << 16
_SLOTS_AT_ONCE = 256


def first_slots(data: RunData, modalities: Sequence[str] = (), images: int = 1, first: int = 0) -> list[int]:
    """The first `images` slots of each modality (of every one that the run draws, if none is named) from `first` on.

    In order of modality, then of slot. Raises ConfigError for a modality that the run does not draw, or not soon.
    """
    plan = data.plan
    for name in modalities:
        if name not in plan.drawn_modalities:
            drawn = " | ".join(plan.drawn_modalities)
            raise ConfigError(f"the run draws no images of '{name}'", expected=drawn, found=name)
    wanted = {plan.modalities.index(name) for name in modalities or plan.drawn_modalities}
    found: defaultdict[int, list[int]] = defaultdict(list)
    for start in range(first, first + _SEARCHED_SLOTS, _SLOTS_AT_ONCE):
        for reference in plan.batch(range(start, start + _SLOTS_AT_ONCE)):
            if reference.modality in wanted and len(found[reference.modality]) < images:
                found[reference.modality].append(reference.slot)
        if sum(map(len, found.values())) == images * len(wanted):
            break
    if modalities and (missing := [name for name in modalities if not found[plan.modalities.index(name)]]):
        raise ConfigError(
            f"no image of '{missing[0]}' is drawn in the next {_SEARCHED_SLOTS:,} slots",
            where={"slot": first},
            next_step="another --slot, or a larger share of it in the mix",
        )
    return [slot for number in sorted(found) for slot in found[number]]


def slot_of_key(config: RunConfig, data: RunData, key: str, first: int = 0) -> int:
    """The first slot from `first` on that draws the sample `key`, found in the indexes of the run's shards.

    Raises ConfigError when the run never draws it, ContractError for text that cannot be a key.
    """
    check_name(key, KEY_GRAMMAR, "sample key")
    stream = config.stream
    with closing(open_store(data.shards, patience_s=stream.patience_s, client=stream.store_client)) as store:
        shelf = IndexShelf(store)
        for row in (row for source in data.plan.all_sources for row in source.rows):
            places = np.flatnonzero(shelf.table(row).entries["key"] == key.encode())
            if len(places):
                slot = data.plan.next_slot(row, range(int(places[0]), int(places[0]) + 1), first)
                if slot != NEVER:
                    return slot
    raise ConfigError(
        "the run draws no sample of this key",
        where={"key": key},
        expected=f"a key of the splits {' '.join(stream.splits)}",
        next_step="mermed-shard show DATA KEY finds a sample in any split",
    )
