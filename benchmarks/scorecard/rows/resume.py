"""Going on in the middle of an epoch: what is lost, what comes again, and what it costs to begin."""

import json
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from peers.contestant import PeerFailed

from scorecard.cell import Cell, absent, reason
from scorecard.crew import kill_session
from scorecard.data import SIDE_PX, SMALL
from scorecard.rows.setting import SEED, WORKERS, Setting
from scorecard.sequences import Gap, gap

TITLE = "samples lost and repeated when it goes on at 10, 50, 99 and 100 % of an epoch"
TIME_TITLE = "time to the first batch at 99 % of an epoch over that of a cold start"
KILL_TITLE = "samples lost and repeated after kill -9 of the loader and its workers, from the last saved state"
BATCH, AFTER, TIMES = 24, 8, 3
SHARES = (0.1, 0.5, 0.99, 1.0)
SLOW = 1.5
"""Starts take milliseconds here and the machine has other things to do; `bench_resume.py` is stricter."""
KILL_WAIT_S = 40.0


def row(setting: Setting) -> Cell:
    """Run an epoch and a little more, with states on the way; then go on from each and compare."""
    if not setting.does("state"):
        return absent("has no state: starts again")
    num_batches = setting.large.samples // BATCH
    places = [round(share * num_batches) for share in SHARES]
    whole = setting.run(setting.large, batch=BATCH, batches=num_batches + AFTER, states_at=places)[0]
    figures: dict[str, Any] = {}
    exact = True
    for share, place in zip(SHARES, places, strict=True):
        try:
            found = _gone_on(setting, whole, place)
        except PeerFailed as error:
            figures[f"{share:.0%}"], exact = reason(error), False
            continue
        figures[f"{share:.0%}"] = {"lost": found.lost, "repeated": found.repeated}
        exact = exact and found.none
    return Cell(text=_said(figures), passes=exact, figures=figures)


def _gone_on(setting: Setting, whole: dict[str, Any], place: int) -> Gap:
    state = whole["states"].get(str(place))
    if state is None:
        raise PeerFailed(f"no state after batch {place}: the epoch had {len(whole['keys'])}")
    wanted = whole["keys"][place:]
    given = setting.run(setting.large, batch=BATCH, batches=max(1, len(wanted)), states=[state])[0]["keys"]
    return gap(wanted, given)


def _said(figures: dict[str, Any]) -> str:
    gaps = {(found["lost"], found["repeated"]) for found in figures.values() if isinstance(found, dict)}
    failed = [share for share, found in figures.items() if not isinstance(found, dict)]
    text = (
        "0 and 0"
        if gaps == {(0, 0)}
        else "; ".join(
            f"{share}: {found['lost']} and {found['repeated']}"
            for share, found in figures.items()
            if isinstance(found, dict) and (found["lost"] or found["repeated"])
        )
    )
    return "; ".join(filter(None, [text, *(f"{share}: fails" for share in failed)]))


def time_row(setting: Setting) -> Cell:
    """Seconds from opening to the first batch, and bytes read meanwhile, against opening it anew."""
    if not setting.does("state"):
        return absent("has no state: reads all again")
    place = round(0.99 * (setting.large.samples // BATCH))
    state = setting.run(setting.large, batch=BATCH, batches=place, states_at=[place])[0]["states"][str(place)]
    cold, warm = [], []
    for _ in range(TIMES):
        cold.append(setting.run(setting.large, batch=BATCH, batches=1)[0])
        warm.append(setting.run(setting.large, batch=BATCH, batches=1, states=[state])[0])
    seconds = [statistics.median(answer["first_s"] for answer in answers) for answers in (cold, warm)]
    read = [statistics.median(answer["first_bytes"] for answer in answers) for answers in (cold, warm)]
    ratio = seconds[1] / seconds[0]
    figures = {"cold_s": seconds[0], "resumed_s": seconds[1], "cold_bytes": read[0], "resumed_bytes": read[1]}
    text = f"{ratio:.2f} ({seconds[0]:.2f} s cold; {read[1] / 2**10:.0f} KiB read, cold {read[0] / 2**10:.0f})"
    return Cell(text=text, passes=ratio <= SLOW, figures=figures)


def kill_row(setting: Setting) -> Cell:
    """Save the state behind every batch, kill everything at a random moment, go on in a new process."""
    if not setting.does("state"):
        return absent("has no state: starts again")
    whole = setting.run(SMALL, batch=BATCH, batches=SMALL.samples // BATCH)[0]["keys"]
    with tempfile.TemporaryDirectory() as folder:
        saved = _killed(setting, Path(folder) / "journal.jsonl", random.Random(SEED).randrange(5, 25))
    before = [line["keys"] for line in saved]
    after = setting.run(SMALL, batch=BATCH, batches=len(whole) - len(before), states=[saved[-1]["state"]])[0]["keys"]
    found = gap(whole, before + after)
    figures = {"killed after": len(before), "lost": found.lost, "repeated": found.repeated}
    return Cell(text=f"{found.lost} and {found.repeated}", passes=found.none, figures=figures)


def _killed(setting: Setting, journal: Path, after: int) -> list[dict[str, Any]]:
    """Let it train until `after` batches are in the journal, then kill its whole session; the lines it had written."""
    where = setting.sets.of(SMALL, setting.crew)
    leader = setting.crew.session()
    asked = {"out": where, "journal": str(journal), "batches": SMALL.samples // BATCH, "batch": BATCH}

    def train() -> None:
        try:
            setting.crew.ask("journal", workers=WORKERS, seed=SEED, side_px=SIDE_PX, pause_s=0.02, **asked)
        except PeerFailed:
            pass  # it was killed

    trainer = threading.Thread(target=train)
    trainer.start()
    deadline = time.monotonic() + KILL_WAIT_S
    while time.monotonic() < deadline and (not journal.exists() or journal.read_bytes().count(b"\n") < after):
        time.sleep(0.005)
    kill_session(leader)
    trainer.join()
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    if len(lines) < after:
        raise PeerFailed(f"{len(lines)} batches in {KILL_WAIT_S:.0f} s")
    return [json.loads(line) for line in lines]
