"""Miniatures of OCT and ultrasound datasets: real layouts, names and label files, with images of a few pixels."""

from miniature import Expected, write_bytes, write_image, write_table
from workbook_writer import write_workbook


def write_scans(root, files, mode="L"):
    for number, file in enumerate(files):
        write_image(root / file, mode=mode, seed=number)


def labelled(name, **more):
    return {"labels": {"class": name}, **more}


def octdl(root):
    write_scans(root, ["AMD/amd_8555637_1.jpg", "AMD/amd_8025650_1.jpg", "AMD/amd_8025650_2.jpg", "NO/no_1_1.jpg"])
    header = [
        "file_name",
        "disease",
        "subcategory",
        "condition",
        "patient_id",
        "eye",
        "sex",
        "year",
        "image_width",
        "image_hight",
    ]
    rows = [
        ["amd_8555637_1", "AMD", "early", "drusen", 8555637, 0, 0, 0, 881, 319],
        ["amd_8025650_1", "AMD", "late", "MNV", 8025650, 0, 0, 0, 882, 322],
        ["amd_8025650_2", "AMD", "late", "MNV", 8025650, "OS", "F", 1957, 733, 264],
        ["rvo_1188282_1", "RVO", "CRVO", "ME", 1188282, 0, 0, 0, 1095, 409],
    ]
    write_table(root / "OCTDL_labels.csv", header, rows)
    return Expected(
        modality="oct",
        images={
            "AMD/amd_8555637_1.jpg": labelled("AMD", patient_id="8555637"),
            "AMD/amd_8025650_1.jpg": labelled("AMD", patient_id="8025650"),
            "AMD/amd_8025650_2.jpg": labelled("AMD", patient_id="8025650"),
        },
        rejected={"NO/no_1_1.jpg": "no_row", "OCTDL_labels.csv:5": "missing"},
    )


def octid(root):
    images = {
        "NORMAL/NORMAL1.jpeg": labelled("normal", split=""),
        "AMRD/AMRD11.jpeg": labelled("amd", split=""),
        "DR/DR1.jpeg": labelled("dr"),
        "OCTID/train/CSR/CSR3.jpeg": labelled("csr", split="train"),
        "OCTID/test/Macular_Hole/MH92.jpeg": labelled("macular_hole", split="test"),
    }
    write_scans(root, images)
    return Expected(modality="oct", images=images)


def kermany_oct2017(root):
    folder = "OCT2017"
    images = {
        f"{folder}/train/CNV/CNV-1016042-1.jpeg": labelled("cnv", patient_id="1016042", split="train"),
        f"{folder}/train/CNV/CNV-53018-1.jpeg": labelled("cnv", patient_id="53018", split="test"),
        f"{folder}/test/CNV/CNV-53018-2.jpeg": labelled("cnv", patient_id="53018", split="test"),
        f"{folder}/val/DRUSEN/DRUSEN-95633-1.jpeg": labelled("drusen", patient_id="95633", split="val"),
        f"{folder}/train/NORMAL/NORMAL-53018-3.jpeg": labelled("normal", patient_id="53018", split="test"),
        f"{folder}/test/DME/DME-15307-1.jpeg": labelled("dme", patient_id="15307", split="test"),
    }
    write_scans(root, images)
    write_bytes(root / folder / "train" / ".DS_Store")
    other = "chest_xray/train/NORMAL/NORMAL-1003233-0001.jpeg"
    write_scans(root, [other])
    return Expected(modality="oct", images=images, rejected={other: "other_dataset"})


def duke_srinivasan2014(root):
    folder = "Publication_Dataset"
    images = {
        f"{folder}/AMD1/TIFFs/8bitTIFFs/001.tif": labelled("amd", patient_id="AMD1", split=""),
        f"{folder}/AMD1/TIFFs/8bitTIFFs/002.tif": labelled("amd", patient_id="AMD1"),
        f"{folder}/DME15/TIFFs/8bitTIFFs/001.tif": labelled("dme", patient_id="DME15"),
        f"{folder}/NORMAL3/TIFFs/8bitTIFFs/097.tif": labelled("normal", patient_id="NORMAL3"),
    }
    write_scans(root, images)
    return Expected(modality="oct", images=images)


def busi(root):
    folder = "Dataset_BUSI_with_GT"
    images = {
        f"{folder}/benign/benign (1).png": labelled("benign", patient_id="", split=""),
        f"{folder}/benign/benign (100).png": labelled("benign"),
        f"{folder}/malignant/malignant (53).png": labelled("malignant"),
        f"{folder}/normal/normal (133).png": labelled("normal"),
    }
    masks = [file.replace(".png", "_mask.png") for file in images]
    masks.append(f"{folder}/benign/benign (100)_mask_1.png")
    write_scans(root, [*images, *masks], mode="RGB")
    return Expected(modality="us", images=images, rejected=dict.fromkeys(masks, "mask"))


