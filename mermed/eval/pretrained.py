"""The run that is judged: its settings, what it was trained on, how far it came, and whether it saw the test images."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mermed.augment.policy import Normalisation, normalisation
from mermed.config import RunConfig, load_run_config
from mermed.contract import Manifest
from mermed.errors import ResumeError
from mermed.model.weights import CONFIG_NAME, STATE_NAME, latest_checkpoint

DATA_NAME = "data.json"
LeakStatus = Literal["LEAKY", "none found", "not checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedRun:
    """A run folder as evaluation sees it. `constants` maps a modality to the mean and std the run normalised with.

    `digest` names the run by its settings and data, wherever its folder lies and however far it was trained.
    `skipped` names damaged checkpoints that were passed over.
    """

    path: Path
    config: RunConfig
    manifest_digest: str
    constants: Mapping[str, Mapping[str, Any]]
    checkpoint: str
    step: int
    images_seen: int
    skipped: tuple[str, ...]
    digest: str

    def draws_from(self, modality: str, split: str) -> bool:
        """Whether this run's batches hold images of `modality` from `split` of its collection."""
        return self.config.mix.draws(modality) and modality in self.constants and split in self.config.stream.splits


@dataclass(frozen=True, slots=True)
class Leak:
    """Whether pretraining drew from a task's test images, and the reason for the answer."""

    status: LeakStatus
    reason: str


def open_run(run: Path) -> PretrainedRun:
    """Read a run folder; raises ResumeError when it is not a run or has no whole checkpoint."""
    missing = [name for name in (CONFIG_NAME, DATA_NAME) if not (run / name).is_file()]
    if missing:
        raise ResumeError(
            "this folder is not a run",
            where={"folder": run},
            expected=f"{CONFIG_NAME} and {DATA_NAME}",
            found=f"no {' and no '.join(missing)}",
            next_step="mermed-train run PRESET --shards DIR --out RUN makes one",
        )
    settings, data = (run / CONFIG_NAME).read_bytes(), json.loads((run / DATA_NAME).read_bytes())
    found = latest_checkpoint(run)
    state = json.loads((found.path / STATE_NAME).read_bytes())
    identity = settings + str(data["manifest_digest"]).encode()
    return PretrainedRun(
        path=run,
        config=load_run_config(settings.decode()),
        manifest_digest=data["manifest_digest"],
        constants=data["normalisation"],
        checkpoint=found.path.name,
        step=state["step"],
        images_seen=state["slots"],
        skipped=found.skipped,
        digest=hashlib.sha256(identity).hexdigest(),
    )


def constants_for(
    run: PretrainedRun, modalities: Sequence[str], manifest: Manifest
) -> tuple[Normalisation, tuple[str, ...]]:
    """The run's normalisation in the order of `modalities`, and which of them the run does not know.

    Those take the mean and std of the collection that is judged on; raises ConfigError when it has none.
    """
    unknown = tuple(name for name in modalities if name not in run.constants)
    # the preset `medical` takes its constants from the manifest, whatever the run's own preset does
    foreign = normalisation("medical", unknown, manifest.stats)
    rows = {name: (mean, std) for name, mean, std in zip(unknown, foreign.mean, foreign.std, strict=True)}
    rows |= {name: (run.constants[name]["mean"], run.constants[name]["std"]) for name in modalities if name not in rows}
    table = np.asarray([rows[name] for name in modalities], np.float32)
    return Normalisation(mean=table[:, 0].copy(), std=table[:, 1].copy()), unknown


def leak_of(run: PretrainedRun, manifest: Manifest, modality: str) -> Leak:
    """Whether `run` was pretrained on the test split that a task of `modality` is scored on."""
    if run.manifest_digest != manifest.digest:
        return Leak("not checked", "the run was pretrained on another collection; shared images were not looked for")
    if run.draws_from(modality, "test"):
        return Leak("LEAKY", "pretraining drew from the test split of this collection (stream.splits)")
    return Leak("none found", "pretraining drew from this collection, but not from its test split")
