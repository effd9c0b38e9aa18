"""Miniatures of CT datasets: real layouts, names and label files, with images of a few pixels."""

import zipfile

from miniature import Expected, write_bytes, write_image, write_table

_NBIA = ["Series UID", "Collection", "Study UID", "Series Description", "Modality", "Number of Images", "File Location"]


def lidc_idri(root):
    uid = "1.3.6.1.4.1.14519.5.2.1.6279.6001.{}"
    old = f"LIDC-IDRI-0001/{uid.format(298)}/{uid.format(179)}"
    new = "LIDC-IDRI-0002/01-01-2000-NA-NA-98329/3000522.000000-NA-04919"
    film = f"LIDC-IDRI-0001/{uid.format(175)}/{uid.format(139)}"
    for file in (f"{old}/000001.dcm", f"{old}/000002.dcm", f"{new}/1-001.dcm", f"{film}/000001.dcm"):
        write_bytes(root / "LIDC-IDRI" / file)
    write_bytes(root / "LIDC-IDRI" / old / "069.xml", b"<LidcReadMessage/>")
    rows = [
        [uid.format(number), "LIDC-IDRI", uid.format(1), "", modality, "2", ".\\LIDC-IDRI\\" + place.replace("/", "\\")]
        for number, modality, place in ((179, "CT", old), (619, "CT", new), (139, "DX", film))
    ]
    write_table(root / "metadata.csv", _NBIA, rows)
    return Expected(
        modality="ct",
        images={
            f"LIDC-IDRI/{old}/000001.dcm": {"patient_id": "LIDC-IDRI-0001", "group_id": uid.format(179), "labels": {}},
            f"LIDC-IDRI/{old}/000002.dcm": {"treatment.window": "lung", "treatment.dicom_modalities": ("CT",)},
            f"LIDC-IDRI/{new}/1-001.dcm": {"patient_id": "LIDC-IDRI-0002", "group_id": "3000522.000000-NA-04919"},
        },
        rejected={f"LIDC-IDRI/{old}/069.xml": "not_listed", f"LIDC-IDRI/{film}/000001.dcm": "other_modality"},
    )


def tcga_luad(root):
    ct = "TCGA-05-4244/01-22-2010-NA-PET CT PETCT-04411/3.000000-CT Thx-68154"
    pet = "TCGA-05-4244/01-22-2010-NA-PET CT PETCT-04411/5.000000-PET WB-19233"
    for place in (ct, pet):
        write_bytes(root / "TCGA-LUAD" / place / "1-01.dcm")
    rows = [
        [f"1.3.6.{n}", "TCGA-LUAD", "1.3", "", modality, "1", "./TCGA-LUAD/" + place + "/"]
        for n, (modality, place) in enumerate((("CT", ct), ("PT", pet)))
    ]
    write_table(root / "metadata.csv", _NBIA, rows)
    return Expected(
        modality="ct",
        images={f"TCGA-LUAD/{ct}/1-01.dcm": {"patient_id": "TCGA-05-4244"}},
        rejected={f"TCGA-LUAD/{pet}/1-01.dcm": "other_modality"},
    )


def rsna_ich_2019(root):
    kinds = ["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any"]
    write_bytes(root / "stage_2_train" / "ID_000012eaf.dcm")
    write_bytes(root / "stage_2_train" / "ID_012d0a4e8.dcm")
    write_bytes(root / "stage_2_test" / "ID_000000e27.dcm")
    positive = {"ID_012d0a4e8": {"subdural", "any"}}
    names = ("ID_000012eaf", "ID_012d0a4e8", "ID_00bad0000")
    rows = [[f"{name}_{kind}", str(int(kind in positive.get(name, ())))] for name in names for kind in kinds]
    write_table(root / "stage_2_train.csv", ["ID", "Label"], [*rows, *rows[:6]])
    write_table(root / "stage_2_sample_submission.csv", ["ID", "Label"], [["ID_000000e27_any", "0.5"]])
    write_table(root / "patients.csv", ["ID", "PatientID"], [["ID_000012eaf", "ID_f15c0eee"]])
    none = dict.fromkeys(kinds, 0)
    return Expected(
        modality="ct",
        images={
            "stage_2_train/ID_000012eaf.dcm": {
                "labels": {"findings": none},
                "patient_id": "ID_f15c0eee",
                "split": "train",
            },
            "stage_2_train/ID_012d0a4e8.dcm": {
                "labels": {"findings": {**none, "subdural": 1, "any": 1}},
                "patient_id": "",
            },
            "stage_2_test/ID_000000e27.dcm": {"split": "test", "treatment.fix_sign": True, "treatment.window": "brain"},
        },
        rejected={"stage_2_train.csv:14": "missing", "stage_2_sample_submission.csv": "not_listed"},
    )


