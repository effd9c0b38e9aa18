"""Ours where images may be decoded at a lower scale: as low as the views that training draws of them allow."""

from pathlib import Path

import numpy as np

from mermed.augment.detail import enough_px
from mermed.augment.draw import draw_views, policy_table
from mermed.batch import EncodedBatch
from mermed.config import AugmentConfig, StreamConfig
from mermed.stream.decode import Enough
from mermed.stream.image import fitted
from peers.border import Opening
from peers.collection import write_collection
from peers.images import MODALITIES
from peers.ours import OurSource

TITLE = "ours, at the scale that the crops need"
REQUIREMENTS = ()
SUPPORTS = frozenset({"threads", "ranks", "state", "mix", "endless"})
prepare = write_collection


def crops_need(canvas_px: int, seed: int) -> Enough:
    """The longer side that suffices for the views that the default augmentation draws of each image."""
    augment = AugmentConfig()
    policies = policy_table(augment.policy, MODALITIES)
    views = {"num_global": augment.num_global, "num_local": augment.num_local}

    def enough(encoded: EncodedBatch) -> np.ndarray:
        size_px = np.array([fitted(meta.height, meta.width, canvas_px) for meta in encoded.meta], np.int32)
        draws = draw_views(policies, seed=seed, slot=encoded.slot, modality=encoded.modality, size_px=size_px, **views)
        return enough_px(draws, num_global=augment.num_global, global_px=augment.global_px, local_px=augment.local_px)

    return enough


def open(out: Path, asked: Opening) -> OurSource:
    """As ours, with the scale of each image chosen by its crops."""
    stream = StreamConfig(canvas_px=asked.side_px, num_threads=asked.workers)
    return OurSource(out, stream, asked, enough=crops_need(asked.side_px, asked.seed))
