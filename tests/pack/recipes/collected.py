"""Every miniature tree by the name of its recipe, from one module per family of datasets."""

from importlib import import_module
from importlib.util import find_spec

FAMILIES = ("cxr_ct", "cfp_oct_us", "path_derm_pools")

MINIATURES = {}
for _family in FAMILIES:
    if find_spec(_family):
        _trees = import_module(_family).MINIATURES
        assert not set(MINIATURES) & set(_trees), "two families make one tree"
        MINIATURES |= _trees
