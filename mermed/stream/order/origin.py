"""The origin of an order: everything it follows from, as a few texts that a saved state can be held against."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mermed import keyed
from mermed.contract import canonical_json
from mermed.errors import ResumeError
from mermed.mix_config import MixConfig
from mermed.stream_config import StreamConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Two loaders of equal origin give the same sample at every slot; `mix` and `shuffle` are digests of settings."""

    manifest: str
    seed: int
    order_version: int
    mix: str
    shuffle: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a state."""
        return asdict(self)

    def require(self, state: Mapping[str, Any]) -> None:
        """Raise ResumeError, naming the first difference, unless `state` was saved by a loader of this origin."""
        for name, value in self.as_dict().items():
            if name not in state:
                raise ResumeError("a state to go on from lacks an entry", expected=name, found=", ".join(sorted(state)))
            if state[name] != value:
                raise ResumeError(
                    f"a state to go on from is of {_NOUNS[name]}",
                    expected=value,
                    found=state[name],
                    next_step="give the settings and the collection it was saved with, or start at slot 0",
                )


_SHUFFLE = ("splits", "block_samples", "window_blocks", "block_mib", "window_mib")
_NOUNS = {
    "manifest": "another collection, or one that has changed",
    "seed": "another seed",
    "order_version": "another version of the order",
    "mix": "another mixture",
    "shuffle": "other splits or shuffle settings",
}


def origin_of(manifest_digest: str, mix: MixConfig, stream: StreamConfig, seed: int) -> Origin:
    """The origin of the plan of (manifest, mix, stream, seed)."""
    shuffle = {name: getattr(stream, name) for name in _SHUFFLE}
    return Origin(
        manifest=manifest_digest,
        seed=seed,
        order_version=keyed.ORDER_VERSION,
        mix=_digest(asdict(mix)),
        shuffle=_digest(shuffle),
    )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]
