"""Miniatures of chest X-ray and CT datasets: real layouts, names and label files, with images of a few pixels."""

from miniature import Expected, write_image, write_table


def nih_chestxray14(root):
    for name in ("00000001_000.png", "00000001_001.png", "00000002_000.png"):
        write_image(root / "images_001" / "images" / name)
    write_image(root / "images_012" / "images" / "00030805_000.png", mode="RGBA")
    write_image(root / "images_012" / "images" / "00030806_000.png")
    header = [
        "Image Index",
        "Finding Labels",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
    ]
    header += ["OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", ""]
    rows = [
        [name, labels, "0", name[:8].lstrip("0"), "58", "M", "PA", "2682", "2749", "0.143", "0.143", ""]
        for name, labels in (
            ("00000001_000.png", "Cardiomegaly"),
            ("00000001_001.png", "Cardiomegaly|Emphysema"),
            ("00000002_000.png", "No Finding"),
            ("00030805_000.png", "Pneumothorax"),
            ("00000003_000.png", "Hernia"),
        )
    ]
    write_table(root / "Data_Entry_2017_v2020.csv", header, rows)
    write_table(root / "train_val_list.txt", [], [["00000001_000.png"], ["00000001_001.png"]])
    write_table(root / "test_list.txt", [], [["00000002_000.png"]])
    write_table(root / "BBox_List_2017.csv", ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"], [])
    return Expected(
        modality="cxr",
        images={
            "images_001/images/00000001_000.png": {"patient_id": "00000001", "split": "train"},
            "images_001/images/00000001_001.png": {
                "labels": {"findings": {**_NIH, "Cardiomegaly": 1, "Emphysema": 1}},
                "split": "train",
            },
            "images_001/images/00000002_000.png": {"labels": {"findings": _NIH}, "split": "test"},
            "images_012/images/00030805_000.png": {"patient_id": "00030805", "split": ""},
        },
        rejected={
            "images_012/images/00030806_000.png": "no_row",
            "Data_Entry_2017_v2020.csv:6": "missing",
            "BBox_List_2017.csv": "not_listed",
        },
    )


_NIH = dict.fromkeys(
    "Atelectasis Cardiomegaly Consolidation Edema Effusion Emphysema Fibrosis Hernia Infiltration Mass Nodule "
    "Pleural_Thickening Pneumonia Pneumothorax".split(),
    0,
)
_CHEXPERT = [
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
]  # fmt: skip


def _chexpert(root, release):
    views = {
        "train/patient00001/study1/view1_frontal.jpg": ["1.0", *[""] * 12, "1.0"],
        "train/patient00002/study2/view1_frontal.jpg": ["", "", "-1.0", "1.0", *[""] * 9, "0.0"],
        "train/patient00002/study2/view2_lateral.jpg": ["", "", "-1.0", "1.0", *[""] * 9, "0.0"],
        "valid/patient64541/study1/view1_frontal.jpg": ["0.0", "1.0", *["0.0"] * 12],
    }
    for file in views:
        write_image(root / release / file)
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *_CHEXPERT]
    for part in ("train", "valid"):
        rows = [[f"{release}/{f}", "Female", "68", "Frontal", "AP", *v] for f, v in views.items() if f.startswith(part)]
        write_table(root / release / f"{part}.csv", header, rows)
    uncertain = {**dict.fromkeys(_CHEXPERT), "Lung Opacity": 1, "Support Devices": 0}
    return Expected(
        modality="cxr",
        images={
            f"{release}/train/patient00001/study1/view1_frontal.jpg": {"patient_id": "patient00001", "split": "train"},
            f"{release}/train/patient00002/study2/view1_frontal.jpg": {"labels": {"findings": uncertain}},
            f"{release}/train/patient00002/study2/view2_lateral.jpg": {"patient_id": "patient00002"},
            f"{release}/valid/patient64541/study1/view1_frontal.jpg": {"split": "val"},
        },
    )


def chexpert(root):
    return _chexpert(root, "CheXpert-v1.0")


MINIATURES = {
    "nih_chestxray14": nih_chestxray14,
    "chexpert": chexpert,
}
