"""One damaged image, and one killed worker."""

from peers.contestant import PeerFailed

from scorecard.cell import Cell, absent, reason
from scorecard.data import CORRUPT, DAMAGED, SIDE_PX, SMALL
from scorecard.rows.setting import SEED, WORKERS, Setting
from scorecard.sequences import order_changed

TITLE = "one damaged image of 1,008: what becomes of it, of the batches and of the order behind it"
KILL_TITLE = "kill -9 of one worker: seconds until it raises or goes on whole, hang after 60 s"
BATCH, BEFORE_KILL, HANG_S = 24, 5, 60.0
EPOCH = SMALL.samples // BATCH


def row(setting: Setting) -> Cell:
    """The same epoch with and without the damage."""
    clean = setting.run(SMALL, batch=BATCH, batches=EPOCH)[0]
    try:
        damaged = setting.run(DAMAGED, batch=BATCH, batches=EPOCH)[0]
    except PeerFailed as error:
        named = "names it" if CORRUPT in str(error) else "does not name it"
        return Cell(text=f"stops, {named}", passes=False, figures={"raised": reason(error)})
    before, after = _flat(clean["keys"]), _flat(damaged["keys"])
    short = sum(size != BATCH for size in damaged["sizes"])
    figures = {
        "given": after.count(CORRUPT),
        "batches": len(damaged["sizes"]),
        "short batches": short,
        "places changed": order_changed(before, after),
        "of": len(before),
    }
    changed = figures["places changed"]
    if CORRUPT in after:
        text = "given as if nothing were wrong"
    elif changed <= before.count(CORRUPT):
        text = f"replaced, {changed} place changed"
    else:
        text = f"left out, {changed} of {len(before)} places changed"
    passes = CORRUPT not in after and changed <= before.count(CORRUPT) and not short
    return Cell(text=text + (f", {short} short batches" if short else ""), passes=passes, figures=figures)


def _flat(batches: list[list[str]]) -> list[str]:
    return [key for keys in batches for key in keys]


def kill_row(setting: Setting) -> Cell:
    """Kill one worker process after a few batches and take 30 more."""
    if not setting.does("processes"):
        return absent("threads only: no worker to lose")
    whole = setting.run(SMALL, batch=BATCH, batches=EPOCH)[0]["keys"]
    where = setting.sets.of(SMALL, setting.crew)
    opening = {"out": where, "workers": WORKERS, "seed": SEED, "side_px": SIDE_PX, "batch": BATCH}
    try:
        answer = setting.crew.ask("kill_worker", before=BEFORE_KILL, limit_s=HANG_S, **opening)
    except PeerFailed as error:
        hangs = "no answer" in str(error)
        return Cell(
            text="hangs" if hangs else f"dies: {reason(error)}", passes=False, figures={"failed": reason(error)}
        )
    finally:
        setting.crew.restart()
    if not answer["workers"]:
        return absent("no worker process found")
    if "raised" in answer:
        return Cell(text=f"raises after {answer['seconds']:.2f} s", passes=True, figures=answer)
    same = answer["keys"] == whole[: len(answer["keys"])]
    text = "goes on whole" if same else f"goes on in silence without its samples ({len(answer['keys'])} batches)"
    return Cell(text=text, passes=same, figures={"batches": len(answer["keys"])})
