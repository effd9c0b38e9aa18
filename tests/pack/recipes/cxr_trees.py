"""Miniatures of chest X-ray datasets: real layouts, names and label files, with images of a few pixels."""

from miniature import Expected, write_bytes, write_image, write_table

NIH = dict.fromkeys(
    "Atelectasis Cardiomegaly Consolidation Edema Effusion Emphysema Fibrosis Hernia Infiltration Mass Nodule "
    "Pleural_Thickening Pneumonia Pneumothorax".split(),
    0,
)
CHEXPERT = [
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
]  # fmt: skip


def nih_chestxray14(root):
    for name in ("00000001_000.png", "00000001_001.png", "00000002_000.png"):
        write_image(root / "images_001" / "images" / name)
    write_image(root / "images_012" / "images" / "00030805_000.png", mode="RGBA")
    write_image(root / "images_012" / "images" / "00030806_000.png")
    header = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender"]
    header += ["View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", ""]
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
    both = {"findings": {**NIH, "Cardiomegaly": 1, "Emphysema": 1}}
    return Expected(
        modality="cxr",
        images={
            "images_001/images/00000001_000.png": {"patient_id": "00000001", "split": "train"},
            "images_001/images/00000001_001.png": {"labels": both, "split": "train"},
            "images_001/images/00000002_000.png": {"labels": {"findings": NIH}, "split": "test"},
            "images_012/images/00030805_000.png": {"patient_id": "00030805", "split": ""},
        },
        rejected={
            "images_012/images/00030806_000.png": "no_row",
            "Data_Entry_2017_v2020.csv:6": "missing",
            "BBox_List_2017.csv": "not_listed",
        },
    )


def _chexpert(root, release, places):
    """`places` maps the path in the tables to the path on disk."""
    values = {
        "train/patient00001/study1/view1_frontal.jpg": ["1.0", *[""] * 12, "1.0"],
        "train/patient00002/study2/view1_frontal.jpg": ["", "", "-1.0", "1.0", *[""] * 9, "0.0"],
        "train/patient00002/study2/view2_lateral.jpg": ["", "", "-1.0", "1.0", *[""] * 9, "0.0"],
        "valid/patient64541/study1/view1_frontal.jpg": ["0.0", "1.0", *["0.0"] * 12],
    }
    files = {listed: places(listed) for listed in values}
    for file in files.values():
        write_image(root / file)
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT]
    tables = places("")
    for part in ("train", "valid"):
        rows = [
            [f"{release}/{f}", "Female", "68", "Frontal", "AP", *v] for f, v in values.items() if f.startswith(part)
        ]
        write_table(root / f"{tables}{part}.csv", header, rows)
    uncertain = {"findings": {**dict.fromkeys(CHEXPERT), "Lung Opacity": 1, "Support Devices": 0}}
    first, second, third, fourth = files.values()
    return Expected(
        modality="cxr",
        images={
            first: {"patient_id": "patient00001", "split": "train", "namespace": "chexpert"},
            second: {"labels": uncertain, "split": "train"},
            third: {"patient_id": "patient00002", "labels": uncertain},
            fourth: {"patient_id": "patient64541", "split": "val"},
        },
    )


def chexpert(root):
    batches = {"train": "CheXpert-v1.0 batch 2 (train 1)", "valid": "CheXpert-v1.0 batch 1 (validate & csv)/valid"}

    def place(listed):
        part, _, rest = listed.partition("/")
        return f"{batches[part]}/{rest}" if listed else "CheXpert-v1.0 batch 1 (validate & csv)/"

    return _chexpert(root, "CheXpert-v1.0", place)


def chexpert_small(root):
    return _chexpert(root, "CheXpert-v1.0-small", lambda listed: f"CheXpert-v1.0-small/{listed}")