def rsna_pe_2020(root):
    header = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "pe_present_on_image", "negative_exam_for_pe"]
    rows = [
        ["6897fa9de148", "2bfbb7fd2e8b", "c0f3cb036d06", "0", "0"],
        ["6897fa9de148", "2bfbb7fd2e8b", "f57ffd3883b6", "1", "0"],
    ]
    write_table(root / "train.csv", [*header, "qa_motion"], [[*row, "0"] for row in rows])
    for study, series, image, *_ in rows:
        write_bytes(root / "train" / study / series / f"{image}.dcm")
    write_bytes(root / "test" / "00268ff88746" / "75d23269adbd" / "0d7ac36ac46a.dcm")
    folder = "train/6897fa9de148/2bfbb7fd2e8b"
    return Expected(
        modality="ct",
        images={
            f"{folder}/c0f3cb036d06.dcm": {
                "labels": {"class": "no_pe"},
                "patient_id": "6897fa9de148",
                "split": "train",
            },
            f"{folder}/f57ffd3883b6.dcm": {"labels": {"class": "pe"}, "group_id": "2bfbb7fd2e8b"},
            "test/00268ff88746/75d23269adbd/0d7ac36ac46a.dcm": {"labels": {}, "split": "test"},
        },
    )


def deeplesion(root):
    for series, slices in (("000001_01_01", (103, 109)), ("000012_03_02", (40,)), ("004427_01_01", (7,))):
        for number in slices:
            write_image(root / "Images_png" / series / f"{number:03d}.png", mode="I;16")
    write_image(root / "Key_slices" / "000001_01_01_109_0.png", mode="RGB")
    header = [
        "File_name",
        "Patient_index",
        "Key_slice_index",
        "Coarse_lesion_type",
        "Possibly_noisy",
        "DICOM_windows",
        "Train_Val_Test",
    ]
    rows = [
        ["000001_01_01_109.png", "1", "109", "3", "0", "-175, 275", "3"],
        ["000001_01_01_109.png", "1", "109", "3", "0", "-175, 275", "3"],
        ["000012_03_02_040.png", "12", "40", "5", "0", "-1500, 500", "2"],
        ["000012_03_02_040.png", "12", "40", "4", "0", "-160, 240", "2"],
        ["004427_01_01_007.png", "4427", "7", "-1", "1", "-160, 240", "1"],
        ["000099_01_01_050.png", "99", "50", "-1", "0", "-160, 240", "1"],
    ]
    write_table(root / "DL_info.csv", header, rows)
    return Expected(
        modality="ct",
        images={
            "Images_png/000001_01_01/103.png": {"labels": {}, "patient_id": "000001", "split": "test"},
            "Images_png/000001_01_01/109.png": {"labels": {"class": "mediastinum"}, "group_id": "000001_01_01"},
            "Images_png/000012_03_02/040.png": {"labels": {}, "split": "val"},
            "Images_png/004427_01_01/007.png": {"split": "train", "treatment.offset_hu": -32768.0},
        },
        rejected={"Key_slices/000001_01_01_109_0.png": "other_name", "DL_info.csv:7": "missing"},
    )


