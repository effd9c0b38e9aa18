"""The outlook of a run: what it will read, from the manifest alone. Behind `mermed-train plan`; needs no torch."""

from pathlib import Path
from typing import Any

from mermed import tar
from mermed.config import RunConfig
from mermed.contract import load_manifest
from mermed.stream.plan import Plan
from mermed.stream.store import LocalStore

FIRST_KEYS = 8


def outlook(config: RunConfig, folder: Path) -> dict[str, Any]:
    """What `config` reads from the collection in `folder`: shares, repeats, shards, bytes and the first keys."""
    manifest = load_manifest(folder)
    plan = Plan(manifest, config.mix, config.stream, config.seed)
    slots = config.train.steps * config.train.batch
    accounts = plan.ledger(slots)
    rows = [row for row in manifest.shards if row.split in config.stream.splits]
    mean_bytes = {
        source.name: sum(row.bytes for row in source.rows) / source.samples
        for sources in plan.sources
        for source in sources
    }
    return {
        "preset": config.preset,
        "manifest_digest": manifest.digest,
        "steps": config.train.steps,
        "batch": config.train.batch,
        "slots": slots,
        "images_per_batch": plan.quota(config.train.batch),
        "sources": [
            {
                "source": account.source,
                "samples": account.samples,
                "draws": account.draws,
                "cycles": round(account.draws / account.samples, 3),
                "repeats": account.repeats,
            }
            for account in accounts
        ],
        "repeated_inside_a_batch": _repeated(plan, config.train.batch),
        "shards": len(rows),
        "shard_bytes": sum(row.bytes for row in rows),
        "read_bytes": round(sum(account.draws * mean_bytes[account.source] for account in accounts)),
        "first_keys": _first_keys(plan, folder, min(FIRST_KEYS, slots)),
    }


def _repeated(plan: Plan, batch: int) -> list[str]:
    """Sources with fewer samples than one batch draws from them: their images meet themselves in a batch."""
    return [account.source for account in plan.ledger(batch) if account.draws > account.samples]


def _first_keys(plan: Plan, folder: Path, count: int) -> list[str]:
    store = LocalStore(folder)
    keys = []
    for reference in plan.batch(range(count)):
        row = reference.row
        spans = tar.check_index(store.read(row.index_name).decode("ascii", "replace"), row)
        keys.append(spans[reference.index].key)
    return keys
