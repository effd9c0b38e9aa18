"""Adopt check: whether foreign shards keep our contract as they are, and if not, why."""

from collections import Counter
from collections.abc import Sequence

from mermed.errors import ContractError, MermedError
from mermed.pack.foreign import expand, local_copy, shown
from mermed.pack.shard_file import ShardFile
from mermed.tar import read_sample, scan


def check_foreign(patterns: Sequence[str]) -> int:
    """Read every shard as strictly as our own; returns how many there are when all keep the contract.

    Raises ContractError that counts what breaks it, and names the first shard, otherwise.
    """
    places = expand(patterns)
    reasons: Counter[str] = Counter()
    first = None
    for place in places:
        reason = _reason(place)
        if reason:
            reasons[reason] += 1
            first = first or shown(place)
    if reasons:
        raise ContractError(
            "these shards cannot be adopted as they are",
            where={"first": first},
            expected="keys without dots or capitals, one image and our sealed JSON per sample, plain USTAR",
            found=f"{sum(reasons.values())} of {len(places)} break it: "
            + "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3)),
            next_step="--rewrite makes new shards of them: our keys and JSON, image data untouched",
        )
    return len(places)


def _reason(place: str) -> str:
    """Why a shard breaks the contract; "" when it keeps it."""
    try:
        with local_copy(place) as path, ShardFile(path) as file:
            for span in scan(file.read_at, file.size, "a shard"):
                read_sample(file.read_at, span, "a shard")
    except MermedError as error:
        if error.exit_code != ContractError.exit_code:
            raise
        return error.what
    return ""