def mimic_cxr_jpg(root):
    names = {
        "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014": ("10000032", "50414267", "PA", "train"),
        "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962": ("10000032", "50414267", "LATERAL", "train"),
        "2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab": ("10000764", "57375967", "AP", "validate"),
        "68b5c4b1-227d0485-9cc38c3f-7b84ab51-4b472714": ("10000898", "50771383", "AP", "test"),
    }
    files = {}
    for name, (patient, study, _, _) in names.items():
        files[name] = f"files/p{patient[:2]}/p{patient}/s{study}/{name}.jpg"
        write_image(root / files[name])
    rows = [[n, p, s, "CHEST (PA AND LAT)", v, "3056"] for n, (p, s, v, _) in names.items()]
    header = ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows"]
    write_table(root / "mimic-cxr-2.0.0-metadata.csv.gz", header, rows, compressed=True)
    rows = [[n, s, p, split] for n, (p, s, _, split) in names.items()]
    write_table(
        root / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], rows, compressed=True
    )
    columns = sorted(CHEXPERT)
    positive = ["1.0" if name == "Edema" else "-1.0" if name == "Pneumonia" else "" for name in columns]
    rows = [["10000032", "50414267", *positive], ["10000764", "57375967", *[""] * 14], ["99", "59999999", *positive]]
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", ["subject_id", "study_id", *columns], rows, compressed=True)
    study = {"findings": {**dict.fromkeys(CHEXPERT), "Edema": 1}}
    first, second, third, fourth = files.values()
    return Expected(
        modality="cxr",
        images={
            first: {"labels": study, "patient_id": "p10000032", "split": "train"},
            second: {"labels": study, "split": "train"},
            third: {"labels": {"findings": dict.fromkeys(CHEXPERT)}, "split": "val"},
            fourth: {"labels": {}, "split": "test"},
        },
    )


