"""PackOptions: every choice that decides the bytes of a packed collection."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Literal

from mermed.contract import canonical_json
from mermed.errors import ConfigError
from mermed.pack.pixels.window import window_in_hu
from mermed.pack.readers.raw import Bounds

Codec = Literal["jpeg", "png"]
RULES_VERSION = 2
"""Counts changes of the rules from raw to canonical pixels; raise it whenever any packed byte would change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """How raw images become samples and samples become shards."""

    side_px: int = 512
    """Longest allowed short side; larger images are reduced to it, smaller ones are kept."""
    shard_mb: int = 256
    """Size in MiB at which a shard is closed; a single larger sample still fits in one."""
    codec: Codec = "jpeg"
    """JPEG (quality 95, 4:4:4) or lossless PNG."""
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    """Codecs of single modalities, where they differ from `codec`."""
    depth: int = 8
    """Bits per stored grey value: 8, or 16 to keep CT and CXR of more than 8 bits unwindowed in 16-bit PNGs."""
    ct_window: str = "soft_tissue"
    """The window that CT in Hounsfield units is shown through: a name, or "centre/width" in HU."""
    max_pixels: int = 2**28
    """Images whose header claims more pixels are refused before they are decoded."""

    def __post_init__(self) -> None:
        for name, least in (("side_px", 16), ("shard_mb", 1), ("max_pixels", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is too small", expected=f"{least} or more", found=getattr(self, name))
        for codec in (self.codec, *self.codecs.values()):
            if codec not in ("jpeg", "png"):
                raise ConfigError("unknown codec", expected="jpeg | png", found=codec)
        if self.depth not in (8, 16):
            raise ConfigError("unknown depth", expected="8 | 16", found=self.depth)
        window_in_hu(self.ct_window)

    def codec_of(self, modality: str) -> Codec:
        """The codec that 8-bit images of `modality` are stored with."""
        return self.codecs.get(modality, self.codec)

    @property
    def bounds(self) -> Bounds:
        """The bounds a reader keeps; a JPEG may be decoded reduced as long as twice the short side is left."""
        return Bounds(max_pixels=self.max_pixels, least_side_px=2 * self.side_px)

    def digest(self, salt_mark: str) -> str:
        """The sha256 of these options, the version of the rules and the mark of the salt that names samples."""
        content = {**asdict(self), "rules": RULES_VERSION, "salt": salt_mark}
        return sha256(canonical_json(content)).hexdigest()
