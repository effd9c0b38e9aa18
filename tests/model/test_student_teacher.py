"""Student and teacher: an exact copy at first, one head call, an average of parameters alone, no gradient."""

import pytest
import torch
from safetensors.torch import save_file

from mermed.batch import CropBatch
from mermed.config import ModelConfig
from mermed.model.student_teacher import build_student_teacher

VIEWS, NUM_GLOBAL, BATCH = 5, 2, 4


@pytest.fixture
def model(tiny_config):
    return build_student_teacher(tiny_config, 32, seed=0)[0]


@pytest.fixture
def crops():
    generator = torch.Generator().manual_seed(0)
    return CropBatch(
        global_crops=torch.randn(NUM_GLOBAL, BATCH, 3, 32, 32, generator=generator),
        local_crops=torch.randn(VIEWS - NUM_GLOBAL, BATCH, 3, 16, 16, generator=generator),
        modality=torch.zeros(BATCH, dtype=torch.int64),
    )


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_the_teacher_starts_as_an_exact_copy_without_gradient_or_stochastic_depth(model):
    student, teacher = model.student.state_dict(), model.teacher.state_dict()
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    assert {p.data_ptr() for p in model.student.parameters()}.isdisjoint(
        p.data_ptr() for p in model.teacher.parameters()
    )
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert any("DropPath" in type(part).__name__ for part in model.student.modules())
    assert not any("DropPath" in type(part).__name__ for part in model.teacher.modules())


def test_every_view_is_embedded_in_its_place(tiny_config, crops):
    config = ModelConfig(
        encoder=tiny_config.encoder, head_hidden=32, embedding=16, drop_path=0.0, head_batch_norm=False
    )
    model, _ = build_student_teacher(config, 32, seed=0)
    embeddings = model.embed_student(crops)
    assert embeddings.shape == (VIEWS, BATCH, 16)
    views = [*crops.global_crops, *crops.local_crops]
    for view, images in enumerate(views):
        for image in range(BATCH):
            alone = model.student(images[image][None, None])
            assert torch.allclose(embeddings[view, image], alone[0, 0], atol=1e-5)


def test_the_head_sees_all_views_in_one_call(model, crops):
    sizes = []
    model.student.head.register_forward_hook(lambda head, inputs, output: sizes.append(tuple(inputs[0].shape)))
    model.embed_student(crops)
    assert sizes == [(VIEWS * BATCH, 192)]


def test_the_teacher_sees_only_the_global_views(model, crops):
    embeddings = model.embed_teacher(crops)
    assert embeddings.shape == (NUM_GLOBAL, BATCH, 16)
    assert not embeddings.requires_grad


def test_an_empty_set_of_local_views_is_no_encoder_call(model, crops):
    without_local = CropBatch(
        global_crops=crops.global_crops, local_crops=crops.local_crops[:0], modality=crops.modality
    )
    assert model.embed_student(without_local).shape == (NUM_GLOBAL, BATCH, 16)


def test_the_teacher_follows_with_its_momentum_in_parameters_alone(model, crops):
    model.embed_student(crops)  # moves the running statistics of the student's head
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(torch.randn_like(parameter))
    before, student = snapshot(model.teacher), snapshot(model.student)
    model.update_teacher(0.9)
    after = model.teacher.state_dict()
    parameters = {name for name, _ in model.teacher.named_parameters()}
    assert set(after) - parameters, "the head has buffers"
    for name, tensor in after.items():
        expected = 0.9 * before[name] + 0.1 * student[name] if name in parameters else before[name]
        assert torch.allclose(tensor, expected, atol=1e-6), name
    assert not torch.equal(student["head.layers.1.running_mean"], after["head.layers.1.running_mean"])


def test_a_momentum_of_one_keeps_the_teacher(model):
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    before = snapshot(model.teacher)
    model.update_teacher(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.teacher.state_dict().items())


def test_the_teacher_normalises_with_its_own_batch(model, crops):
    assert model.teacher.training
    shifted = CropBatch(global_crops=crops.global_crops + 0.5, local_crops=crops.local_crops, modality=crops.modality)
    hidden = []
    model.teacher.head.layers[1].register_forward_hook(lambda layer, inputs, output: hidden.append(output))
    model.embed_teacher(shifted)
    assert hidden[0].mean(0).abs().max() < 1e-5


def test_the_gradient_reaches_every_parameter_of_the_student_and_none_of_the_teacher(tiny_config, crops):
    config = ModelConfig(encoder=tiny_config.encoder, head_hidden=32, embedding=16, drop_path=0.0)
    model, _ = build_student_teacher(config, 32, seed=0)
    (model.embed_student(crops) * torch.randn(VIEWS, BATCH, 16)).sum().backward()
    assert all(p.grad is not None for p in model.student.parameters())
    assert all(p.grad is None for p in model.teacher.parameters())


def test_initial_weights_reach_both_networks_and_are_reported(tiny_config, tmp_path):
    donor, _ = build_student_teacher(tiny_config, 32, seed=9)
    path = tmp_path / "donor.safetensors"
    save_file(donor.student.encoder.state_dict(), path)
    config = ModelConfig(encoder=tiny_config.encoder, head_hidden=32, embedding=16, init=str(path))
    model, report = build_student_teacher(config, 32, seed=0)
    assert report is not None and not report.missing and not report.unexpected
    for network in (model.student, model.teacher):
        assert torch.equal(network.encoder.blocks[0].attn.qkv.weight, donor.student.encoder.blocks[0].attn.qkv.weight)
    assert torch.equal(
        model.student.head.layers[0].weight, build_student_teacher(tiny_config, 32, 0)[0].student.head.layers[0].weight
    )
