"""Parameter groups, clipping and the finite check."""

import pytest
import torch
from torch import nn

from mermed.config import ModelConfig, OptimConfig, RunConfig
from mermed.model.student_teacher import build_student_teacher
from mermed.train.optim import build_optimizer, clip_gradients, finite, set_schedule

MODEL = ModelConfig(encoder="vit_tiny_patch16_224", head_hidden=16, embedding=8)


@pytest.fixture(scope="module")
def student():
    model, _ = build_student_teacher(MODEL, 32, seed=0)
    return model.student


def group_of(optimizer, parameter):
    (group,) = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return group


def test_every_parameter_of_the_student_is_in_one_group(student):
    optimizer = build_optimizer(student, RunConfig(model=MODEL))
    placed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in student.parameters())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.cls_token", 0),
        ("encoder.pos_embed", 0),
        ("encoder.patch_embed.proj.weight", 0),
        ("encoder.blocks.0.attn.qkv.weight", 1),
        ("encoder.blocks.11.mlp.fc2.bias", 12),
        ("encoder.norm.weight", 12),
        ("head.layers.0.weight", 13),
    ],
)
def test_the_learning_rate_decays_from_the_head_to_the_first_layer(student, name, layer):
    optimizer = build_optimizer(student, RunConfig(model=MODEL, optim=OptimConfig(layer_decay=0.8)))
    set_schedule(optimizer, lr=2e-4, weight_decay=0.1)
    group = group_of(optimizer, student.get_parameter(name))
    assert group["layer"] == layer
    assert group["lr"] == pytest.approx(2e-4 * 0.8 ** (13 - layer))


def test_weight_decay_spares_vectors_the_position_embedding_and_the_class_token(student):
    optimizer = build_optimizer(student, RunConfig(model=MODEL))
    set_schedule(optimizer, lr=1e-3, weight_decay=0.25)
    for name, parameter in student.named_parameters():
        is_spared = parameter.ndim == 1 or name in ("encoder.pos_embed", "encoder.cls_token")
        assert group_of(optimizer, parameter)["weight_decay"] == (0.0 if is_spared else 0.25), name


def test_the_optimiser_is_adamw_with_the_constants_of_the_method(student):
    optimizer = build_optimizer(student, RunConfig(model=MODEL))
    assert type(optimizer) is torch.optim.AdamW
    assert all(group["betas"] == (0.9, 0.999) and group["eps"] == 1e-8 for group in optimizer.param_groups)
    assert all(group["foreach"] and not group["fused"] for group in optimizer.param_groups)


def parameters_with_gradients(*gradients):
    parameters = [nn.Parameter(torch.zeros_like(torch.tensor(g))) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return parameters


def test_clipping_by_tensor_shortens_only_the_long_ones():
    parameters = parameters_with_gradients([3.0, 4.0], [0.3, 0.4], [0.0, 0.0])
    norm = clip_gradients(parameters, 1.0, "tensor")
    assert norm.item() == pytest.approx((25.0 + 0.25) ** 0.5)
    assert torch.allclose(parameters[0].grad, torch.tensor([0.6, 0.8]))
    assert parameters[1].grad.tolist() == torch.tensor([0.3, 0.4]).tolist()
    assert parameters[2].grad.tolist() == [0.0, 0.0]


def test_clipping_all_together_equals_torch():
    ours = parameters_with_gradients([3.0, 4.0], [0.3, 0.4])
    theirs = parameters_with_gradients([3.0, 4.0], [0.3, 0.4])
    norm = clip_gradients(ours, 1.0, "global")
    expected = nn.utils.clip_grad_norm_(theirs, 1.0)
    assert norm.item() == pytest.approx(expected.item())
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


@pytest.mark.parametrize("by", ["tensor", "global"])
def test_a_clip_of_zero_only_measures(by):
    parameters = parameters_with_gradients([3.0, 4.0])
    assert clip_gradients(parameters, 0.0, by).item() == pytest.approx(5.0)
    assert parameters[0].grad.tolist() == [3.0, 4.0]


def test_a_gradient_that_is_not_finite_is_told_from_one_that_is():
    good, bad = parameters_with_gradients([3.0, 4.0]), parameters_with_gradients([1.0], [float("nan")])
    loss = torch.tensor(1.0, requires_grad=True)
    assert finite(loss, clip_gradients(good, 1.0, "tensor")).item() is True
    assert finite(loss, clip_gradients(bad, 1.0, "tensor")).item() is False
    assert finite(loss * float("inf"), torch.tensor(1.0)).item() is False
    assert not finite(loss, torch.tensor(1.0)).requires_grad
