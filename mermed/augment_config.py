"""AugmentConfig: which views are made of an image, and by which engine. Part of RunConfig."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mermed.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How views are made; the ranges themselves are rows of `augment/policy.py`."""

    policy: Literal["seed", "released", "medical"] = "released"
    """Preset of the per-modality policy table."""
    engine: Literal["torch", "kornia", "cpu", "dali"] = "torch"
    """What applies the drawn parameters: torch (CPU or GPU), kornia (the reference), cpu (threads, where there is no
    GPU) or dali (decodes the images too)."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the torch engine; auto does on a GPU."""
    extra: dict[str, float] = field(default_factory=dict)
    """Probability of each named extra transform of Kornia (augment/extra.py), for the kornia engine alone."""
    global_px: int = 224
    """Side of a global view."""
    local_px: int = 96
    """Side of a local view."""
    num_global: int = 2
    """Global views per image, seen by student and teacher."""
    num_local: int = 10
    """Local views per image, seen by the student alone."""
    foreground: bool = True
    """Prefer crops that show something, where the policy asks for it."""
    policy_file: str = ""
    """TOML file with a table per modality that adds to the preset's policies or replaces them; empty: none. It is read
    once, when it is set: `rows` keeps what it held."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The tables of `policy_file`: for each modality any field of a policy, `reason`, `source` and perhaps `like`."""

    def __post_init__(self) -> None:
        if self.policy_file and not self.rows:
            raise ConfigError(
                "augment.policy_file names a file whose tables are not in augment.rows", found=self.policy_file
            )
