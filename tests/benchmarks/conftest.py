"""The benches' own modules lie in `benchmarks`, which is no package."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(scope="session")
def bench_images(tmp_path_factory):
    """Seven modalities x 6 images of 64 px, as the loader's bench writes them."""
    from peers.images import write_images

    folder = tmp_path_factory.mktemp("bench") / "images"
    write_images(folder, per_modality=6, side_px=64)
    return folder
