"""Which process this is among all that train together, read from what torchrun sets. Pure; needs no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mermed.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """This process: `rank` of `num_ranks` in the run, `rank_of_node` of `ranks_per_node` on this machine."""

    rank: int = 0
    num_ranks: int = 1
    rank_of_node: int = 0
    ranks_per_node: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.num_ranks and 0 <= self.rank_of_node < self.ranks_per_node):
            raise ConfigError("a rank lies outside its world", expected="0 <= rank < num_ranks", found=self)

    @property
    def is_main(self) -> bool:
        """True on the one process that writes files and prints."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The contiguous part of a global batch that this rank takes, as offsets into the batch.

        Contiguous, not strided: a contiguous run of slots is balanced over modalities, a strided one need not be.
        """
        if batch % self.num_ranks:
            raise ConfigError(
                "the global batch does not divide over the ranks",
                expected=f"a multiple of {self.num_ranks}",
                found=batch,
                next_step="change --set train.batch=N or the number of processes",
            )
        share = batch // self.num_ranks
        return range(self.rank * share, (self.rank + 1) * share)


def world_from(environ: Mapping[str, str] = os.environ) -> World:
    """The world torchrun describes in `environ`; one process when it describes none."""
    return World(
        rank=int(environ.get("RANK", "0")),
        num_ranks=int(environ.get("WORLD_SIZE", "1")),
        rank_of_node=int(environ.get("LOCAL_RANK", "0")),
        ranks_per_node=int(environ.get("LOCAL_WORLD_SIZE", "1")),
    )
