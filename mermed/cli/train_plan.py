"""How `mermed-train plan` shows an outlook to people: tables, then sentences, then what to change."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_outlook(facts: Mapping[str, Any], console: Console) -> None:
    """Print the facts of `mermed.stream.outlook.outlook`."""
    console.print(_shares(facts), _sources(facts))
    for source in facts["repeated_inside_a_batch"]:
        console.print(f"[yellow]{source} has fewer samples than a batch draws: images repeat inside a batch[/]")
    lines = [_reading(facts), _touched(facts), *_cache(facts), *_rates(facts)]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for advice in facts["advice"]:
        console.print(f"! {advice}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print("first keys: " + " ".join(facts["first_keys"]), highlight=False, markup=False, soft_wrap=True)


def _shares(facts: Mapping[str, Any]) -> Table:
    shares = Table("modality", "images per batch", title=f"{facts['preset']}: {facts['batch']} images a step")
    for name, images in facts["images_per_batch"].items():
        shares.add_row(name, f"{images:.2f}")
    return shares


def _sources(facts: Mapping[str, Any]) -> Table:
    sources = Table("source", "samples", "draws", "cycles", "repeats", title=f"over {facts['steps']} steps")
    for row in facts["sources"]:
        sources.add_row(row["source"], *(str(row[name]) for name in ("samples", "draws", "cycles", "repeats")))
    return sources


def _reading(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['shards']:,} shards hold {size(facts['shard_bytes'])}; "
        f"the run reads {size(facts['read_bytes'])} of samples from them"
    )


def _touched(facts: Mapping[str, Any]) -> str:
    touched = facts["touched"]
    return (
        f"the first {touched['steps']:,} steps read from {touched['blocks']:,} blocks in {touched['shards']:,} shards"
    )


def _cache(facts: Mapping[str, Any]) -> list[str]:
    """What a store sends, where there is one to send."""
    if not facts["remote"]:
        return []
    cache = facts["cache"]
    return [
        f"leaves the store: {size(cache['egress_without_bytes'])} without a cache, "
        f"{size(cache['egress_with_windows_bytes'])} with one that holds its windows, "
        f"{size(cache['egress_with_all_bytes'])} with one that holds all (each {cache['unit']} kept as one)",
        f"cache of a node: the windows need {size(cache['need_bytes'])}, everything {size(cache['all_bytes'])}, "
        f"given {size(cache['given_bytes'])}",
    ]


def _rates(facts: Mapping[str, Any]) -> list[str]:
    rates, world = facts["rates"], facts["world"]
    if not rates:
        return []
    lines = [
        f"{world['ranks']} GPUs on {world['nodes']} nodes: {rates['images_per_s']:,.0f} images/s, the run takes "
        f"{_time(rates['run_s'])}",
        f"each node reads {size(rates['read_bytes_per_s_and_node'])}/s, "
        f"each rank {size(rates['read_bytes_per_s_and_rank'])}/s",
    ]
    if "decode_cores_per_node" in rates:
        lines.append(f"decoding keeps {rates['decode_cores_per_node']:,.1f} cores of each node busy")
    return lines


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def size(num_bytes: float) -> str:
    """Bytes in the unit that suits them."""
    for unit, step in (("TiB", 2**40), ("GiB", 2**30)):
        if num_bytes >= step:
            return f"{num_bytes / step:,.1f} {unit}"
    return f"{num_bytes / 2**20:,.1f} MiB"
