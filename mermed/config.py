"""RunConfig: every setting of a training run, frozen, with its unit; read from TOML and changed with `--set a.b=c`."""

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from mermed.augment_config import AugmentConfig
from mermed.errors import ConfigError
from mermed.mix_config import MixConfig
from mermed.stream_config import RESUME_SETTINGS, StreamConfig

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder and its head."""

    encoder: str = "vit_base_patch16_224"
    """Name of a timm vision transformer."""
    init: str = ""
    """Local file of initial encoder weights (safetensors, or torch read with weights_only); empty: from scratch."""
    drop_path: float = 0.1
    """Stochastic depth of the student; the teacher has none."""
    head_hidden: int = 2048
    """Width of the two hidden layers of the head."""
    embedding: int = 256
    """Width P of an embedding."""
    head_batch_norm: bool = True
    """Batch normalisation after the hidden layers of the head."""


@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """The memory queue that views are compared with."""

    rows: int = 131_072
    """Length K of the queue, in teacher embeddings."""
    blocks: int = 8
    """Blocks J the queue is cut into at random each step; must divide `rows`."""
    gate: bool = True
    """Compare an image only with rows of its own modality."""

    def __post_init__(self) -> None:
        fits = self.rows > 0 and self.blocks > 0 and self.rows % self.blocks == 0
        _require(fits, "queue.blocks must divide queue.rows", self)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedules; the shapes of the curves are in `train/schedules.py`."""

    lr: float = 5e-5
    """Peak learning rate at a batch of 256; it grows in proportion to the batch."""
    lr_end: float = 1e-6
    """Learning rate at the last step."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    layer_decay: float = 0.8
    """Factor on the learning rate from each layer to the one below it; 1 for training from scratch."""
    weight_decay: float = 0.04
    """Weight decay at the first step."""
    weight_decay_end: float = 0.4
    """Weight decay at the last step."""
    clip: float = 1.0
    """Largest L2 norm of a gradient; 0 turns clipping off."""
    clip_by: Literal["tensor", "global"] = "tensor"
    """Clip each parameter tensor by itself, or all together."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop."""

    steps: int = 100_000
    """Optimiser steps of the whole run."""
    batch: int = 1024
    """Images per step over all ranks."""
    student_temp: float = 0.1
    """Temperature of the student."""
    teacher_temp: float = 0.04
    """Temperature of the teacher at the first step."""
    teacher_temp_end: float = 0.07
    """Temperature of the teacher once its warm-up is over."""
    teacher_temp_warmup: float = 0.1
    """Share of the steps in which the teacher's temperature rises."""
    ema: float = 0.9995
    """Momentum of the teacher at the first step; it rises to 1 along a cosine."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic of the networks; auto is bf16 on a GPU that has it, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    deterministic: bool = True
    """Only kernels that give the same bits every time."""
    log_every: int = 10
    """Steps between two lines of metrics."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""
    keep_last: int = 3
    """Checkpoints kept; older ones are deleted."""
    prometheus: str = ""
    """File NAME.prom, for a node exporter, that always holds the newest reading; empty: none."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "checkpoint_every", "keep_last"):
            _require(getattr(self, name) >= 1, f"train.{name} must be 1 or more", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run: everything that decides its result except the shards themselves."""

    preset: str = "vit_b16"
    """Name of the preset this started from."""
    seed: int = 0
    """Seed of the order, the views, the initial weights and the blocks."""
    mix: MixConfig = field(default_factory=MixConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        _require(
            self.train.batch <= self.queue.rows,
            "a batch must fit into the queue (train.batch <= queue.rows)",
            self.queue,
        )
        _require(
            self.augment.num_global >= 2,
            "the objective compares views: augment.num_global must be 2 or more",
            self.augment,
        )


def _require(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise ConfigError(what, found=found)


def from_mapping(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Build the frozen dataclass `cls` from nested `values`; raises ConfigError naming the nearest known field."""
    known = {known_field.name: known_field for known_field in fields(cls)}  # type: ignore[arg-type]
    types_of = typing.get_type_hints(cls)
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        full = f"{path}{name}"
        if name not in known:
            raise ConfigError(f"unknown setting '{full}'", next_step=_did_you_mean(name, known, path))
        if is_dataclass(types_of[name]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"'{full}' is a group of settings", expected="a table", found=repr(value))
            chosen[name] = from_mapping(typing.cast(type[Any], types_of[name]), value, f"{full}.")
        else:
            chosen[name] = _convert(value, types_of[name], full)
    return cls(**chosen)


def _did_you_mean(name: str, known: Sequence[str] | Mapping[str, Any], path: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{path}{near[0]}'?" if near else f"known here: {', '.join(f'{path}{k}' for k in known)}"


def _convert(value: Any, wanted: Any, full: str) -> Any:
    """Check `value` against the annotation `wanted`; whole numbers pass as floats, lists as tuples."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(
                f"'{full}' has no such choice", expected=" | ".join(map(str, arguments)), found=repr(value)
            )
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(value, next(a for a in arguments if a is not type(None)), full)
    if origin is tuple and isinstance(value, list | tuple):
        return _convert_tuple(value, arguments, full)
    if origin is dict and isinstance(value, Mapping):
        return {str(name): _convert(entry, arguments[1], f"{full}.{name}") for name, entry in value.items()}
    if is_dataclass(wanted) and isinstance(value, Mapping):
        return from_mapping(typing.cast(type[Any], wanted), value, f"{full}.")
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted is Any:
        return value
    if isinstance(wanted, type) and isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"'{full}' has the wrong type", expected=getattr(wanted, "__name__", wanted), found=repr(value))


def _convert_tuple(value: Sequence[Any], arguments: tuple[Any, ...], full: str) -> tuple[Any, ...]:
    if Ellipsis not in arguments and len(value) != len(arguments):
        raise ConfigError(f"'{full}' has the wrong length", expected=f"{len(arguments)} values", found=repr(value))
    return tuple(_convert(entry, arguments[0], f"{full}[{number}]") for number, entry in enumerate(value))


def with_settings(config: RunConfig, settings: Sequence[str]) -> RunConfig:
    """Apply `--set` texts such as `train.lr=5e-5`, `mix.drop=us` or `train.device=cpu`, in order.

    Changes of the mix that are given in steps become slots of the batch that then holds.
    """
    tree = to_mapping(config)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError("a setting needs a value", expected="--set group.name=value", found=setting)
        _assign(tree, name.strip().split("."), text.strip(), name.strip())
        if name.strip() == "augment.policy_file":
            tree["augment"]["rows"] = _tables_of(tree["augment"]["policy_file"])
    return _settled(from_mapping(RunConfig, tree))


def _tables_of(path: str) -> dict[str, Any]:
    """What a policy file holds; nothing where there is none."""
    try:
        return _from_toml(Path(path).read_text("utf-8"), "the policy file") if path else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the policy file cannot be read", where={"file": path}, found=str(error)) from None


def _settled(config: RunConfig) -> RunConfig:
    return replace(config, mix=config.mix.settled(config.train.batch))


def with_resume_settings(config: RunConfig, settings: Sequence[str]) -> RunConfig:
    """Apply `--set` texts to a run that has begun; raises ConfigError for any but RESUME_SETTINGS."""
    names = [setting.partition("=")[0].strip() for setting in settings]
    if fixed := [name for name in names if name not in RESUME_SETTINGS]:
        raise ConfigError(
            "a run that has begun keeps its settings",
            expected=" | ".join(sorted(RESUME_SETTINGS)),
            found=" ".join(fixed),
            next_step="start a new run with mermed-train run to change the others",
        )
    return with_settings(config, settings)


_OPEN_TABLES = ["mix", "weights"], ["mix", "datasets"], ["augment", "extra"]
"""Tables whose names are data: they take any."""


def _assign(tree: dict[str, Any], parts: list[str], text: str, full: str) -> None:
    branch: Any = tree
    for depth, part in enumerate(parts):
        is_open = isinstance(branch, dict) and parts[:depth] in _OPEN_TABLES
        if not isinstance(branch, dict) or (part not in branch and not is_open):
            known = branch if isinstance(branch, dict) else {}
            raise ConfigError(
                f"unknown setting '{full}'",
                next_step=_did_you_mean(part, known, "".join(f"{p}." for p in parts[:depth])),
            )
        if depth == len(parts) - 1:
            branch[part] = _parse_value(text, branch.get(part))
        else:
            branch = branch[part]


def _parse_value(text: str, current: Any) -> Any:
    """Read `text` as a TOML value; bare words are strings, and a comma-separated list fills a list setting."""
    if isinstance(current, list):
        return [
            _parse_value(part.strip(), None) for part in text.strip("[]").replace('"', "").split(",") if part.strip()
        ]
    if isinstance(current, str):
        return text.strip('"')
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_mapping(config: Any) -> dict[str, Any]:
    """The nested plain values of a config: what its TOML file holds. Tuples become lists."""
    values: dict[str, Any] = {}
    for known in fields(config):
        value = getattr(config, known.name)
        if is_dataclass(value):
            value = to_mapping(value)
        elif isinstance(value, tuple):
            value = [to_mapping(entry) if is_dataclass(entry) else entry for entry in value]
        values[known.name] = dict(value) if isinstance(value, dict) else value
    return values


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """One line `group.name: old -> new` per setting that differs."""
    before, after = _flat(to_mapping(old)), _flat(to_mapping(new))
    return [
        f"{name}: {before.get(name)!r} -> {after.get(name)!r}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, dict) and value else {f"{path}{name}": value}
    return flat


def load_run_config(text: str) -> RunConfig:
    """Read the TOML of a resolved run, which holds every setting of the version that began it."""
    values = _from_toml(text, "a run's config.toml")
    if isinstance(augment := values.get("augment"), dict):
        # a run of before 0.3 chose its crops without looking, and goes on so
        augment.setdefault("foreground", False)
    return _settled(from_mapping(RunConfig, values))


def load_mix(text: str, mix: MixConfig | None = None) -> MixConfig:
    """Read a mix file, its tables `[weights]`, `[datasets]` and `[[changes]]`, `alpha` and `drop`, laid over `mix`."""
    values = _from_toml(text, "the mix file")
    given = from_mapping(MixConfig, values)
    return replace(mix or MixConfig(), **{name: getattr(given, name) for name in values})


def _from_toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{what} is not TOML", found=str(error)) from None
