"""Shared by all tests: one small packed collection of phantoms, made once per session."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Raw phantoms of seven modalities, 14 images each, with the broken files among them."""
    from mermed.pack.phantoms.source import make_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    make_phantoms(folder, images_per_modality=14, seed=0)
    return folder


@pytest.fixture(scope="session")
def collection(phantoms, tmp_path_factory) -> Path:
    """The phantoms, packed. Tests must not change it: copy it first."""
    from click.testing import CliRunner

    from mermed.cli.shard import main

    out = tmp_path_factory.mktemp("collection") / "packed"
    command = ["pack", str(phantoms), "--out", str(out), "--salt-file", str(phantoms / "salt"), "--max-bad", "0.5"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images beside the checkout; tests that ask for it are skipped where there is none."""
    if not (REAL_DATA / "real").is_dir():
        pytest.skip("no real data beside this checkout")
    return REAL_DATA
