"""What a file of this folder must hold to make views in the bench, and the names of all that do.

A contestant is a module `crops/<name>.py` that imports its library at the top and defines

- `TITLE`: its name in the tables;
- `REQUIREMENTS`: exact pins, as pip takes them; empty when the project's own environment has all it needs;
- `SUPPORTS`: the devices it runs on, of "cpu" and "cuda";
- `LEAVES_OUT`: in what it does less than, or other than, the policy asks for; empty when nothing;
- `build(work)`: a callable that makes the views of the whole batch of `work`, anew at each call.

It draws its own random numbers, from the ranges in `work.policy`, inside the call. Its outputs are batches of views on
`work.device`, normalised with `work.mean` and `work.std`, in floats: what a training step takes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from crops.work import Work

OTHERS = ("released", "torchvision_v2", "lightly_dino", "dali_graph", "kornia_documented")
"""Modules of contestants that are not ours."""

Views = Sequence[Any]
"""Twelve arrays [batch, 3, side, side], the global views first."""
Maker = Callable[[], Views]


class Contestant(Protocol):
    """A contestant's module, for the type checker."""

    TITLE: str
    REQUIREMENTS: tuple[str, ...]
    SUPPORTS: frozenset[str]
    LEAVES_OUT: str

    @staticmethod
    def build(work: Work) -> Maker:
        """The callable that is measured."""
        ...
