"""The memory loss against a brute-force loop in float64, its gradient, its edges and its symmetries."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mermed.errors import ConfigError
from mermed.train import losses
from mermed.train.losses import memory_loss, memory_losses, teacher_entropy

TEMPS = {"student_temp": 0.1, "teacher_temp": 0.05}


@pytest.fixture(params=["by modality", "masked"])
def either_path(request, monkeypatch):
    """Run a test on both ways of gating: the one chosen on a CPU and the one chosen on a GPU."""
    if request.param == "masked":
        monkeypatch.setattr(losses, "_reads_are_free", lambda device: False)


def unit(generator, *shape, dtype=torch.float64):
    return functional.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1).to(dtype)


def scene(seed=0, *, views=5, num_global=2, batch=6, rows=24, dim=7, num_blocks=3, modalities=3, unwritten=0.0):
    """Random inputs; the last share of the rows is not written, and modality 2 may miss from some block."""
    generator = torch.Generator().manual_seed(seed)
    keys = unit(generator, rows, dim)
    row_modality = torch.randint(modalities, (rows,), generator=generator)
    first_unwritten = rows - int(unwritten * rows)
    keys[first_unwritten:] = float("nan")
    row_modality[first_unwritten:] = -1
    return {
        "student": unit(generator, views, batch, dim),
        "teacher": unit(generator, num_global, batch, dim),
        "keys": keys,
        "row_modality": row_modality,
        "modality": torch.arange(batch) % modalities,
        "permutation": torch.randperm(rows, generator=generator),
        "num_blocks": num_blocks,
    }


def with_missing_modality(inputs):
    """Leave modality 2 in one row alone, so that all blocks but one hold no admissible row for its images."""
    row_modality = inputs["row_modality"].clone()
    row_modality[row_modality == 2] = 0
    row_modality[0] = 2
    return {**inputs, "row_modality": row_modality}


def brute_force(inputs, gate, student_temp=TEMPS["student_temp"], teacher_temp=TEMPS["teacher_temp"]):
    """The loss of METHOD with loops over pairs, blocks, images and rows; returns one value per image."""
    tensors = {name: value.double().numpy() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    student, teacher, keys = tensors["student"], tensors["teacher"], tensors["keys"]
    row_modality, modality = inputs["row_modality"].numpy(), inputs["modality"].numpy()
    blocks = np.split(inputs["permutation"].numpy(), inputs["num_blocks"])
    per_image = np.zeros(student.shape[1])
    pairs = [(g, v) for g in range(len(teacher)) for v in range(len(student)) if v != g]
    for g, v in pairs:
        for block in blocks:
            for b in range(student.shape[1]):
                met = [k for k in block if row_modality[k] >= 0 and (not gate or row_modality[k] == modality[b])]
                if not met:
                    continue
                student_logits = np.array([student[v, b] @ keys[k] / student_temp for k in met])
                teacher_logits = np.array([teacher[g, b] @ keys[k] / teacher_temp for k in met])
                q = np.exp(teacher_logits - teacher_logits.max())
                q /= q.sum()
                shifted = student_logits - student_logits.max()
                log_p = shifted - np.log(np.exp(shifted).sum())
                per_image[b] -= (q * log_p).sum() / (len(pairs) * len(blocks))
    return torch.from_numpy(per_image)


def plain_loss(student, teacher, keys, row_modality, modality, *, permutation, num_blocks, gate):
    """The same formula on whole tensors, differentiated by autograd; finite stand-ins instead of -inf and NaN."""
    admissible = (row_modality != -1).expand(len(modality), -1)
    if gate:
        admissible = admissible & (row_modality == modality[:, None])
    admissible = admissible[:, permutation].unflatten(1, (num_blocks, -1))
    clean = keys.nan_to_num(0.0)[permutation].unflatten(0, (num_blocks, -1))
    student_logits = torch.einsum("vbp,jsp->vbjs", student, clean) / TEMPS["student_temp"]
    teacher_logits = torch.einsum("gbp,jsp->gbjs", teacher, clean) / TEMPS["teacher_temp"]
    log_p = student_logits.masked_fill(~admissible, -1e30).log_softmax(-1)
    q = teacher_logits.masked_fill(~admissible, -1e30).softmax(-1).detach() * admissible
    pairs = [(g, v) for g in range(len(teacher)) for v in range(len(student)) if v != g]
    return sum(-(q[g] * log_p[v]).sum(-1).mean() for g, v in pairs) / len(pairs)


SCENES = {
    "full queue": scene(0),
    "partly filled queue": scene(1, unwritten=0.4),
    "a block nothing is written in": scene(2, unwritten=0.9),
    "blocks without admissible rows": with_missing_modality(scene(3)),
    "an empty queue": scene(4, unwritten=1.0),
    "one block": scene(5, num_blocks=1),
    "three global views": scene(6, num_global=3, views=3),
}


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("inputs", SCENES.values(), ids=SCENES.keys())
class TestAgainstReferences:
    def test_the_loss_equals_a_brute_force_loop_to_1e_12_in_f64(self, inputs, gate, either_path):
        expected = brute_force(inputs, gate)
        found = memory_losses(**inputs, **TEMPS, gate=gate)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        assert memory_loss(**inputs, **TEMPS, gate=gate).item() == pytest.approx(expected.mean().item(), abs=1e-12)

    def test_the_loss_equals_a_brute_force_loop_to_1e_5_in_f32(self, inputs, gate, either_path):
        rounded = {name: inputs[name].float() for name in ("student", "teacher", "keys")}
        found = memory_loss(**{**inputs, **rounded}, **TEMPS, gate=gate)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(brute_force(inputs, gate).mean().item(), abs=1e-5)

    def test_the_gradient_equals_autograd_of_the_plain_formula(self, inputs, gate, either_path):
        ours = inputs["student"].clone().requires_grad_()
        plain = inputs["student"].clone().requires_grad_()
        memory_loss(**{**inputs, "student": ours}, **TEMPS, gate=gate).backward()
        expected = plain_loss(**{**inputs, "student": plain}, gate=gate)
        expected.backward()
        assert ours.grad is not None and plain.grad is not None
        assert torch.isfinite(ours.grad).all()
        assert torch.allclose(ours.grad, plain.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gate", [True, False])
def test_the_gradient_of_each_image_passes_gradcheck(gate, either_path):
    inputs = with_missing_modality(scene(7, views=3, batch=3, rows=12, dim=4, unwritten=0.3))
    student = inputs.pop("student").requires_grad_()
    assert torch.autograd.gradcheck(lambda s: memory_losses(s, **inputs, **TEMPS, gate=gate), (student,))


def test_an_image_that_meets_no_row_adds_zero_and_no_gradient(either_path):
    inputs = scene(8)
    inputs["modality"][1] = 9
    student = inputs["student"].requires_grad_()
    found = memory_losses(**inputs, **TEMPS)
    found.sum().backward()
    assert found[1] == 0 and (found[[0, 2]] > 0).all()
    assert student.grad is not None
    assert (student.grad[:, 1] == 0).all() and torch.isfinite(student.grad).all()


def test_only_the_student_gets_a_gradient():
    inputs = scene(9)
    for name in ("student", "teacher", "keys"):
        inputs[name].requires_grad_()
    memory_loss(**inputs, **TEMPS).backward()
    assert inputs["student"].grad is not None
    assert inputs["teacher"].grad is None and inputs["keys"].grad is None


def test_one_block_without_gate_is_the_loss_of_dino_with_the_memory_as_prototypes():
    inputs = scene(10, num_blocks=1)
    student_out = inputs["student"] @ inputs["keys"].T / TEMPS["student_temp"]
    teacher_out = functional.softmax(inputs["teacher"] @ inputs["keys"].T / TEMPS["teacher_temp"], dim=-1)
    terms = [
        functional.cross_entropy(student_out[v], teacher_out[g])
        for g in range(len(teacher_out))
        for v in range(len(student_out))
        if v != g
    ]
    found = memory_loss(**inputs, **TEMPS, gate=False)
    assert found.item() == pytest.approx((sum(terms) / len(terms)).item(), abs=1e-12)


def test_a_uniform_predictor_pays_the_log_of_its_rows():
    rows, dim, num_blocks = 7 * 32, 8, 4
    generator = torch.Generator().manual_seed(11)
    keys = unit(generator, rows, dim)
    keys[:, -1] = 0.0  # the student's direction: every similarity is 0
    inputs = {
        "student": functional.one_hot(torch.full((3, 7), dim - 1), dim).double(),
        "teacher": unit(generator, 2, 7, dim),
        "keys": keys,
        "row_modality": torch.arange(rows) % 7,
        "modality": torch.arange(7),
        "permutation": torch.arange(rows),
        "num_blocks": num_blocks,
    }
    block = rows // num_blocks
    assert memory_loss(**inputs, **TEMPS, gate=False).item() == pytest.approx(math.log(block), abs=1e-12)
    assert memory_loss(**inputs, **TEMPS, gate=True).item() == pytest.approx(math.log(block / 7), abs=1e-12)


def test_rows_may_change_places_inside_a_block_but_not_between_blocks(either_path):
    inputs = scene(12)
    block = len(inputs["keys"]) // inputs["num_blocks"]
    generator = torch.Generator().manual_seed(0)
    inside = torch.cat(
        [part[torch.randperm(block, generator=generator)] for part in inputs["permutation"].split(block)]
    )
    across = inputs["permutation"].roll(block // 2)
    loss = memory_loss(**inputs, **TEMPS).item()
    assert memory_loss(**{**inputs, "permutation": inside}, **TEMPS).item() == pytest.approx(loss, abs=1e-12)
    assert memory_loss(**{**inputs, "permutation": across}, **TEMPS).item() != pytest.approx(loss, abs=1e-6)


def test_embeddings_in_bf16_are_computed_in_f32_under_autocast_too():
    inputs = scene(13, rows=240, batch=12, dim=32)
    rounded = {name: inputs[name].bfloat16() for name in ("student", "teacher", "keys")}
    inputs_f32 = {**inputs, **{name: tensor.float() for name, tensor in rounded.items()}}
    student = rounded["student"].requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = memory_loss(**{**inputs, **rounded}, **TEMPS)
    found.backward()
    assert found.dtype == torch.float32
    assert student.grad is not None and student.grad.dtype == torch.bfloat16
    assert found.item() == memory_loss(**inputs_f32, **TEMPS).item()
    assert found.item() == pytest.approx(memory_loss(**inputs, **TEMPS).item(), abs=0.02)


@pytest.mark.parametrize("gate", [True, False])
def test_the_entropy_of_the_teacher_counts_only_blocks_an_image_meets(gate, either_path):
    inputs = with_missing_modality(scene(14, unwritten=0.2))
    student = inputs.pop("student")
    found = teacher_entropy(**inputs, teacher_temp=TEMPS["teacher_temp"], gate=gate)
    # The cross-entropy of a distribution with itself is its entropy: compare teacher view 0 with a copy of itself.
    for image in range(student.shape[1]):
        entropies = []
        for block in inputs["permutation"].split(len(inputs["keys"]) // inputs["num_blocks"]):
            met = inputs["row_modality"][block]
            met = met == inputs["modality"][image] if gate else met >= 0
            if met.any():
                logits = inputs["teacher"][:, image] @ inputs["keys"][block[met]].T / TEMPS["teacher_temp"]
                entropies.append(torch.distributions.Categorical(logits=logits).entropy().mean())
        assert found[image].item() == pytest.approx(torch.stack(entropies).mean().item(), abs=1e-12)


def test_the_entropy_is_zero_without_any_row():
    inputs = scene(15, unwritten=1.0)
    inputs.pop("student")
    assert (teacher_entropy(**inputs, teacher_temp=0.04) == 0).all()


def test_the_largest_tensor_is_the_logits_of_one_block(monkeypatch):
    inputs = scene(16, rows=480, num_blocks=8, dim=3)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            largest = max(largest, result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    monkeypatch.setattr(losses, "_reads_are_free", lambda device: False)
    inputs["student"].requires_grad_()
    with Watch():
        memory_loss(**inputs, **TEMPS).backward()
    views, batch = 5 + 2, 6
    assert largest == views * batch * 480 // 8


def test_a_block_count_that_does_not_divide_the_rows_is_refused():
    inputs = {**scene(17), "num_blocks": 5}
    with pytest.raises(ConfigError, match=r"queue\.blocks must divide queue\.rows"):
        memory_loss(**inputs, **TEMPS)


def test_a_single_view_is_refused_because_no_pair_is_left():
    with pytest.raises(ConfigError, match="compares each teacher view"):
        memory_loss(**scene(18, views=1, num_global=1), **TEMPS)
