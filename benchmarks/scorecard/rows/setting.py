"""What a row is given: the loader under test, its data, and how much of it to use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scorecard.crew import Crew
from scorecard.data import LARGE, MEDIUM, SIDE_PX, Set, Sets

SEED, WORKERS = 5, 2


@dataclass(frozen=True, slots=True)
class Setting:
    """One loader on this machine; `quick` asks for small sizes."""

    crew: Crew
    sets: Sets
    quick: bool

    @property
    def large(self) -> Set:
        """The set for rows that need many samples."""
        return MEDIUM if self.quick else LARGE

    def ranks(self, numbers: Sequence[int]) -> list[int]:
        """Those numbers of ranks that are run: quickly, no more than two, since every rank is a process to start."""
        return [number for number in numbers if number <= 2] if self.quick else list(numbers)

    def does(self, feature: str) -> bool:
        """Whether the loader has one of the features of `peers.border`."""
        return feature in self.crew.supports

    def run(self, wanted: Set, num_ranks: int = 1, *, workers: int = WORKERS, **arguments: Any) -> list[dict[str, Any]]:
        """Ask the ranks to run over a set; see `Trials.run`. Raises PeerFailed."""
        where = self.sets.of(wanted, self.crew)
        return self.crew.ask_ranks(
            "run", num_ranks, out=where, workers=workers, seed=SEED, side_px=SIDE_PX, **arguments
        )
