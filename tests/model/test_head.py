"""The projection head: layers, initial weights, unit length, precision."""

import pytest
import torch
from torch import nn

from mermed.model.head import ProjectionHead, synchronise_batch_norm


def build(batch_norm=True, seed=0):
    return ProjectionHead(192, 512, 64, batch_norm=batch_norm, seed=seed)


def test_the_layers_are_those_of_the_method():
    kinds = [type(layer) for layer in build().layers]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Linear]
    assert [type(layer) for layer in build(batch_norm=False).layers] == [
        nn.Linear,
        nn.GELU,
        nn.Linear,
        nn.GELU,
        nn.Linear,
    ]


def test_weights_are_drawn_with_deviation_0_02_and_biases_are_zero():
    for layer in build(batch_norm=False).layers:
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert (layer.bias == 0).all()


def test_only_layers_without_batch_normalisation_have_a_bias():
    biases = [layer.bias is not None for layer in build().layers if isinstance(layer, nn.Linear)]
    assert biases == [False, False, True]


def test_the_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build(seed=4)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), build(seed=4).parameters(), strict=True))
    assert not torch.equal(first.layers[0].weight, build(seed=5).layers[0].weight)


def test_embeddings_have_unit_length_in_f32_under_autocast_too():
    tokens = torch.randn(8, 192, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = build()(tokens)
    assert embeddings.dtype == torch.float32
    assert torch.allclose(embeddings.norm(dim=-1), torch.ones(8), atol=1e-6)


def test_a_vector_of_zeros_stays_finite_with_a_finite_gradient():
    head = build(batch_norm=False)
    tokens = torch.zeros(2, 192, requires_grad=True)
    embeddings = head(tokens)
    embeddings.sum().backward()
    assert (embeddings == 0).all()
    assert tokens.grad is not None and torch.isfinite(tokens.grad).all()


def test_batch_normalisation_is_not_synchronised_in_a_single_process():
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in synchronise_batch_norm(build()).modules())
