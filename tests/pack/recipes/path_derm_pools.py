"""Miniatures of pathology and dermatology datasets and of the MedMNIST pools, from the modules beside this one."""

import derm_trees
import medmnist_trees
import path_trees

MINIATURES = {**path_trees.MINIATURES, **derm_trees.MINIATURES, **medmnist_trees.MINIATURES}
