"""The smallest encoder that is still a timm vision transformer by name."""

import pytest

from mermed.config import ModelConfig


@pytest.fixture(scope="session")
def tiny_config():
    return ModelConfig(encoder="vit_tiny_patch16_224", head_hidden=32, embedding=16, drop_path=0.3)