def padchest(root):
    rows = [
        ["0", "20536686640136348236148679891455886468_k6ga29.png", "0", "1", "8386", "PA", "MONOCHROME2", "['normal']"],
        ["1", "135803415504923515076821959678074435083_fzis7b.png", "0", "2", "8387", "L", "MONOCHROME2", "['normal']"],
        ["2", "216840111366964012339356563862009058111_00.png", "1", "3", "9001", "AP_horizontal", "MONOCHROME1",
         "['pneumonia', 'unchanged', 'pleural effusion']"],
        ["3", "216840111366964012558082906712009327122220177_00-102.png", "38", "4", "9001", "PA", "MONOCHROME2", ""],
    ]  # fmt: skip
    header = ["", "ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "PhotometricInterpretation_DICOM"]
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    write_table(root / name, [*header, "Labels"], rows, compressed=True)
    for row in rows[:3]:
        write_image(root / row[2] / row[1], mode="I;16")
    return Expected(
        modality="cxr",
        images={
            f"0/{rows[0][1]}": {"patient_id": "8386", "positive": set(), "treatment.is_inverted": False},
            f"1/{rows[2][1]}": {
                "patient_id": "9001",
                "positive": {"pneumonia", "pleural effusion"},
                "treatment.is_inverted": True,
            },
        },
        rejected={f"0/{rows[1][1]}": "lateral", f"{name}:5": "missing"},
    )


VINDR = [
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation",
    "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst",
    "Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis",
]  # fmt: skip


def vindr_cxr(root):
    def votes(*positive):
        return ["1" if name in positive else "0" for name in VINDR]

    train, test = "000434271f63a053c4128a0ba6352c7f", "002a34c58c5b758217ed1f584ccbcfe9"
    for folder, name in (("train", train), ("test", test)):
        write_bytes(root / folder / f"{name}.dicom")
    rows = [
        [train, "R2", *votes("Cardiomegaly", "ILD"), "0", "0"],
        [train, "R3", *votes("Cardiomegaly"), "0", "0"],
        [train, "R6", *votes(), "1", "1"],
        ["00053190460d56c53cc3e57321387478", "R2", *votes(), "0", "1"],
    ]
    folder = root / "annotations"
    write_table(folder / "image_labels_train.csv", ["image_id", "rad_id", *VINDR, "Other diseases", "No finding"], rows)
    write_table(
        folder / "image_labels_test.csv",
        ["image_id", *VINDR, "Other disease", "No finding"],
        [[test, *votes(), "0", "1"]],
    )
    write_table(folder / "annotations_train.csv", ["image_id", "rad_id", "class_name", "x_min"], [])
    none = dict.fromkeys(VINDR, 0)
    return Expected(
        modality="cxr",
        images={
            f"train/{train}.dicom": {
                "labels": {"findings": {**none, "Cardiomegaly": 1, "No finding": 0}},
                "split": "train",
            },
            f"test/{test}.dicom": {"labels": {"findings": {**none, "No finding": 1}}, "split": "test"},
        },
        rejected={
            "annotations/image_labels_train.csv:5": "missing",
            "annotations/annotations_train.csv": "not_listed",
        },
    )


def rsna_pneumonia(root):
    ids = ["0004cfab-14fd-4e49-80ba-63a80b6bddd6", "00436515-870c-4b36-a041-de91049b9ab4"]
    for name in ids:
        write_bytes(root / "stage_2_train_images" / f"{name}.dcm")
    write_bytes(root / "stage_2_test_images" / "0000a175-0e68-4ca4-b1af-167204a7e0bc.dcm")
    header = ["patientId", "x", "y", "width", "height", "Target"]
    rows = [
        [ids[0], "", "", "", "", "0"],
        [ids[1], "264.0", "152.0", "213.0", "379.0", "1"],
        [ids[1], "562.0", "152.0", "256.0", "453.0", "1"],
    ]
    write_table(root / "stage_2_train_labels.csv", header, rows)
    write_table(root / "stage_2_detailed_class_info.csv", ["patientId", "class"], [[ids[0], "Normal"]])
    return Expected(
        modality="cxr",
        images={
            f"stage_2_train_images/{ids[0]}.dcm": {"labels": {"class": "normal"}, "patient_id": ids[0]},
            f"stage_2_train_images/{ids[1]}.dcm": {"labels": {"class": "opacity"}, "split": ""},
            "stage_2_test_images/0000a175-0e68-4ca4-b1af-167204a7e0bc.dcm": {"labels": {}},
        },
        rejected={"stage_2_detailed_class_info.csv": "not_listed"},
    )


def siim_acr_pneumothorax(root):
    stem = "1.2.276.0.7230010.3.1.4.8323329.{}.1517875163.537053"
    one, two, three = (stem.format(number) for number in (10000, 10001, 10002))
    files = [f"dicom-images-train/{n}.1/{n}.2/{n}.dcm" for n in (one, two, three)]
    for file in files:
        write_bytes(root / file)
    rows = [[one, " -1"], [two, " 175349 7 1013 12"], [two, " 209126 1 1019 6"]]
    write_table(root / "train-rle.csv", ["ImageId", " EncodedPixels"], rows)
    return Expected(
        modality="cxr",
        images={
            files[0]: {"labels": {"class": "normal"}, "patient_id": one},
            files[1]: {"labels": {"class": "pneumothorax"}},
            files[2]: {"labels": {}},
        },
    )


def cbis_ddsm(root):
    uid = "1.3.6.1.4.1.9590.100.1.2.{}"
    series = {
        "100": ("full mammogram images", "Mass-Training_P_00001_LEFT_CC", "1-263.jpg"),
        "101": ("cropped images", "Mass-Training_P_00001_LEFT_CC_1", "1-263.jpg"),
        "102": ("ROI mask images", "Mass-Training_P_00001_LEFT_CC_1", "2-241.jpg"),
        "103": ("full mammogram images", "Calc-Test_P_00001_RIGHT_MLO", "1-111.jpg"),
        "104": ("full mammogram images", "Mass-Training_P_00009_LEFT_CC", "1-001.jpg"),
    }
    rows = []
    for number, (description, case, name) in series.items():
        file = f"jpeg/{uid.format(number)}/{name}"
        write_image(root / file)
        rows.append([f"CBIS-DDSM/dicom/{uid.format(number)}/1-1.dcm", f"CBIS-DDSM/{file}", case, description])
    write_table(root / "csv" / "dicom_info.csv", ["file_path", "image_path", "PatientID", "SeriesDescription"], rows)
    header = ["patient_id", "breast_density", "image view", "abnormality id", "pathology", "image file path"]
    mass = [
        ["P_00001", "3", "CC", "1", "MALIGNANT", f"Mass-Training_P_00001_LEFT_CC/{uid.format(1)}/000000.dcm"],
        ["P_00009", "3", "CC", "1", "MALIGNANT", f"Mass-Training_P_00009_LEFT_CC/{uid.format(2)}/000000.dcm"],
        ["P_00009", "3", "CC", "2", "BENIGN", f"Mass-Training_P_00009_LEFT_CC/{uid.format(2)}/000000.dcm"],
    ]
    calc = [
        [
            "P_00001",
            "3",
            "MLO",
            "1",
            "BENIGN_WITHOUT_CALLBACK",
            f"Calc-Test_P_00001_RIGHT_MLO/{uid.format(3)}/000000.dcm",
        ]
    ]
    for kind, part, rows in (
        ("mass", "train", mass),
        ("calc", "test", calc),
        ("mass", "test", []),
        ("calc", "train", []),
    ):
        write_table(root / "csv" / f"{kind}_case_description_{part}_set.csv", header, rows)
    return Expected(
        modality="cxr",
        images={
            f"jpeg/{uid.format(100)}/1-263.jpg": {
                "labels": {"class": "malignant"},
                "patient_id": "P_00001",
                "split": "test",
            },
            f"jpeg/{uid.format(103)}/1-111.jpg": {"labels": {"class": "benign_without_callback"}, "split": "test"},
        },
        rejected={
            f"jpeg/{uid.format(101)}/1-263.jpg": "crop",
            f"jpeg/{uid.format(102)}/2-241.jpg": "mask",
            f"jpeg/{uid.format(104)}/1-001.jpg": "label_conflict",
        },
    )


def tbx11k(root):
    files = ["health/h0001.png", "sick/s0003.png", "tb/tb0005.png", "test/test_0001.png", "extra/da+db/train/p0001.png"]
    for file in files:
        write_image(root / "imgs" / file, mode="RGB")
    lists = {"TBX11K_train": files[:2], "TBX11K_val": files[2:3], "TBX11K_trainval": files[:3], "all_test": files[3:]}
    for name, listed in lists.items():
        write_table(root / "lists" / f"{name}.txt", [], [[file] for file in listed])
    return Expected(
        modality="cxr",
        images={
            "imgs/health/h0001.png": {"labels": {"class": "healthy"}, "split": "train"},
            "imgs/sick/s0003.png": {"labels": {"class": "sick_non_tb"}, "split": "train"},
            "imgs/tb/tb0005.png": {"labels": {"class": "tb"}, "split": "val"},
            "imgs/test/test_0001.png": {"labels": {}, "split": "test"},
        },
        rejected={"imgs/extra/da+db/train/p0001.png": "copy", "lists/TBX11K_trainval.txt": "not_listed"},
    )


def covidx_cxr4(root):
    rows = {
        "train": [["379", "1e64990d1b40c1758a2aaa9c7f7a85_jumbo.jpeg", "negative", "cohen"],
                  ["sub-S03045", "sub-S03045_ses-E07463_run-1_bp-chest_vp-ap_dx.png", "positive", "bimcv"]],
        "val": [["SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0", "fig8a.jpeg", "negative", "cohen"]],
        "test": [["MIDRC-RICORD-1C-419639-003251", "MIDRC-RICORD-1C-419639-003251-46647-0.png", "positive", "ricord"]],
    }  # fmt: skip
    for part, listed in rows.items():
        write_table(root / f"{part}.txt", [], listed, delimiter=" ")
        for row in listed:
            write_image(root / part / row[1])
    return Expected(
        modality="cxr",
        images={
            f"train/{rows['train'][0][1]}": {"labels": {"class": "negative"}, "patient_id": "379", "split": "train"},
            f"train/{rows['train'][1][1]}": {"labels": {"class": "positive"}, "patient_id": "sub-S03045"},
            "val/fig8a.jpeg": {"split": "val"},
            f"test/{rows['test'][0][1]}": {"split": "test"},
        },
    )


def shenzhen_tb(root):
    for number, sick in ((1, 0), (327, 1)):
        write_image(root / "ChinaSet_AllFiles" / "CXR_png" / f"CHNCXR_{number:04d}_{sick}.png", mode="RGB")
        reading = root / "ChinaSet_AllFiles" / "ClinicalReadings" / f"CHNCXR_{number:04d}_{sick}.txt"
        write_bytes(reading, b"male 45yrs\nnormal\n")
    return Expected(
        modality="cxr",
        images={
            "ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png": {"labels": {"class": "normal"}},
            "ChinaSet_AllFiles/CXR_png/CHNCXR_0327_1.png": {
                "labels": {"class": "tuberculosis"},
                "patient_id": "CHNCXR_0327",
            },
        },
        rejected={
            "ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0001_0.txt": "not_listed",
            "ChinaSet_AllFiles/ClinicalReadings/CHNCXR_0327_1.txt": "not_listed",
        },
    )


def montgomery_tb(root):
    for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"):
        write_image(root / "MontgomerySet" / folder / "MCUCXR_0001_0.png")
    write_image(root / "MontgomerySet" / "CXR_png" / "MCUCXR_0104_1.png")
    return Expected(
        modality="cxr",
        images={
            "MontgomerySet/CXR_png/MCUCXR_0001_0.png": {"labels": {"class": "normal"}, "patient_id": "MCUCXR_0001"},
            "MontgomerySet/CXR_png/MCUCXR_0104_1.png": {"labels": {"class": "tuberculosis"}},
        },
        rejected={
            "MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png": "mask",
            "MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png": "mask",
        },
    )


def pediatric_pneumonia(root):
    files = {
        "train/PNEUMONIA/person1_bacteria_1.jpeg": ("bacterial_pneumonia", "person1", "test"),
        "train/PNEUMONIA/person2_bacteria_3.jpeg": ("bacterial_pneumonia", "person2", "train"),
        "test/PNEUMONIA/person1_virus_6.jpeg": ("viral_pneumonia", "person1", "test"),
        "train/NORMAL/IM-0115-0001.jpeg": ("normal", "IM-0115", "train"),
        "train/NORMAL/NORMAL2-IM-0383-0001.jpeg": ("normal", "IM-0383", "train"),
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg": ("normal", "IM-1427", "val"),
        "test/NORMAL/NORMAL-1049278-0001.jpeg": ("normal", "1049278", "test"),
        "train/PNEUMONIA/VIRUS-1008087-0001.jpeg": ("viral_pneumonia", "1008087", "train"),
    }
    for file in files:
        write_image(root / "chest_xray" / file)
    write_image(root / "chest_xray" / "chest_xray" / "train" / "NORMAL" / "IM-0115-0001.jpeg")
    write_bytes(root / "chest_xray" / "__MACOSX" / "chest_xray" / "._train")
    return Expected(
        modality="cxr",
        images={
            f"chest_xray/{file}": {"labels": {"class": label}, "patient_id": patient, "split": split}
            for file, (label, patient, split) in files.items()
        },
        rejected={"chest_xray/chest_xray/train/NORMAL/IM-0115-0001.jpeg": "not_listed"},
    )


def covid_chestxray(root):
    header = [
        "patientid",
        "offset",
        "sex",
        "finding",
        "view",
        "modality",
        "folder",
        "filename",
        "license",
        "clinical_notes",
    ]
    rows = [
        ["2", "0", "M", "Pneumonia/Viral/COVID-19", "PA", "X-ray", "images",
         "auntminnie-a-2020_01_28_23_51_6665_2020_01_28_Vietnam_coronavirus.jpeg", "", 'In 2020, a "65-year-old"'],
        ["3", "", "", "Pneumonia/Viral/SARS", "L", "X-ray", "images",
         "SARS-10.1148rg.242035193-g04mr34g0-Fig8b-day5.jpeg", "", ""],
        ["12", "", "F", "todo", "AP", "X-ray", "images", "16953_3_1%281%29.png", "CC BY-NC-SA", ""],
        ["5", "", "", "Pneumonia/Viral/COVID-19", "Axial", "CT", "images", "radiopaedia-2019-novel.jpg", "", ""],
    ]  # fmt: skip
    write_table(root / "metadata.csv", header, rows)
    write_bytes(root / "SCHEMA.md", b"# columns\n")
    for row in rows:
        write_image(root / "images" / row[7])
    return Expected(
        modality="cxr",
        images={
            f"images/{rows[0][7]}": {"labels": {"class": "Pneumonia/Viral/COVID-19"}, "patient_id": "2"},
            f"images/{rows[2][7]}": {"labels": {}, "patient_id": "12", "licence": "CC BY-NC-SA"},
        },
        rejected={
            f"images/{rows[1][7]}": "lateral",
            f"images/{rows[3][7]}": "other_modality",
            "SCHEMA.md": "not_listed",
        },
    )


CXR = {
    tree.__name__: tree
    for tree in (
        nih_chestxray14, chexpert, chexpert_small, mimic_cxr_jpg, padchest, vindr_cxr, rsna_pneumonia,
        siim_acr_pneumothorax, cbis_ddsm, tbx11k, covidx_cxr4, shenzhen_tb, montgomery_tb, pediatric_pneumonia,
        covid_chestxray,
    )
}  # fmt: skip
