"""Miniatures of colour fundus, OCT and ultrasound datasets."""

from cfp_trees import CFP
from oct_us_trees import OCT_US

MINIATURES = {**CFP, **OCT_US}