def busc(root):
    images = {
        "originals/benign/us1.bmp": labelled("benign", **{"treatment.crop": "none"}),
        "originals/malignant/us101.bmp": labelled("malignant"),
    }
    write_scans(root, [*images, "edges/benign/us1.bmp"])
    return Expected(modality="us", images=images, rejected={"edges/benign/us1.bmp": "other_name"})


def bus_bra(root):
    names = ["0001-l", "0001-r", "0002-s", "0003-l", "0004-r"]
    write_scans(root, [f"BUSBRA/Images/bus_{name}.png" for name in names])
    write_scans(root, [f"BUSBRA/Masks/mask_{name}.png" for name in names])
    truths = [(1, "benign", 1), (1, "benign", 1), (2, "malignant", 4), (3, "benign", 5), (4, "malignant", 2)]
    header = ["ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Width", "Height", "Side", "BBOX"]
    rows = [
        [f"bus_{name}", case, "Unknown", label, 2, "GE Logiq 5", 461, 282, "left", "[49, 100, 105, 52]"]
        for name, (case, label, _) in zip(names, truths, strict=True)
    ]
    write_table(root / "BUSBRA" / "bus_data.csv", header, rows)
    for count in (5, 10):
        folds = [
            [f"bus_{name}", label, fold, 1, 1, "NaN"] for name, (_, label, fold) in zip(names, truths, strict=True)
        ]
        write_table(
            root / "BUSBRA" / f"{count}-fold-cv.csv",
            ["ID", "Pathology", "kFold", "valid_1", "valid_2", "valid_3"],
            folds,
        )
    splits = {1: "train", 2: "train", 4: "val", 5: "test"}
    return Expected(
        modality="us",
        images={
            f"BUSBRA/Images/bus_{name}.png": labelled(label, patient_id=str(case), split=splits[fold])
            for name, (case, label, fold) in zip(names, truths, strict=True)
        },
        rejected={
            **{f"BUSBRA/Masks/mask_{name}.png": "mask" for name in names},
            "BUSBRA/10-fold-cv.csv": "not_listed",
        },
    )


