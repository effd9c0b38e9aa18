"""How far the sources of a batch lie off their equal shares, on every rank."""

from scorecard.cell import Cell, absent
from scorecard.rows.setting import Setting
from scorecard.sequences import deviation

TITLE = "worst deviation of a source from its quota in a rank's batch (and over its run), samples"
RANKS, BATCH, BATCHES, BATCHES_QUICK = (1, 2, 7, 8), 12, 200, 60
WITHIN = 1.0
"""Seven sources share 12 places: counts of 1 and 2 are exact, so less than one sample off in each batch."""


def row(setting: Setting) -> Cell:
    """Run 200 batches on each number of ranks, one of which is the number of sources, with the loader's own mixing."""
    if not setting.does("mix"):
        return absent("mixes no sources")
    batches = BATCHES_QUICK if setting.quick else BATCHES
    worst_batch = worst_prefix = 0.0
    figures = {}
    for num_ranks in setting.ranks(RANKS):
        answers = setting.run(setting.large, num_ranks, batch=BATCH, batches=batches, mix=True)
        found = deviation([answer["keys"] for answer in answers], setting.large.sources)
        figures[f"ranks {num_ranks}"] = {"batch": round(found.batch, 2), "run": round(found.prefix, 2)}
        worst_batch, worst_prefix = max(worst_batch, found.batch), max(worst_prefix, found.prefix)
    return Cell(text=f"{worst_batch:.2f} ({worst_prefix:.1f})", passes=worst_batch < WITHIN, figures=figures)
