"""Who takes part in the bench of the views: checked before it may, and never left out without a reason."""

import importlib
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from peers import environments
from peers.contestant import Contestant, PeerFailed, PeerMissing

from crops import measure, ours
from crops.work import Work
from mermed.errors import MermedError

SAME_MEAN, SAME_P999 = 2.0, 15.0
"""How far views of two engines may be apart, in grey levels: each may be 1.5 and 10 from the reference of the tests."""
FAR_LEVELS = 20.0
"""How far mean and spread of views of other random numbers may be from ours, in grey levels. Chance moves them by five
or so; values that were not normalised, or are black, by fifty and more."""


class Entrants:
    """Contestants by title. `leaves_out` says what each does less than asked, `missing` why one does not take part.

    `apart` holds how far the views of each of our engines are from those of the reference, same draws, in grey levels.
    """

    def __init__(self, work: Work, folder: Path, *, least_s: float, closing: ExitStack) -> None:
        self._work, self._folder, self._least_s, self._closing = work, folder, least_s, closing
        self._draws = ours.draws_of(work)
        self.reference, engine = ours.build_reference(work)
        self._reference = ours.views_of(engine(self._draws))
        self._like = measure.described(self._reference, work)
        self._cores: dict[str, list[float]] = {}
        self.turns: dict[str, Callable[[], float]] = {}
        self.engines: dict[str, ours.Engine] = {}
        self.apart: dict[str, dict[str, float]] = {}
        self.leaves_out: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def enter_engine(self, name: str, title: str) -> None:
        """One of our engines; raises SystemExit unless the same draws give it the views of the reference."""
        # what torch's compiler cannot build is a reason to be missing, what an engine cannot do is an error
        reasons = (ImportError, MermedError, *((RuntimeError,) if name == ours.COMPILED else ()))
        try:
            engine = ours.build_engine(self._work, name)
            views = ours.views_of(engine(self._draws))
        except reasons as error:
            self.missing[title] = _first_line(error)
            return
        measure.described(views, self._work)
        apart = measure.differences(views, self._reference, self._work)
        if apart["mean"] > SAME_MEAN or apart["p999"] > SAME_P999:
            raise SystemExit(f"the engine {name} makes other views than {self.reference}: {apart}")
        self.engines[title], self.apart[title] = engine, apart
        self.enter_work(title, ours.maker_of(self._work, engine))

    def enter_other(self, name: str) -> None:
        """A contestant of this folder: here, or in a child where it has requirements of its own."""
        try:
            if environments.requirements_of(name):
                self._enter_child(name)
            else:
                self._enter_here(name)
        except (ImportError, PeerMissing, PeerFailed) as error:
            self.missing[name] = _first_line(error)

    def enter_work(self, title: str, make: Callable[[], object]) -> None:
        """Anything that is called here, such as a floor."""
        settle = torch.cuda.synchronize if self._work.device == "cuda" else None
        self._add(title, measure.Turn(make, len(self._work), least_s=self._least_s, settle=settle))

    def cores(self) -> dict[str, float]:
        """The number of cores that each kept busy, the median over its measurements."""
        return {title: statistics.median(values) for title, values in self._cores.items() if values}

    def drop_failed(self) -> None:
        """Leave out of `turns` who failed while it was measured; its reason is in `missing`."""
        self.turns = {title: turn for title, turn in self.turns.items() if title not in self.missing}

    def _enter_here(self, name: str) -> None:
        module = importlib.import_module(f"crops.{name}")
        self._check_device(module.SUPPORTS)
        make = module.build(self._work)
        self._check_views(module.TITLE, measure.described(make(), self._work), module.LEAVES_OUT)
        self.enter_work(module.TITLE, make)

    def _enter_child(self, name: str) -> None:
        contestant = self._closing.enter_context(Contestant(name, module="crops.child"))
        self._check_device(contestant.supports)
        asked = {"images": str(self._folder), "batch": len(self._work), "least_s": self._least_s}
        answer = contestant.ask("begin", **asked)
        self._check_views(contestant.title, answer["views"], answer["leaves_out"])
        self._add(contestant.title, lambda: contestant.ask("turn"))

    def _check_device(self, supports: frozenset[str]) -> None:
        if self._work.device not in supports:
            raise PeerMissing(f"does not run on {self._work.device} here")

    def _check_views(self, title: str, found: dict[str, float], leaves_out: str) -> None:
        """Raises SystemExit where the views cannot come from the same images and ranges."""
        self.leaves_out[title] = leaves_out
        for name, ours_is in self._like.items():
            if abs(found[name] - ours_is) > FAR_LEVELS:
                raise SystemExit(f"{title}: {name} of its views is {found[name]:.0f} grey levels, ours {ours_is:.0f}")

    def _add(self, title: str, turn: Callable[[], dict[str, float]]) -> None:
        self._cores[title] = []

        def rate() -> float:
            if title in self.missing:
                return float("nan")
            try:
                answer = turn()
            except PeerFailed as error:
                self.missing[title] = f"failed while it was measured: {_first_line(error)}"
                return float("nan")
            self._cores[title].append(answer["cores"])
            return answer["images_per_s"]

        self.turns[title] = rate


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
