"""The correctness scorecard: what loaders promise about counts, order, resume and faults, found out by running them.

`sequences.py` compares what came out, `crew.py` runs the ranks of one loader, `trials.py` is what a rank can be asked,
`startup.py` starts loaders on indexes without data, `rows/` holds the rows of the card, `card.py` joins them.
"""
