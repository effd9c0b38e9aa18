"""Weights on disk: initial weights from foreign files, the newest whole checkpoint of a run, the encoder of a run."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from mermed import keyed
from mermed.config import RunConfig, load_run_config
from mermed.errors import ConfigError, ResumeError
from mermed.model.encoder import build_encoder

CONFIG_NAME = "config.toml"
INITIAL_NAME = "initial.safetensors"
CHECKPOINT_FOLDER = "checkpoints"
STATE_NAME = "state.json"
STUDENT_NAME = "student.safetensors"
TEACHER_NAME = "teacher.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
QUEUE_NAME = "queue.safetensors"
ENCODER_PREFIX = "encoder."

_ANCHOR = "cls_token"
_STEP_FOLDER = re.compile(r"step-(\d+)")
_READ_BYTES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class InitReport:
    """What `load_init` found: names of encoder tensors loaded, of those left as they were, and of tensors not used."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str = ""

    def __str__(self) -> str:
        text = f"initial weights: {len(self.matched)} of {len(self.matched) + len(self.missing)} tensors loaded"
        if self.prefix:
            text += f" from those named '{self.prefix}*'"
        for what, names in (("left at random", self.missing), ("not used", self.unexpected)):
            if names:
                text += f"; {what}: {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
        return text


def load_init(encoder: nn.Module, path: Path) -> InitReport:
    """Load a local file of weights (safetensors, or torch read with weights_only) into a timm encoder, in place.

    The encoder is looked for in nested dicts and under any prefix, such as `module.`, `backbone.`, `teacher.` or
    `student.`; of several the one that fits best, then the teacher's, is taken. timm resamples the position embedding
    to this encoder's grid. Raises ConfigError when the file cannot be read or fewer than half of the tensors fit.
    """
    tensors = dict(_flatten(_read_weights(path)))
    wanted = encoder.state_dict()
    prefixes = sorted({name.removesuffix(_ANCHOR) for name in tensors if name.split(".")[-1] == _ANCHOR})
    found = [(prefix, _convert(tensors, prefix, encoder)) for prefix in prefixes]
    fits = [(_fitting(converted, wanted), "teacher" in prefix, -len(prefix)) for prefix, converted in found]
    best = max(range(len(found)), key=lambda i: (len(fits[i][0]), *fits[i][1:]), default=None)
    prefix, converted = found[best] if best is not None else ("", {})
    matched = fits[best][0] if best is not None else []
    if 2 * len(matched) < len(wanted):
        raise ConfigError(
            "the initial weights do not fit the encoder",
            where={"file": path.name},
            expected=f"at least half of {len(wanted)} tensors, such as {_example(wanted)}",
            found=f"{len(matched)} that fit, among {len(tensors)} such as {_example(tensors)}",
            next_step="choose the file and model.encoder of one architecture and size",
        )
    encoder.load_state_dict({name: converted[name] for name in matched}, strict=False)
    outside = [name for name in tensors if not name.startswith(prefix)]
    return InitReport(
        matched=tuple(matched),
        missing=tuple(name for name in wanted if name not in set(matched)),
        unexpected=tuple([name for name in converted if name not in set(matched)] + outside),
        prefix=prefix,
    )


def _example(tensors: Mapping[str, Tensor]) -> str:
    return next((f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()), "none")


def _read_weights(path: Path) -> Mapping[str, Any]:
    """The nested content of a weights file; never runs code from it."""
    if not path.is_file():
        raise ConfigError(
            "no file of initial weights here",
            where={"setting": "model.init"},
            expected="a local .safetensors or .pth file",
            found=path,
            next_step="copy the weights here first: mermed never downloads them",
        )
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        content = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(
            "a file of weights cannot be read safely",
            where={"file": path.name},
            expected="safetensors, or a torch file that holds tensors alone",
            found=str(error).strip().splitlines()[0][:200],
            next_step="save its state_dict alone, as safetensors",
        ) from None
    if not isinstance(content, Mapping):
        raise ConfigError("a file of weights holds no named tensors", where={"file": path.name}, found=type(content))
    return content


def _flatten(content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{path}{name}", value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{path}{name}.")


