"""Miniatures of the MedMNIST pools: NPZ files of three splits, labels of shape [N 1] or [N 14], in several sizes."""

import functools

import numpy as np
from miniature import Expected

_ORGANS = ("ct", 11, False, "bladder", "spleen")
POOLS = {
    # name: modality, classes, colour, first class, last class
    "pathmnist": ("path", 9, True, "adipose", "colorectal adenocarcinoma epithelium"),
    "dermamnist": ("derm", 7, True, "actinic keratoses and intraepithelial carcinoma", "vascular lesions"),
    "octmnist": ("oct", 4, False, "choroidal neovascularization", "normal"),
    "pneumoniamnist": ("cxr", 2, False, "normal", "pneumonia"),
    "retinamnist": ("cfp", 5, True, "0", "4"),
    "breastmnist": ("us", 2, False, "malignant", "normal, benign"),
    "bloodmnist": ("path", 8, True, "basophil", "platelet"),
    "tissuemnist": ("path", 8, False, "Collecting Duct, Connecting Tubule", "Thick Ascending Limb"),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}


def write_pool(path, side_px, labels, *, colour):
    """One NPZ as MedMNIST writes it: images [N S S] or [N S S 3] and labels for train, val and test."""
    arrays = {}
    for part in ("train", "val", "test"):
        shape = (len(labels), side_px, side_px, *([3] if colour else []))
        arrays[f"{part}_images"] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{part}_labels"] = labels
    np.savez_compressed(path, **arrays)


def pool(root, *, name):
    modality, num_classes, colour, first, last = POOLS[name]
    labels = np.array([[0], [num_classes - 1]], np.uint8)
    for suffix, side_px in (("", 4), ("_64", 6)):
        write_pool(root / f"{name}{suffix}.npz", side_px, labels, colour=colour)
    return Expected(
        modality=modality,
        images={
            f"{name}_64.npz/{part}_images.npy": {
                "member": f"{part}_images.npy",
                "split": part,
                "frame_labels": (first, last),
                "frame_findings": (),
            }
            for part in ("train", "val", "test")
        },
        rejected={f"{name}.npz": "other_version"},
    )


_FINDINGS = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
    "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
)  # fmt: skip


def chestmnist(root):
    labels = np.zeros((3, 14), np.uint8)
    labels[0, [0, 13]] = 1
    labels[2, 3] = 1
    write_pool(root / "chestmnist_224.npz", 8, labels, colour=False)
    marks = tuple("".join(map(str, row)) for row in labels)
    return Expected(
        modality="cxr",
        images={
            f"chestmnist_224.npz/{part}_images.npy": {
                "split": part,
                "frame_labels": marks,
                "frame_findings": _FINDINGS,
            }
            for part in ("train", "val", "test")
        },
    )


MINIATURES = {
    **{name: functools.partial(pool, name=name) for name in POOLS},
    "chestmnist": chestmnist,
}