def flare(root):
    for name in ("FLARE22_Tr_0001_0000.nii.gz", "FLARE22_Tr_0002_0000.nii.gz"):
        write_bytes(root / "FLARE22_LabeledCase50" / "imagesTr" / name)
    write_bytes(root / "FLARE22_LabeledCase50" / "labelsTr" / "FLARE22_Tr_0001.nii.gz")
    write_bytes(root / "FLARE22_LabeledCase50" / "labelsTr" / "FLARE22_Tr_0002_0000.nii.gz")
    write_bytes(root / "FLARE22_UnlabeledCase" / "Case_00001_0000.nii.gz")
    labelled = "FLARE22_LabeledCase50"
    return Expected(
        modality="ct",
        images={
            f"{labelled}/imagesTr/FLARE22_Tr_0001_0000.nii.gz": {"patient_id": "FLARE22_Tr_0001"},
            f"{labelled}/imagesTr/FLARE22_Tr_0002_0000.nii.gz": {"group_id": "FLARE22_Tr_0002", "labels": {}},
            "FLARE22_UnlabeledCase/Case_00001_0000.nii.gz": {"patient_id": "Case_00001"},
        },
        rejected={
            f"{labelled}/labelsTr/FLARE22_Tr_0001.nii.gz": "not_listed",
            f"{labelled}/labelsTr/FLARE22_Tr_0002_0000.nii.gz": "mask",
        },
    )


def chest_ctscan_images(root):
    files = {
        "train/adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib/000000 (6).png": ("adenocarcinoma", "train"),
        "valid/large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa/000004 (2).png": ("large_cell_carcinoma", "val"),
        "test/squamous.cell.carcinoma/000108 (3).png": ("squamous_cell_carcinoma", "test"),
        "train/normal/10 (2).png": ("normal", "train"),
        "test/normal/n8.jpg": ("normal", "test"),
    }
    for file in files:
        write_image(root / "Data" / file, mode="RGB")
    return Expected(
        modality="ct",
        images={f"Data/{f}": {"labels": {"class": label}, "split": split} for f, (label, split) in files.items()},
    )


def iq_othnccd(root):
    folder = "The IQ-OTHNCCD lung cancer dataset"
    files = {
        "Bengin cases/Bengin case (1).jpg": "benign",
        "Malignant cases/Malignant case (12).jpg": "malignant",
        "Normal cases/Normal case (103).jpg": "normal",
    }
    for file in files:
        write_image(root / folder / file)
    write_image(root / folder / "Test cases" / "000019_01_02_188.jpg")
    write_bytes(root / "IQ-OTH_NCCD lung cancer dataset.txt", b"about\n")
    return Expected(
        modality="ct",
        images={f"{folder}/{file}": {"labels": {"class": label}, "split": ""} for file, label in files.items()},
        rejected={
            f"{folder}/Test cases/000019_01_02_188.jpg": "not_listed",
            "IQ-OTH_NCCD lung cancer dataset.txt": "not_listed",
        },
    )


def sars_cov_2(root):
    write_image(root / "COVID" / "Covid (1).png", mode="RGB")
    write_image(root / "non-COVID" / "Non-Covid (1).png", mode="RGB")
    return Expected(
        modality="ct",
        images={
            "COVID/Covid (1).png": {"labels": {"class": "covid"}},
            "non-COVID/Non-Covid (1).png": {"labels": {"class": "non_covid"}},
        },
    )


def hrctcov19(root):
    files = {
        "GGO/P001/IM0001.jpg": ("ggo", "P001"),
        "Crazy Paving/P002/IM0007.jpg": ("crazy paving", "P002"),
        "Air space consolidation/P003/IM0100.jpg": ("air space consolidation", "P003"),
        "Negative/IM0005.jpg": ("negative", ""),
    }
    for file in files:
        write_image(root / file)
    return Expected(
        modality="ct",
        images={file: {"labels": {"class": label}, "patient_id": patient} for file, (label, patient) in files.items()},
    )


