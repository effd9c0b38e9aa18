"""The numbers stay: twenty toy steps on the golden shards give the losses that lie in git."""

import importlib.util
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
# Kernels of other processors round otherwise; over twenty steps that grows to some 1e-4 of the loss.
TOLERANCE = 2e-3


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def losses(tmp_path):
    yield _tool("make_losses").toy_losses(tmp_path / "run")
    torch.use_deterministic_algorithms(False)


def test_twenty_toy_steps_give_the_losses_in_git(losses):
    compare = _tool("compare_losses")
    expected = compare.read_trace(ROOT / "tests" / "losses" / "toy_cpu.txt")
    assert len(expected) == 20
    assert compare.first_difference(expected, losses, TOLERANCE) is None


def test_the_comparison_can_fail():
    compare = _tool("compare_losses")
    assert compare.first_difference([1.0, 2.0], [1.0, 2.1], 0.01) == "step 2: expected 2.0, found 2.1"
    assert compare.first_difference([1.0], [float("nan")], 0.01) is not None
    assert "expected" in compare.first_difference([1.0], [], 0.0)
