"""The encoder: any timm vision transformer with a class token, for images of any size its patches divide."""

import difflib

import timm
import torch
from jaxtyping import Float
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mermed import keyed
from mermed.config import ModelConfig
from mermed.errors import ConfigError


def build_encoder(config: ModelConfig, image_px: int, *, drop_path: float, seed: int) -> nn.Module:
    """A timm vision transformer without its classifier, with fresh weights that depend on `seed` alone.

    `image_px` is the side its position embedding is made for; other sides are reached by resampling it at each call.
    Never downloads. Raises ConfigError when timm has no such model, when the model is no vision transformer with a
    class token, or when its patches do not divide `image_px`.
    """
    name = config.encoder
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ConfigError(
            f"timm has no model '{name}'",
            where={"setting": "model.encoder"},
            next_step=f"did you mean {' or '.join(near)}?" if near else "timm.list_models('vit_*') lists the names",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(keyed.key("encoder weights", seed))
        try:
            encoder = timm.create_model(
                name,
                pretrained=False,
                num_classes=0,
                img_size=image_px,
                dynamic_img_size=True,
                drop_path_rate=drop_path,
                global_pool="token",
            )
        except (TypeError, AssertionError) as error:
            raise _not_a_transformer(name, str(error)) from None
    if not isinstance(encoder, VisionTransformer | Eva) or encoder.cls_token is None:
        raise _not_a_transformer(name, type(encoder).__name__)
    _check_side(encoder, image_px)
    return encoder


def _not_a_transformer(name: str, found: str) -> ConfigError:
    near = difflib.get_close_matches(name, timm.list_models("vit_*_patch16_224"), n=1, cutoff=0.0)
    return ConfigError(
        f"'{name}' is not a vision transformer with a class token",
        where={"setting": "model.encoder"},
        expected="a timm VisionTransformer or Eva that has a class token and takes any image size",
        found=found,
        next_step=f"choose a ViT such as {near[0]}",
    )


def _check_side(encoder: nn.Module, image_px: int) -> None:
    patch_px = max(encoder.patch_embed.patch_size)  # type: ignore[union-attr]
    if image_px % patch_px:
        raise ConfigError(
            "the patches of the encoder do not divide a view",
            expected=f"a multiple of {patch_px} px",
            found=f"{image_px} px",
            next_step="change augment.global_px or augment.local_px, or the encoder",
        )


def class_token(encoder: nn.Module, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
    """The class token after the final norm. Raises ConfigError when the patches do not divide the side."""
    return _tokens(encoder, images)[:, 0]


def features(encoder: nn.Module, images: Float[Tensor, "batch 3 side side"]) -> dict[str, Float[Tensor, "batch width"]]:
    """What downstream probes read: `cls`, the class token, and `patch_mean`, the mean of the patch tokens."""
    tokens = _tokens(encoder, images)
    num_prefix: int = encoder.num_prefix_tokens  # type: ignore[assignment]
    return {"cls": tokens[:, 0], "patch_mean": tokens[:, num_prefix:].mean(1)}


def _tokens(encoder: nn.Module, images: Tensor) -> Tensor:
    _check_side(encoder, images.shape[-1])
    return encoder.forward_features(images)  # type: ignore[operator]
