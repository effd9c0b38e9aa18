"""Checkpoints: everything that must survive, as safetensors and JSON, in a folder that appears whole or not at all."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mermed.errors import ResumeError
from mermed.keyed import ORDER_VERSION
from mermed.model.memory_queue import MemoryQueue
from mermed.model.student_teacher import StudentTeacher
from mermed.model.weights import CHECKPOINT_FOLDER, STATE_NAME, latest_checkpoint

_STEP_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands: optimiser steps done, slots consumed, the audit of all samples and draws so far.

    `ledger` counts by source what the run had read and replaced at its last checkpoint (stream/meters/ledger.py).
    """

    step: int
    slots: int
    audit: int
    manifest_digest: str
    order_version: int = ORDER_VERSION
    ledger: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict, compare=False)


def save_checkpoint(
    run: Path,
    state: RunState,
    model: StudentTeacher,
    queue: MemoryQueue,
    optimizer: torch.optim.Optimizer,
    keep_last: int,
) -> Path:
    """Write RUN/checkpoints/step-XXXXXXXXX and delete all but the `keep_last` newest. Returns the folder.

    The folder is filled under a temporary name, synced and renamed: a kill at any moment leaves the former ones whole.
    """
    parent = run / CHECKPOINT_FOLDER
    parent.mkdir(exist_ok=True)
    final = parent / f"step-{state.step:0{_STEP_DIGITS}d}"
    draft = parent / f".{final.name}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    tensors = {
        "student.safetensors": model.student.state_dict(),
        "teacher.safetensors": model.teacher.state_dict(),
        "queue.safetensors": queue.state_dict(),
        "optimizer.safetensors": optimizer_tensors(optimizer, model.student),
    }
    files = {name: _save_tensors(draft / name, content) for name, content in tensors.items()}
    _write_synced(draft / STATE_NAME, json.dumps({**asdict(state), "files": files}, indent=1).encode())
    if final.exists():
        shutil.rmtree(final)
    os.rename(draft, final)
    _sync_folder(parent)
    for old in sorted(parent.glob("step-*"))[:-keep_last]:
        shutil.rmtree(old)
    return final


def has_checkpoints(run: Path) -> bool:
    """Whether the run ever finished a checkpoint, whole or damaged since."""
    return any((run / CHECKPOINT_FOLDER).glob("step-*"))


def restore_checkpoint(
    run: Path, manifest_digest: str, model: StudentTeacher, queue: MemoryQueue, optimizer: torch.optim.Optimizer
) -> tuple[RunState, tuple[str, ...]]:
    """Load the newest whole checkpoint of a run in place; returns its state and the damaged ones passed over.

    Raises ResumeError when there is none, or when it was trained on other shards or in another order.
    """
    found = latest_checkpoint(run)
    content = json.loads((found.path / STATE_NAME).read_text())
    content.pop("files")
    state = RunState(**content)
    _check(state, manifest_digest, found.path.name)
    model.student.load_state_dict(load_file(found.path / "student.safetensors"))
    model.teacher.load_state_dict(load_file(found.path / "teacher.safetensors"))
    queue.load_state_dict(load_file(found.path / "queue.safetensors"))
    load_optimizer_tensors(optimizer, model.student, load_file(found.path / "optimizer.safetensors"))
    return state, found.skipped


def _check(state: RunState, manifest_digest: str, checkpoint: str) -> None:
    if state.manifest_digest != manifest_digest:
        raise ResumeError(
            "the shards are not those this run was trained on",
            where={"checkpoint": checkpoint},
            expected=f"manifest {state.manifest_digest[:12]}",
            found=f"manifest {manifest_digest[:12]}",
            next_step="resume with --shards naming the former collection, or start a new run",
        )
    if state.order_version != ORDER_VERSION:
        raise ResumeError(
            "this version of mermed orders samples in another way",
            where={"checkpoint": checkpoint},
            expected=f"order version {state.order_version}",
            found=f"order version {ORDER_VERSION}",
            next_step="resume with the mermed version that wrote the checkpoint",
        )


def optimizer_tensors(optimizer: torch.optim.Optimizer, student: nn.Module) -> dict[str, Tensor]:
    """The state of AdamW as named tensors: `<what>:<parameter name>`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in student.named_parameters()}
    return {
        f"{what}:{names[parameter]}": torch.as_tensor(value)
        for parameter, entries in optimizer.state.items()
        for what, value in entries.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, student: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, each where AdamW keeps it: step counts on the host unless fused."""
    parameters = dict(student.named_parameters())
    fused = optimizer.defaults.get("fused")
    for full_name, value in tensors.items():
        what, _, name = full_name.partition(":")
        parameter = parameters[name]
        stays_on_host = what == "step" and not fused
        entry: dict[str, Any] = optimizer.state[parameter]
        entry[what] = value.clone() if stays_on_host else value.to(parameter.device, copy=True)


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Save and sync one file; returns its size and xxh3."""
    save_file({name: tensor.detach().contiguous().cpu().clone() for name, tensor in tensors.items()}, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = xxhash.xxh3_64()
        while chunk := file.read(1 << 22):
            digest.update(chunk)
        return {"bytes": file.tell(), "xxh3": digest.hexdigest()}


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
