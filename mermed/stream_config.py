"""StreamConfig: how samples come from the shards to the canvas, and which of it may change while a run goes on."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How samples come from the shards to the canvas. What only this machine decides is in MACHINE_SETTINGS."""

    canvas_px: int = 512
    """Side of the square canvas; a larger image is reduced to fit."""
    splits: tuple[str, ...] = ("train",)
    """Splits that training may draw from."""
    num_threads: int = 0
    """Threads that read and decode; 0 means one per core of this rank."""
    batches_ahead: int = 2
    """Batches decoded ahead of the step; with the one in use they make the ring of buffers."""
    block_samples: int = 64
    """Neighbouring samples that stay together in the shuffle when it has a window."""
    window_blocks: int = 0
    """Blocks the shuffle mixes at once; 0 means all, a perfect shuffle (right for local disks)."""
    block_mib: float = 0.0
    """Size of a block in MiB at the mean size of a sample of its source, instead of `block_samples`; 0: not used."""
    window_mib: float = 0.0
    """Size of a window in MiB at the mean size of a sample of its source, instead of `window_blocks`; 0: not used."""
    tombstones: str = ""
    """File of keys, one a line, that must not be drawn any more; empty: none. Other positions stay as they are."""
    max_failed: float = 0.001
    """Largest share of draws that may fail and be replaced by another sample of their source before the run stops."""
    max_failed_in_a_row: int = 32
    """Failures without a good sample between them after which the run stops."""
    scaled_decode: bool = True
    """Decode a JPEG at the lowest scale that the canvas and the drawn crops allow, instead of whole."""
    decoder: Literal["threads", "dali"] = "threads"
    """What decodes: threads of our own, or DALI (on the GPU that trains, else the CPU), which decodes JPEGs whole."""
    io_threads: int = 0
    """Threads that read samples; 0 means as many as decode for local shards, 32 for a remote
    store, 4 for one behind a cache, which fetches ahead in threads of its own."""
    cache_dir: str = ""
    """Folder on a local disk, shared by the ranks of a node, for what a remote store sent; empty: nothing is kept."""
    cache_gib: float = 64.0
    """The most GiB the cache may hold."""
    cache_unit: Literal["block", "shard"] = "block"
    """What is fetched and kept as one: a block of neighbouring samples, or a whole shard."""
    patience_s: float = 1800.0
    """Seconds to wait for a store that does not answer before the run stops."""
    store_client: Literal["auto", "fsspec", "obstore"] = "auto"
    """What reads object stores; auto is obstore where it is installed and finds the credentials, else fsspec."""


MACHINE_SETTINGS = frozenset(
    f"stream.{name}"
    for name in (
        "num_threads",
        "batches_ahead",
        "io_threads",
        "cache_dir",
        "cache_gib",
        "cache_unit",
        "patience_s",
        "store_client",
    )
) | {"train.prometheus"}
"""Settings that change no result, only where and how fast it is computed: a run may go on with others."""
RESUME_SETTINGS = MACHINE_SETTINGS | {"stream.tombstones", "stream.max_failed", "stream.max_failed_in_a_row"}
"""Settings that a run may go on with others of: those above, and what says which samples cannot be used any more."""
