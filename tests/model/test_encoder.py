"""The encoder: its seed, its image sizes, its features, and the errors for other names."""

from dataclasses import replace

import pytest
import torch

from mermed.errors import ConfigError
from mermed.model.encoder import build_encoder, class_token, features


def test_the_weights_depend_on_the_seed_and_not_on_the_state_of_torch(tiny_config):
    torch.manual_seed(1)
    first = build_encoder(tiny_config, 32, drop_path=0.0, seed=5).state_dict()
    torch.manual_seed(2)
    same = build_encoder(tiny_config, 32, drop_path=0.3, seed=5).state_dict()
    other = build_encoder(tiny_config, 32, drop_path=0.0, seed=6).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["blocks.3.attn.qkv.weight"], other["blocks.3.attn.qkv.weight"])


def test_building_leaves_the_global_generator_where_it_was(tiny_config):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build_encoder(tiny_config, 32, drop_path=0.0, seed=5)
    assert torch.equal(before, torch.get_rng_state())


def test_small_views_pass_through_the_weights_made_for_large_ones(tiny_config):
    encoder = build_encoder(tiny_config, 224, drop_path=0.0, seed=0).eval()
    with torch.no_grad():
        assert class_token(encoder, torch.randn(2, 3, 224, 224)).shape == (2, 192)
        assert class_token(encoder, torch.randn(2, 3, 96, 96)).shape == (2, 192)


def test_features_are_the_class_token_and_the_mean_of_the_patches_alone(tiny_config):
    with_registers = replace(tiny_config, encoder="vit_small_patch14_reg4_dinov2")
    encoder = build_encoder(with_registers, 28, drop_path=0.0, seed=0).eval()
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        tokens = encoder.forward_features(images)
        found = features(encoder, images)
    assert tokens.shape[1] == 1 + 4 + 2 * 2
    assert torch.equal(found["cls"], tokens[:, 0])
    assert torch.equal(found["cls"], class_token(encoder, images).detach())
    assert torch.allclose(found["patch_mean"], tokens[:, 5:].mean(1))


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "deit_tiny_distilled_patch16_224"])
def test_relatives_of_the_vit_are_encoders_too(tiny_config, name):
    encoder = build_encoder(replace(tiny_config, encoder=name), 32, drop_path=0.1, seed=0)
    assert class_token(encoder, torch.randn(1, 3, 48, 48)).shape == (1, encoder.embed_dim)


def test_an_unknown_name_is_answered_with_near_ones(tiny_config):
    with pytest.raises(ConfigError, match=r"did you mean.*vit_tiny_patch16_224"):
        build_encoder(replace(tiny_config, encoder="vit_tiny_patch16_24"), 32, drop_path=0.0, seed=0)


@pytest.mark.parametrize("name", ["resnet18", "vit_base_patch16_siglip_224", "swin_tiny_patch4_window7_224"])
def test_a_model_without_a_class_token_is_refused(tiny_config, name):
    with pytest.raises(ConfigError, match="is not a vision transformer with a class token"):
        build_encoder(replace(tiny_config, encoder=name), 224, drop_path=0.0, seed=0)


def test_a_side_the_patches_do_not_divide_is_refused_when_built_and_when_called(tiny_config):
    with pytest.raises(ConfigError, match="the patches of the encoder do not divide a view"):
        build_encoder(tiny_config, 40, drop_path=0.0, seed=0)
    encoder = build_encoder(tiny_config, 32, drop_path=0.0, seed=0)
    with pytest.raises(ConfigError, match="a multiple of 16 px"):
        class_token(encoder, torch.zeros(1, 3, 40, 40))
