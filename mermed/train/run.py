"""A run's folder and processes: settings and data pinned on disk, device chosen, process group opened and closed."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
import torch.distributed as dist
from safetensors.torch import save_file

import mermed
from mermed.address import parse_address
from mermed.augment.draw import PolicyTable, policy_table
from mermed.augment.policy import Normalisation, normalisation
from mermed.config import AugmentConfig, RunConfig, load_run_config, to_mapping, with_resume_settings
from mermed.contract import Manifest
from mermed.errors import ConfigError, EnvironmentError_, ResumeError
from mermed.model.student_teacher import StudentTeacher
from mermed.model.weights import CONFIG_NAME, INITIAL_NAME
from mermed.stream.order.plan import Plan
from mermed.stream.replace.tombstones import Tombstones, read_tombstones
from mermed.stream.store import open_manifest
from mermed.world import World

COLLECTIVE_TIMEOUT_S = 1800.0
DATA_NAME = "data.json"
_PRELUDE = (CONFIG_NAME, DATA_NAME, "env.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """The collection a run trains on, where it lies (a folder or a URL), and what the run took from it."""

    shards: str
    manifest: Manifest
    plan: Plan
    normalisation: Normalisation
    tombstones: Tombstones
    policies: PolicyTable
    """By modality number."""


def open_data(config: RunConfig, shards: str | Path) -> RunData:
    """Read the manifest at `shards`, plan over it, and take the normalisation of the run's policy from it.

    Raises ConfigError when the mix or the policy does not fit the collection: before a run folder is made.
    """
    manifest = open_manifest(shards, config.stream.patience_s)
    plan = Plan(manifest, config.mix, config.stream, config.seed)
    drawn = normalisation(config.augment.policy, plan.drawn_modalities, manifest.stats)
    return RunData(
        shards=str(shards),
        manifest=manifest,
        plan=plan,
        normalisation=_for_all(manifest.modalities, plan, drawn),
        tombstones=read_tombstones(config.stream.tombstones),
        policies=_policies(config.augment, manifest.modalities, plan.drawn_modalities),
    )


def _policies(augment: AugmentConfig, modalities: Sequence[str], drawn: Sequence[str]) -> PolicyTable:
    """The policy of each modality of the collection; one that the run does not draw needs none and holds another's."""
    if unknown := [name for name in augment.rows if name not in modalities]:
        raise ConfigError(
            "the policy file has a table for a modality that the collection does not hold",
            expected=" | ".join(modalities),
            found=" ".join(unknown),
        )
    own = dict(zip(drawn, policy_table(augment.policy, drawn, augment.rows).policies, strict=True))
    return PolicyTable(tuple(own.get(name, own[drawn[0]]) for name in modalities))


def _for_all(modalities: Sequence[str], plan: Plan, drawn: Normalisation) -> Normalisation:
    """Constants by modality number; those of a modality the run does not draw are NaN, so a wrong read shows."""
    mean, std = (np.full((len(modalities), 3), np.nan, np.float32) for _ in range(2))
    numbers = [modalities.index(name) for name in plan.drawn_modalities]
    mean[numbers], std[numbers] = drawn.mean, drawn.std
    return Normalisation(mean=mean, std=std)


def begin_folder(run: Path, config: RunConfig, data: RunData) -> None:
    """Create RUN with its settings, data and environment; raises ConfigError when it is not empty."""
    if run.exists() and any(run.iterdir()):
        raise ConfigError(
            "the run folder is not empty",
            where={"folder": run},
            next_step=f"go on with it by: mermed-train resume {run}, or choose another --out",
        )
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG_NAME).write_text(tomli_w.dumps(to_mapping(config)), "utf-8")
    (run / "env.json").write_text(json.dumps(environment(), indent=1), "utf-8")
    (run / DATA_NAME).write_text(json.dumps(_data_facts(data), indent=1), "utf-8")


def _data_facts(data: RunData) -> dict[str, Any]:
    mean, std = data.normalisation.mean.tolist(), data.normalisation.std.tolist()
    names = data.manifest.modalities
    return {
        "manifest_digest": data.manifest.digest,
        **_place(data.shards),
        "tombstones": data.tombstones.digest if data.tombstones else None,
        "modalities": list(names),
        "normalisation": {
            name: {"mean": mean[names.index(name)], "std": std[names.index(name)]}
            for name in data.plan.drawn_modalities
        },
        "sources": {source.name: source.samples for source in data.plan.all_sources},
    }


def _place(shards: str) -> dict[str, Any]:
    """Where the collection lies, for a later resume; of an address with a secret only what may be shown."""
    address = parse_address(shards)
    where = str(address.path.resolve()) if address.is_local else address.shown
    return {"shards": where, "shards_need_secret": address.is_secret}


def reopen_folder(run: Path, shards: str | Path | None = None, settings: Sequence[str] = ()) -> tuple[RunConfig, str]:
    """The settings of an existing run, the texts of `--set` laid over them, and where its shards lie.

    Raises ResumeError when `run` is not a run or its address held a secret, which was not kept, and ConfigError for a
    setting that would change what the run computes.
    """
    missing = [name for name in _PRELUDE if not (run / name).is_file()]
    if missing:
        raise ResumeError(
            "this folder is not a run",
            where={"folder": run},
            expected=" ".join(_PRELUDE),
            found=f"no {' '.join(missing)}",
            next_step="mermed-train run PRESET --shards DIR --out RUN starts one",
        )
    config = with_resume_settings(load_run_config((run / CONFIG_NAME).read_text("utf-8")), settings)
    facts = json.loads((run / DATA_NAME).read_text("utf-8"))
    if shards is None and facts.get("shards_need_secret"):
        raise ResumeError(
            "the address of the shards held a secret, which a run does not keep",
            where={"shards": facts["shards"]},
            next_step=f"mermed-train resume {run} --shards URL, with a valid signature",
        )
    return config, str(shards or facts["shards"])


def save_initial(run: Path, model: StudentTeacher) -> None:
    """Keep the encoder as it is before the first step: evaluation compares against it."""
    weights = model.teacher.encoder.state_dict()
    save_file({name: tensor.detach().cpu().clone() for name, tensor in weights.items()}, run / INITIAL_NAME)


def environment() -> dict[str, Any]:
    """Versions and hardware, without host names or paths."""
    return {
        "mermed": mermed.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }


def choose_device(config: RunConfig, world: World) -> torch.device:
    """The device of this rank; raises EnvironmentError_ when a GPU is asked for and there is none."""
    if config.train.device == "cpu" or (config.train.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if torch.cuda.device_count() <= world.rank_of_node:
        raise EnvironmentError_(
            "no GPU for this rank",
            expected=f"{world.ranks_per_node} GPUs",
            found=torch.cuda.device_count(),
            next_step="start fewer processes, or --set train.device=cpu",
        )
    return torch.device("cuda", world.rank_of_node)


@contextmanager
def process_group(world: World, device: torch.device, patience_s: float) -> Iterator[None]:
    """Join the other ranks over NCCL (GPU) or Gloo (CPU) for the time of the block; nothing to do when alone.

    A rank may wait `patience_s` for its store while the others wait for it in a collective, so those wait longer.
    """
    if world.num_ranks == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=COLLECTIVE_TIMEOUT_S + patience_s)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    try:
        yield
    finally:
        dist.destroy_process_group()


def make_deterministic(device: torch.device) -> None:
    """Ask torch for kernels that repeat to the bit; on a GPU those that have none warn instead of stopping the run."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
