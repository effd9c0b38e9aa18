"""The child process of a contestant with an environment of its own: `python -m crops.child NAME` in `benchmarks`."""

import sys
from pathlib import Path
from typing import Any

from peers.child import serve

from crops import measure
from crops.border import Contestant
from crops.work import read_work


class Commands:
    """What the bench may ask of a contestant; `begin` comes first."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._turn: measure.Turn | None = None

    def begin(self, images: str, batch: int, least_s: float) -> dict[str, Any]:
        """Read the images and build; the answer describes the views of one call, and what they leave out."""
        _one_thread()
        work = read_work(Path(images), batch, "cpu")
        make = self._contestant.build(work)
        self._turn = measure.Turn(make, batch, least_s=least_s)
        views = measure.described(make(), work)
        return {"views": views, "leaves_out": self._contestant.LEAVES_OUT}

    def turn(self) -> dict[str, float]:
        """One measurement."""
        if self._turn is None:
            raise RuntimeError("begin comes first")
        return self._turn()


def _one_thread() -> None:
    """torch keeps to one thread, where the contestant uses it at all."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


if __name__ == "__main__":
    serve(sys.argv[1], Commands, package="crops")
