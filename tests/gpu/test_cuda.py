"""What must hold on a GPU as it does on a CPU. Skipped where there is none."""

import numpy as np
import pytest
import torch

from mermed.train.losses import memory_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def _unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def test_the_loss_on_the_gpu_is_the_loss_on_the_cpu():
    torch.manual_seed(0)
    student, teacher, keys = _unit(12, 14, 64), _unit(2, 14, 64), _unit(448, 64)
    row_modality, modality = torch.arange(448) % 7, torch.arange(14) % 7
    permutation = torch.randperm(448)
    losses, gradients = [], []
    for device in ("cpu", "cuda"):
        leaf = student.detach().to(device).requires_grad_()
        rows = (keys.to(device), row_modality.to(device), modality.to(device))
        loss = memory_loss(
            leaf,
            teacher.to(device),
            *rows,
            permutation=permutation.to(device),
            num_blocks=4,
            student_temp=0.1,
            teacher_temp=0.04,
        )
        loss.backward()
        losses.append(loss.item())
        gradients.append(leaf.grad.cpu())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


@pytest.fixture
def canvases():
    from mermed.batch import CanvasBatch, Position

    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(14, 3, 12, 12, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, 96, mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)
    return CanvasBatch(
        pixels=pixels,
        size_px=torch.full((14, 2), 96, dtype=torch.int32),
        modality=torch.arange(14) % 7,
        slot=np.arange(14),
        meta=(None,) * 14,
        position=Position(14),
    )


@pytest.mark.parametrize("policy", ["seed", "released", "medical"])
def test_the_views_on_the_gpu_are_the_views_on_the_cpu(canvases, policy):
    from mermed.augment.draw import draw_views, policy_table
    from mermed.augment.engine import build_crops
    from mermed.augment.policy import normalisation
    from mermed.config import AugmentConfig
    from mermed.contract import MODALITIES

    config = AugmentConfig(policy=policy, global_px=64, local_px=32, num_local=4)
    table = policy_table(policy, MODALITIES)
    stats = {name: {"mean": [0.5] * 3, "std": [0.25] * 3} for name in MODALITIES}
    constants = normalisation(policy, MODALITIES, stats)
    draws = draw_views(
        table,
        seed=0,
        slot=canvases.slot,
        modality=canvases.modality.numpy(),
        size_px=canvases.size_px.numpy(),
        num_global=2,
        num_local=4,
    )
    views = [
        build_crops(config, table, constants, 96, torch.device(device))(canvases, draws) for device in ("cpu", "cuda")
    ]
    for name in ("global_crops", "local_crops"):
        apart = (getattr(views[0], name) - getattr(views[1], name).cpu()).abs()
        assert apart.quantile(0.999) < 0.05


def test_a_run_on_the_gpu_resumes_with_the_same_samples_and_views(collection, tmp_path):
    import io
    import shutil

    from rich.console import Console

    from mermed.config import with_settings
    from mermed.presets import preset
    from mermed.train.loop import train
    from mermed.train.meters import read_metrics
    from mermed.train.run import begin_folder, open_data
    from mermed.world import World

    settings = ["train.device=cuda", "train.steps=6", "train.checkpoint_every=3", "train.log_every=1"]
    config = with_settings(preset("smoke"), settings)
    run, cut, console = tmp_path / "run", tmp_path / "cut", Console(file=io.StringIO())
    data = open_data(config, collection)
    begin_folder(run, config, data)
    whole = train(config, data, run, World(), console, resume=False)
    shutil.copytree(run, cut)
    shutil.rmtree(cut / "checkpoints" / "step-000000006")
    resumed = train(config, data, cut, World(), console, resume=True)
    assert resumed.state == whole.state
    for one, other in zip(read_metrics(run), read_metrics(cut), strict=True):
        assert one["audit"] == other["audit"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)