def ictcf(root):
    write_image(root / "NiCT" / "NiCT1.jpg")
    write_image(root / "pCT" / "pCT1.jpg")
    write_image(root / "1.jpg")
    with zipfile.ZipFile(root / "nCT.zip", "w") as archive:
        archive.write(root / "1.jpg", "nCT1.jpg")
    (root / "1.jpg").unlink()
    return Expected(
        modality="ct",
        images={
            "NiCT/NiCT1.jpg": {"labels": {"class": "non_informative"}},
            "pCT/pCT1.jpg": {"labels": {"class": "positive"}},
            "nCT.zip/nCT1.jpg": {"labels": {"class": "negative"}, "member": "nCT1.jpg"},
        },
    )


def covid_ct(root):
    covid, other = "2020.01.24.919183-p27-132.png", "1%2.jpg"
    write_image(root / "Images-processed" / "CT_COVID" / covid)
    write_image(root / "Images-processed" / "CT_NonCOVID" / other)
    write_image(root / "Images-processed" / "CT_COVID" / "kjr-21-e24-g001-l1.png")
    write_table(root / "Data-split" / "COVID" / "trainCT_COVID.txt", [], [[covid]])
    write_table(root / "Data-split" / "COVID" / "testCT_COVID.txt", [], [["PIIS0140673620301549_0%1.png"]])
    write_table(root / "Data-split" / "NonCOVID" / "valCT_NonCOVID.txt", [], [[other]])
    write_bytes(root / "COVID-CT-MetaInfo.xlsx")
    return Expected(
        modality="ct",
        images={
            f"Images-processed/CT_COVID/{covid}": {"labels": {"class": "covid"}, "split": "train"},
            f"Images-processed/CT_NonCOVID/{other}": {"labels": {"class": "non_covid"}, "split": "val"},
            "Images-processed/CT_COVID/kjr-21-e24-g001-l1.png": {"split": ""},
        },
        rejected={"COVID-CT-MetaInfo.xlsx": "not_listed", "Data-split/COVID/testCT_COVID.txt:1": "missing"},
    )


def radimagenet(root):
    files = {
        "CT/abd/normal/abd-normal001234.png": ("ct", "ct-abd-normal", "train"),
        "MR/knee/acl_pathology/mri-knee-acl000001.png": ("mr", "mr-knee-acl_pathology", "val"),
        "US/gb/usn309850.png": None,
        "US/thyroid/nodule/usn309851.png": ("us", "us-thyroid-nodule", "test"),
    }
    listed = {}
    for file, truth in files.items():
        write_image(root / "radiology_ai" / file)
        if truth:
            listed.setdefault(truth[2], []).append([f"radiology_ai/{file}", truth[1]])
    for part, rows in listed.items():
        write_table(root / f"RadiologyAI_{part}.csv", ["filename", "label"], rows)
    return Expected(
        images={
            f"radiology_ai/{file}": {"modality": truth[0], "labels": {"class": truth[1]}, "split": truth[2]}
            for file, truth in files.items()
            if truth
        },
        rejected={"radiology_ai/US/gb/usn309850.png": "not_listed"},
    )


def head_ct_hemorrhage(root):
    for number in (0, 7, 150):
        write_image(root / "head_ct" / "head_ct" / f"{number:03d}.png", mode="RGBA")
    write_table(root / "labels.csv", ["id", " hemorrhage"], [["0", "1"], ["7", "1"], ["150", "0"], ["199", "0"]])
    return Expected(
        modality="ct",
        images={
            "head_ct/head_ct/000.png": {"labels": {"class": "hemorrhage"}},
            "head_ct/head_ct/007.png": {"labels": {"class": "hemorrhage"}},
            "head_ct/head_ct/150.png": {"labels": {"class": "normal"}},
        },
        rejected={"labels.csv:5": "missing"},
    )


CT = {
    tree.__name__: tree
    for tree in (
        lidc_idri, tcga_luad, rsna_ich_2019, rsna_pe_2020, deeplesion, flare, chest_ctscan_images, iq_othnccd,
        sars_cov_2, hrctcov19, ictcf, covid_ct, radimagenet, head_ct_hemorrhage,
    )
}  # fmt: skip
