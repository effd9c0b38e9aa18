"""Named runs: each a function that returns a RunConfig. A preset is where a decision about training is written down."""

from collections.abc import Callable

from mermed.config import AugmentConfig, ModelConfig, OptimConfig, QueueConfig, RunConfig, StreamConfig, TrainConfig
from mermed.errors import ConfigError


def vit_b16() -> RunConfig:
    """The released recipe: ViT-B/16 continued from DINO weights, batch 1024, queue 131,072 in 8 blocks (METHOD [R])."""
    return RunConfig(preset="vit_b16")


def vit_b16_scratch() -> RunConfig:
    """The released recipe from random weights: no layer decay, ten times the learning rate (METHOD [M])."""
    return RunConfig(preset="vit_b16_scratch", optim=OptimConfig(lr=5e-4, layer_decay=1.0))


def vit_b16_seed() -> RunConfig:
    """The recipe of the paper's digest: queue 65,536 in 4 blocks, DINO colours, ImageNet normalisation (METHOD [S])."""
    return RunConfig(
        preset="vit_b16_seed", queue=QueueConfig(rows=65_536, blocks=4), augment=AugmentConfig(policy="seed")
    )


def vit_s16_small() -> RunConfig:
    """ViT-S/16 from scratch for one GPU and about 10^5 images; blocks keep some 500 admissible rows when gated."""
    return RunConfig(
        preset="vit_s16_small",
        model=ModelConfig(encoder="vit_small_patch16_224"),
        augment=AugmentConfig(policy="medical"),
        queue=QueueConfig(rows=16_384, blocks=4),
        optim=OptimConfig(lr=5e-4, layer_decay=1.0),
        train=TrainConfig(steps=20_000, batch=256, ema=0.996),
    )


def vit_tiny_cpu() -> RunConfig:
    """ViT-Ti/16 from scratch for a few thousand images on two cores: 96 px and 48 px views of a 128 px canvas."""
    return RunConfig(
        preset="vit_tiny_cpu",
        stream=StreamConfig(canvas_px=128),
        model=ModelConfig(encoder="vit_tiny_patch16_224", head_hidden=512, embedding=128),
        augment=AugmentConfig(policy="medical", engine="cpu", global_px=96, local_px=48, num_local=6),
        queue=QueueConfig(rows=4096, blocks=4),
        optim=OptimConfig(lr=4e-3, layer_decay=1.0),
        train=TrainConfig(steps=300, batch=56, ema=0.99, log_every=5, checkpoint_every=50),
    )


def smoke() -> RunConfig:
    """The smallest run with every part in it, for the demo and the tests: seconds on two cores."""
    return RunConfig(
        preset="smoke",
        stream=StreamConfig(canvas_px=64),
        model=ModelConfig(encoder="vit_tiny_patch16_224", head_hidden=128, embedding=64),
        augment=AugmentConfig(policy="medical", engine="cpu", global_px=64, local_px=32, num_local=4),
        queue=QueueConfig(rows=448, blocks=2),
        optim=OptimConfig(lr=4e-3, layer_decay=1.0),
        train=TrainConfig(steps=60, batch=28, ema=0.98, log_every=5, checkpoint_every=20),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {
    run.__name__: run for run in (vit_b16, vit_b16_scratch, vit_b16_seed, vit_s16_small, vit_tiny_cpu, smoke)
}


def preset(name: str) -> RunConfig:
    """The named run; raises ConfigError listing the names."""
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'", expected=" | ".join(PRESETS), found=name)
    return PRESETS[name]()