def _convert(tensors: Mapping[str, Tensor], prefix: str, encoder: nn.Module) -> dict[str, Tensor]:
    """The tensors below `prefix` in timm's names and shapes for this encoder."""
    family = eva if isinstance(encoder, eva.Eva) else vision_transformer
    inner = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return family.checkpoint_filter_fn(inner, encoder)  # type: ignore[arg-type]


def _fitting(converted: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in wanted.items() if name in converted and converted[name].shape == tensor.shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCheckpoint:
    """The newest whole checkpoint, and for each newer one that was passed over its name with what is wrong with it."""

    path: Path
    skipped: tuple[str, ...]


def latest_checkpoint(run: Path) -> FoundCheckpoint:
    """Find the newest folder RUN/checkpoints/step-XXXXXXXXX whose content is whole.

    Whole means: its state.json can be read, and every file it names has the size and the xxh3 written there. Raises
    ResumeError when there is none.
    """
    folders = [(int(match[1]), path) for path in _entries(run) if (match := _STEP_FOLDER.fullmatch(path.name))]
    skipped: list[str] = []
    for _, folder in sorted(folders, reverse=True):
        damage = _damage(folder)
        if damage is None:
            return FoundCheckpoint(path=folder, skipped=tuple(skipped))
        skipped.append(f"{folder.name} ({damage})")
    raise ResumeError(
        "the run has no whole checkpoint",
        where={"run": run},
        expected=f"{CHECKPOINT_FOLDER}/step-XXXXXXXXX with {STATE_NAME}",
        found="; ".join(skipped) or "none",
        next_step="start the run again, into another folder",
    )


def _entries(run: Path) -> list[Path]:
    folder = run / CHECKPOINT_FOLDER
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder; None when it is whole."""
    try:
        state = json.loads((folder / STATE_NAME).read_bytes())
        files = {str(name): (int(entry["bytes"]), str(entry["xxh3"])) for name, entry in state["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{STATE_NAME} is missing or damaged"
    if not files:
        return f"{STATE_NAME} names no files"
    for name, (size_bytes, digest) in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size_bytes:
            return f"{name} has {path.stat().st_size} bytes instead of {size_bytes}"
        if _xxh3(path) != digest:
            return f"the bytes of {name} changed"
    return None


def _xxh3(path: Path) -> str:
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def encoder_from_run(
    run: Path, which: Literal["teacher", "student", "initial", "random"], seed: int
) -> tuple[nn.Module, RunConfig]:
    """The encoder of a run, in eval mode and without gradient, and the run's settings.

    `teacher` and `student` come from the newest whole checkpoint, `initial` from before the first step; `random` is the
    same model with fresh weights that depend on `seed` alone and differ from the initial ones for every seed. Raises
    ResumeError when the run lacks what is asked for, or when its newest checkpoint is damaged: a figure must not come
    from other weights than its reader believes.
    """
    path = run / CONFIG_NAME
    if not path.is_file():
        raise ResumeError("this folder is not a run", where={"folder": run}, expected=CONFIG_NAME, found="none")
    config = load_run_config(path.read_text("utf-8"))
    encoder = build_encoder(
        config.model, config.augment.global_px, drop_path=0.0, seed=keyed.key("random baseline", seed)
    )
    if which != "random":
        encoder.load_state_dict(_encoder_tensors(run, which))
    return encoder.eval().requires_grad_(False), config


def _encoder_tensors(run: Path, which: Literal["teacher", "student", "initial"]) -> dict[str, Tensor]:
    if which == "initial":
        path, prefix = run / INITIAL_NAME, ""
    else:
        found = latest_checkpoint(run)
        if found.skipped:
            raise ResumeError(
                "the newest checkpoint of the run is damaged",
                where={"run": run},
                found="; ".join(found.skipped),
                next_step=f"delete it to use {found.path.name}, the newest whole one",
            )
        path, prefix = found.path / f"{which}.safetensors", ENCODER_PREFIX
    if not path.is_file():
        raise ResumeError(f"the run has no {which} weights", where={"run": run}, expected=path.name, found="none")
    tensors = load_file(path)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
