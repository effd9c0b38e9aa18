"""Miniatures of chest X-ray and CT datasets."""

from ct_trees import CT
from cxr_trees import CXR

MINIATURES = {**CXR, **CT}