def breast_lesions_usg(root):
    folder = "BrEaST-Lesions_USG-images_and_masks-Dec-15-2023/BrEaST-Lesions_USG-images_and_masks"
    masks = [f"{folder}/{name}.png" for name in ("case001_tumor", "case002_tumor", "case002_other1")]
    write_scans(root, [f"{folder}/case{n:03d}.png" for n in (1, 2, 3)], mode="RGBA")
    write_scans(root, masks)
    header = [
        "CaseID",
        "Image_filename",
        "Mask_tumor_filename",
        "Mask_other_filename",
        "Pixel_size",
        "Age",
        "Classification",
    ]
    rows = [
        [1, "case001.png", "case001_tumor.png", "", 0.007, 57, "benign"],
        [2, "case002.png", "case002_tumor.png", "case002_other1.png", 0.009, 43, "malignant"],
        [3, "case003.png", "", "", 0.008, "not available", "normal"],
    ]
    write_workbook(root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx", [header, *rows])
    return Expected(
        modality="us",
        images={
            f"{folder}/case001.png": labelled("benign", patient_id="case001"),
            f"{folder}/case002.png": labelled("malignant", patient_id="case002"),
            f"{folder}/case003.png": labelled("normal", patient_id="case003"),
        },
        rejected=dict.fromkeys(masks, "mask"),
    )


def echonet_dynamic(root):
    folder = "EchoNet-Dynamic"
    names = ["0X5F4167C2888CCA6E", "0X5F41E6D608B38A9", "0X5F4B5FB16CE96C06", "0X1"]
    for name in names:
        write_bytes(root / folder / "Videos" / f"{name}.avi")
    header = ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
    rows = [[name, 48.62834365, 61.78, 120.26, 112, 112, 50, 176] for name in names[:3]]
    rows = [[*row, split] for row, split in zip(rows, ("TEST", "TRAIN", "VAL"), strict=True)]
    write_table(root / folder / "FileList.csv", header, rows)
    write_table(
        root / folder / "VolumeTracings.csv", ["FileName", "X1", "Y1", "X2", "Y2", "Frame"], [[f"{names[0]}.avi"]]
    )
    sampled = {"treatment.sampling.max_frames": 8, "treatment.crop": "none", "labels": {}}
    return Expected(
        modality="us",
        images={
            f"{folder}/Videos/{name}.avi": {"patient_id": name, "group_id": name, "split": split, **sampled}
            for name, split in zip(names[:3], ("test", "train", "val"), strict=True)
        },
        rejected={f"{folder}/Videos/0X1.avi": "no_row", f"{folder}/VolumeTracings.csv": "not_listed"},
    )


def fetal_planes(root):
    names = ["Patient00001_Plane1_1_of_2", "Patient00001_Plane1_2_of_2", "Patient01792_Plane3_1_of_1"]
    write_scans(root, [f"Images/{name}.png" for name in names])
    header = ["Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train "]
    rows = [
        [names[0], 1, "Other", "Not A Brain", "Other", "Aloka", 1],
        [names[1], 1, "Fetal brain", "Trans-thalamic", "Op. 1", "Aloka", 1],
        [names[2], 1792, "Maternal cervix", "Not A Brain", "Other", "Voluson E6", 0],
    ]
    write_table(root / "FETAL_PLANES_DB_data.csv", header, rows, delimiter=";", newline="\r\n")
    write_bytes(root / "FETAL_PLANES_DB_data.xlsx")
    return Expected(
        modality="us",
        images={
            f"Images/{names[0]}.png": labelled("Other", patient_id="1", split="train"),
            f"Images/{names[1]}.png": labelled("Fetal brain", patient_id="1", split="train"),
            f"Images/{names[2]}.png": labelled("Maternal cervix", patient_id="1792", split="test"),
        },
        rejected={"FETAL_PLANES_DB_data.xlsx": "not_listed"},
    )


def pocus_lung(root):
    videos, images = "data/pocus_videos", "data/pocus_images"
    clips = [
        f"{videos}/convex/Cov-Atlas+(44).gif",
        f"{videos}/convex/Cov-Atlas+(45).gif",
        f"{videos}/convex/Reg-Atlas.gif",
        f"{videos}/linear/Cov_bolzano_white lung.mpeg",
        f"{videos}/linear/label_uncertain/Cov_bolzano_WL_.mpeg",
    ]
    for clip in clips:
        write_bytes(root / clip)
    write_image(root / images / "convex" / "Cov_Oliviera_2020_Fig15A.jpg", mode="RGB")
    write_bytes(root / images / "README.md")
    header = [
        "Date added",
        "Current location",
        "Filename",
        "URL (Video Name)",
        "Label",
        "License",
        "Patient ID / Name",
        "",
    ]
    rows = [
        ["20.04.20", "data/pocus_videos/Convex", "Cov-Atlas+(44)", "u", "COVID-19", "CC BY-NC 4.0", 36, ""],
        ["20.04.20", "data/pocus_videos/Convex", "Cov-Atlas+(45)", "u", "COVID-19", "CC BY-NC 4.0", 36, ""],
        ["20.04.20", "data/pocus_videos/Convex", "Reg-Atlas.gif", "u", "regular", "CC BY-NC 4.0", "", ""],
        ["20.04.20", "butterfly", "Cov-Butterfly-COVID Lung 2", "u", "COVID-19", "None", "", ""],
        ["19.01.21", "pocus_images/convex", "Cov_Oliviera_2020_Fig15A", "u", "COVID-19", "CC BY 4.0", 220, ""],
    ]
    write_table(root / "data" / "dataset_metadata.csv", header, rows)
    atlas = {"patient_id": "36", "licence": "CC BY-NC 4.0", "treatment.sampling.max_frames": 16}
    return Expected(
        modality="us",
        images={
            clips[0]: labelled("covid19", group_id="Cov-Atlas+(44)", **atlas),
            clips[1]: labelled("covid19", group_id="Cov-Atlas+(45)", **atlas),
            clips[2]: labelled("normal", patient_id="", group_id="Reg-Atlas"),
            clips[3]: {"labels": {}, "licence": "per file, see column License"},
            f"{images}/convex/Cov_Oliviera_2020_Fig15A.jpg": labelled("covid19", patient_id="220", licence="CC BY 4.0"),
        },
        rejected={clips[4]: "label_uncertain", f"{images}/README.md": "other_name"},
    )


OCT_US = {
    "octdl": octdl,
    "octid": octid,
    "kermany_oct2017": kermany_oct2017,
    "duke_srinivasan2014": duke_srinivasan2014,
    "busi": busi,
    "busc": busc,
    "bus_bra": bus_bra,
    "breast_lesions_usg": breast_lesions_usg,
    "echonet_dynamic": echonet_dynamic,
    "fetal_planes": fetal_planes,
    "pocus_lung": pocus_lung,
}
