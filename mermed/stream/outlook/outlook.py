"""The outlook of a run: what it will read, from the manifest alone. Behind `mermed-train plan`; needs no torch."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mermed.address import parse_address
from mermed.config import RunConfig
from mermed.errors import ConfigError
from mermed.stream.index.shelf import IndexShelf
from mermed.stream.order.footprint import footprints
from mermed.stream.order.plan import Ledger, Plan
from mermed.stream.outlook.advice import advice
from mermed.stream.store import open_manifest, open_store

FIRST_KEYS = 8
_TOUCHED_STEPS = 1000
_TOUCHED_SLOTS, _CHUNK_SLOTS = 1 << 20, 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What a run is planned for: `nodes` of `gpus_per_node`, each GPU training `gpu_images_per_s` (0: not known).

    `core_images_per_s` is what one core decodes (0: not known). Raises ConfigError for a world without a GPU.
    """

    nodes: int = 1
    gpus_per_node: int = 1
    gpu_images_per_s: float = 0.0
    core_images_per_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.nodes, self.gpus_per_node) < 1 or min(self.gpu_images_per_s, self.core_images_per_s) < 0:
            raise ConfigError(
                "a run needs machines", expected="1 node and 1 GPU or more, rates of 0 or more", found=self
            )

    @property
    def ranks(self) -> int:
        """GPUs in all."""
        return self.nodes * self.gpus_per_node


def outlook(config: RunConfig, location: str | Path, machines: Machines | None = None) -> dict[str, Any]:
    """What `config` reads from the collection at `location`, a folder or a URL, when it runs on `machines`.

    Bytes are those of samples with their tar headers, by the mean of each source. Raises what the store raises, and
    ConfigError when the mix does not fit the collection.
    """
    machines = machines or Machines()
    manifest = open_manifest(location)
    plan = Plan(manifest, config.mix, config.stream, config.seed)
    batch, slots = config.train.batch, config.train.steps * config.train.batch
    accounts = plan.ledger(slots)
    rows = [row for row in manifest.shards if row.split in config.stream.splits]
    mean_bytes = {source.name: source.bytes / source.samples for source in plan.all_sources}
    read_bytes = round(sum(account.draws * mean_bytes[account.source] for account in accounts))
    facts = {
        "preset": config.preset,
        "manifest_digest": manifest.digest,
        "steps": config.train.steps,
        "batch": batch,
        "slots": slots,
        "images_per_batch": plan.quota(batch),
        "sources": [_account(account) for account in accounts],
        "repeated_inside_a_batch": _repeated(plan, batch),
        "shards": len(rows),
        "shard_bytes": sum(row.bytes for row in rows),
        "read_bytes": read_bytes,
        "world": {
            "nodes": machines.nodes,
            "gpus_per_node": machines.gpus_per_node,
            "ranks": machines.ranks,
            "images_per_rank": batch / machines.ranks,
        },
        "remote": not parse_address(location).is_local,
        "touched": _touched(plan, config),
        "cache": _cache(plan, config, accounts, machines.nodes),
        "rates": _rates(machines, slots, read_bytes),
        "first_keys": _first_keys(plan, location, min(FIRST_KEYS, slots)),
    }
    return facts | {"advice": advice(facts, manifest, config)}


def _account(account: Ledger) -> dict[str, Any]:
    return {
        "source": account.source,
        "samples": account.samples,
        "draws": account.draws,
        "cycles": round(account.draws / account.samples, 3),
        "repeats": account.repeats,
    }


def _repeated(plan: Plan, batch: int) -> list[str]:
    """Sources with fewer samples than one batch draws from them: their images meet themselves in a batch."""
    return [account.source for account in plan.ledger(batch) if account.draws > account.samples]


def _touched(plan: Plan, config: RunConfig) -> dict[str, int]:
    """Blocks and shards that the first steps read from: 1,000, or fewer where the run or large batches end sooner."""
    batch = config.train.batch
    steps = max(1, min(_TOUCHED_STEPS, config.train.steps, _TOUCHED_SLOTS // batch))
    blocks: set[tuple[str, int]] = set()
    for first in range(0, steps * batch, _CHUNK_SLOTS):
        references = plan.batch(range(first, min(first + _CHUNK_SLOTS, steps * batch)))
        blocks.update((reference.row.name, reference.block.start) for reference in references)
    return {"steps": steps, "blocks": len(blocks), "shards": len({name for name, _ in blocks})}


def _cache(plan: Plan, config: RunConfig, accounts: list[Ledger], nodes: int) -> dict[str, Any]:
    """What a node's cache needs, and what the store sends over the run with none, with one for windows, with all."""
    marks = footprints(plan, config.stream.cache_unit)
    draws = {account.source: account.draws for account in accounts}
    each = [(mark, draws[name]) for name, mark in marks.items()]
    return {
        "unit": config.stream.cache_unit,
        "given_bytes": round(config.stream.cache_gib * 2**30) if config.stream.cache_dir else 0,
        "window_bytes": sum(mark.window_bytes for mark, _ in each),
        "need_bytes": sum(mark.need_bytes for mark, _ in each),
        "all_bytes": sum(mark.size for mark, _ in each),
        "unique_bytes": round(sum(mark.size * min(1.0, count / mark.samples) for mark, count in each)),
        "egress_without_bytes": round(sum(mark.size / mark.samples * count for mark, count in each)),
        "egress_with_windows_bytes": sum(mark.fetched_bytes(count, nodes) for mark, count in each),
        "egress_with_all_bytes": sum(mark.kept_bytes(count, nodes) for mark, count in each),
    }


def _rates(machines: Machines, slots: int, read_bytes: int) -> Mapping[str, float]:
    """Seconds and rates of the run; empty when the trainer's rate is not known. Bytes are those of the samples."""
    images_per_s = machines.gpu_images_per_s * machines.ranks
    if not images_per_s:
        return {}
    bytes_per_s = images_per_s * read_bytes / slots
    rates = {
        "images_per_s": images_per_s,
        "run_s": slots / images_per_s,
        "read_bytes_per_s": bytes_per_s,
        "read_bytes_per_s_and_node": bytes_per_s / machines.nodes,
        "read_bytes_per_s_and_rank": bytes_per_s / machines.ranks,
    }
    if machines.core_images_per_s:
        rates["decode_cores_per_node"] = images_per_s / machines.nodes / machines.core_images_per_s
    return rates


def _first_keys(plan: Plan, location: str | Path, count: int) -> list[str]:
    with closing(open_store(location)) as store:
        shelf = IndexShelf(store)
        return [shelf.span(reference.row, reference.index).key for reference in plan.batch(range(count))]
