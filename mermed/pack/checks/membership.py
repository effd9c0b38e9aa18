"""Membership: the keys and groups of many shards, in little memory, checked across all of them."""

from array import array
from pathlib import Path

import numpy as np
import xxhash

from mermed.contract import SPLITS, ShardRow
from mermed.errors import ContractError
from mermed.tar import check_shard


class Membership:
    """Takes in shards one after another; 33 bytes stay of each sample."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._groups = array("Q")
        self._splits = array("b")

    def take(self, path: Path, row: ShardRow) -> None:
        """Read a whole shard against its row; raises IntegrityError or ContractError when it is not as packed."""
        for sample in check_shard(path, row):
            meta = sample.meta
            if (meta.modality, meta.dataset, meta.split) != (row.modality, row.dataset, row.split):
                raise ContractError("a sample belongs to another shard", where={"shard": row.name, "key": meta.key})
            self._keys += xxhash.xxh3_128_digest(meta.key.encode())
            group = f"{meta.modality}/{meta.dataset}/{meta.group}"
            self._groups.append(xxhash.xxh3_64_intdigest(group.encode()))
            self._splits.append(SPLITS.index(meta.split))

    def check(self) -> None:
        """Raise ContractError when a key occurs twice or a group stands in two splits."""
        keys = np.frombuffer(self._keys, "V16")
        repeated = len(keys) - len(np.unique(keys))
        if repeated:
            raise ContractError(
                "a key occurs in more than one place",
                expected="every sample once",
                found=f"{repeated} keys more than once",
                next_step="leave one of the collections out: they hold the same files under the same salt",
            )
        groups, splits = np.frombuffer(self._groups, np.uint64), np.frombuffer(self._splits, np.int8)
        pairs = np.unique(np.stack([groups, splits.astype(np.uint64)], axis=1), axis=0)
        crossing = len(pairs) - len(np.unique(groups))
        if crossing:
            raise ContractError(
                "groups stand in two splits",
                expected="every patient, lesion or volume in one split",
                found=f"{crossing} groups in another split as well",
                next_step="mermed-shard split-check lists them; pack the sources together instead",
            )
