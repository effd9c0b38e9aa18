"""Whether the order of samples, and going on with it, depends on how many ranks and workers there are."""

from peers.contestant import PeerFailed

from scorecard.cell import Cell, absent, reason
from scorecard.data import SMALL
from scorecard.rows.setting import Setting
from scorecard.sequences import steps

TITLE = "different orders over ranks {1, 2, 3, 4, 8} x workers {1, 2, 3}"
MIXED_TITLE = "the same for a mixture of sources"
RESIZE_TITLE = "goes on exactly with other ranks x workers than it stopped with (2 x 2)"
GLOBAL_BATCH, BATCHES = 24, 8
TOPOLOGIES = tuple((ranks, workers) for ranks in (1, 2, 3, 4, 8) for workers in (1, 2, 3))
FEW = ((1, 1), (1, 2), (2, 1), (3, 2), (8, 1))
STOPPED_AT = 5
RESIZED_TO, RESIZED_QUICKLY_TO = ((1, 2), (3, 1), (4, 2)), ((1, 2),)


def row(setting: Setting) -> Cell:
    """All samples as one source."""
    return _orders(setting, FEW if setting.quick else TOPOLOGIES, mix=False)


def mixed_row(setting: Setting) -> Cell:
    """Seven sources, mixed by the loader."""
    if not setting.does("mix"):
        return absent("mixes no sources")
    return _orders(setting, FEW, mix=True)


def _orders(setting: Setting, topologies: tuple[tuple[int, int], ...], *, mix: bool) -> Cell:
    """Count the different sequences of global steps, a step being a set of samples."""
    orders: dict[tuple[frozenset[str], ...], list[str]] = {}
    failed: dict[str, str] = {}
    chosen = [pair for pair in topologies if pair[0] in setting.ranks([pair[0]])]
    for ranks, workers in chosen:
        name = f"{ranks}x{workers}"
        try:
            answers = setting.run(SMALL, ranks, workers=workers, batch=GLOBAL_BATCH // ranks, batches=BATCHES, mix=mix)
        except PeerFailed as error:
            failed[name] = reason(error)
            continue
        orders.setdefault(tuple(steps([answer["keys"] for answer in answers])), []).append(name)
    different = len(orders) + len(failed)
    text = f"{different} of {len(chosen)}" + (f", {len(failed)} failed" if failed else "")
    return Cell(text=text, passes=different == 1, figures={"equal topologies": list(orders.values()), "failed": failed})


def resize_row(setting: Setting) -> Cell:
    """Stop on 2 ranks with 2 workers each, go on with others, compare with a run that never stopped."""
    if not setting.does("state"):
        return absent("has no state")
    if not setting.does("ranks"):
        return absent("knows no ranks")
    outcomes = {"one source": _resized(setting, mix=False)}
    if setting.does("mix"):
        outcomes["mixture"] = _resized(setting, mix=True)
    kinds = {name: _summary(found) for name, found in outcomes.items()}
    text = "; ".join(f"{name}: {kind}" for name, kind in kinds.items())
    return Cell(text=text, passes=all(kind == "exact" for kind in kinds.values()), figures=outcomes)


def _resized(setting: Setting, *, mix: bool) -> dict[str, str]:
    whole = setting.run(
        SMALL, 2, batch=GLOBAL_BATCH // 2, batches=STOPPED_AT + BATCHES, states_at=[STOPPED_AT], mix=mix
    )
    wanted = steps([answer["keys"] for answer in whole])
    taken = frozenset().union(*wanted[:STOPPED_AT])
    states = [answer["states"][str(STOPPED_AT)] for answer in whole]
    found = {}
    for ranks, workers in RESIZED_QUICKLY_TO if setting.quick else RESIZED_TO:
        try:
            answers = setting.run(
                SMALL, ranks, workers=workers, batch=GLOBAL_BATCH // ranks, batches=BATCHES, states=states, mix=mix
            )
        except PeerFailed as error:
            found[f"{ranks}x{workers}"] = f"refused: {reason(error)}"
            continue
        given = steps([answer["keys"] for answer in answers])
        again = sum(len(step & taken) for step in given)
        exact = given == wanted[STOPPED_AT:]
        found[f"{ranks}x{workers}"] = "exact" if exact else f"another order, {again} samples again"
    return found


def _summary(found: dict[str, str]) -> str:
    if all(outcome == "exact" for outcome in found.values()):
        return "exact"
    kinds = {outcome.partition(":")[0].partition(",")[0] for outcome in found.values()}
    return " / ".join(sorted(kinds))
