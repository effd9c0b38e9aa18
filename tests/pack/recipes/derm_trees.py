"""Miniatures of dermatology datasets: real layouts, names and label files, with images of a few pixels."""

from miniature import Expected, write_bytes, write_image, write_table


def write_photos(root, files):
    for number, file in enumerate(files):
        write_image(root / file, mode="RGB", seed=number)


def labelled(name, **more):
    return {"labels": {"class": name}, **more}


def ham10000(root):
    one, twin, other = (
        f"HAM10000_images_part_{part}/ISIC_{number}.jpg"
        for part, number in ((1, "0027419"), (2, "0025030"), (2, "0031633"))
    )
    copy, mask = (
        "ham10000_images_part_1/ISIC_0027419.jpg",
        "HAM10000_segmentations_lesion_tschandl/ISIC_0027419_segmentation.png",
    )
    write_photos(root, [one, twin, other, copy, mask, "HAM10000_images_part_2/ISIC_0099999.jpg"])
    header = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset"]
    rows = [
        ["HAM_0000118", "ISIC_0027419", "bkl", "histo", "80.0", "male", "scalp", "vidir_modern"],
        ["HAM_0000118", "ISIC_0025030", "bkl", "histo", "80.0", "male", "scalp", "vidir_modern"],
        ["HAM_0002761", "ISIC_0031633", "mel", "histo", "", "unknown", "ear", "vidir_modern"],
        ["HAM_0000001", "ISIC_0000001", "nv", "follow_up", "50.0", "female", "back", "rosendahl"],
    ]
    write_table(root / "HAM10000_metadata", header, rows)
    return Expected(
        modality="derm",
        images={
            one: labelled("benign_keratosis", group_id="HAM_0000118", namespace="isic", split=""),
            twin: labelled("benign_keratosis", group_id="HAM_0000118"),
            other: labelled("melanoma", group_id="HAM_0002761"),
        },
        rejected={
            copy: "not_listed",
            mask: "not_listed",
            "HAM10000_images_part_2/ISIC_0099999.jpg": "no_row",
            "HAM10000_metadata:5": "missing",
        },
    )


def ham10000_clean(root):
    files = [f"HAM10000_clean/ISIC2018/ISIC_00345{n}.jpg" for n in (24, 25, 26)]
    write_photos(root, files)
    rows = [["ISIC_0034524.jpg", 1, "train"], ["ISIC_0034525.jpg", 1, "test"], ["ISIC_0034526.jpg", 4, "val"]]
    write_table(root / "HAM10000_clean/ISIC2018_splits/HAM_clean.csv", ["image", "label", "split"], rows)
    lesions = [["HAM_1", "ISIC_0034524"], ["HAM_1", "ISIC_0034525"], ["HAM_9", "ISIC_0000009"]]
    write_table(root / "HAM10000_metadata.csv", ["lesion_id", "image_id"], lesions)
    return Expected(
        modality="derm",
        images={
            files[0]: labelled("1", split="test", group_id="HAM_1"),
            files[1]: labelled("1", split="test", group_id="HAM_1", namespace="isic"),
            files[2]: labelled("4", split="val", group_id=""),
        },
    )


_CLASSES_2018 = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


def _one_hot(image, wanted, names):
    return [image, *("1.0" if name == wanted else "0.0" for name in names)]


def isic2018(root):
    files = {
        "Training": ("ISIC_0024306", "NV"),
        "Validation": ("ISIC_0034321", "MEL"),
        "Test": ("ISIC_0034524", "AKIEC"),
    }
    images = {}
    split = {"Training": "train", "Validation": "val", "Test": "test"}
    names = {"NV": "nevus", "MEL": "melanoma", "AKIEC": "actinic_keratosis"}
    for part, (image, label) in files.items():
        file = f"ISIC2018_Task3_{part}_Input/{image}.jpg"
        write_photos(root, [file])
        truth = root / f"ISIC2018_Task3_{part}_GroundTruth" / f"ISIC2018_Task3_{part}_GroundTruth.csv"
        write_table(truth, ["image", *_CLASSES_2018], [_one_hot(image, label, _CLASSES_2018)])
        images[file] = labelled(names[label], split=split[part])
    lesions = [["ISIC_0024306", "HAM_0000550", "follow up"]]
    write_table(
        root / "ISIC2018_Task3_Training_LesionGroupings.csv", ["image", "lesion_id", "diagnosis_confirm_type"], lesions
    )
    images["ISIC2018_Task3_Training_Input/ISIC_0024306.jpg"] |= {"group_id": "HAM_0000550", "namespace": "isic"}
    write_bytes(root / "ISIC2018_Task3_Training_Input/ATTRIBUTION.txt", b"x")
    return Expected(
        modality="derm", images=images, rejected={"ISIC2018_Task3_Training_Input/ATTRIBUTION.txt": "not_listed"}
    )


def isic2019(root):
    names = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    files = [
        "ISIC_2019_Training_Input/ISIC_0000000.jpg",
        "ISIC_2019_Training_Input/ISIC_0000030_downsampled.jpg",
        "ISIC_2019_Test_Input/ISIC_0034321.jpg",
        "ISIC_2019_Test_Input/ISIC_0034322.jpg",
    ]
    write_photos(root, files)
    train = [_one_hot("ISIC_0000000", "NV", names), _one_hot("ISIC_0000030_downsampled", "SCC", names)]
    write_table(root / "ISIC_2019_Training_GroundTruth.csv", ["image", *names], train)
    test = [[*_one_hot("ISIC_0034321", "UNK", names), "1.0", "0.0"]]
    write_table(root / "ISIC_2019_Test_GroundTruth.csv", ["image", *names, "score_weight", "validation_weight"], test)
    header = ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
    rows = [
        ["ISIC_0000000", "55.0", "anterior torso", "", "female"],
        ["ISIC_0000030_downsampled", "", "", "BCN_0003884", ""],
    ]
    write_table(root / "ISIC_2019_Training_Metadata.csv", header, rows)
    write_table(root / "ISIC_2019_Test_Metadata.csv", ["image", "age_approx", "anatom_site_general", "sex"], [])
    return Expected(
        modality="derm",
        images={
            files[0]: labelled("nevus", split="train", group_id="", namespace="isic"),
            files[1]: labelled("squamous_cell_carcinoma", split="train", group_id="BCN_0003884"),
            files[2]: labelled("other", split="test"),
            files[3]: {"labels": {}, "split": "test"},
        },
        rejected={"ISIC_2019_Test_Metadata.csv": "not_listed"},
    )


def isic2020(root):
    first, twin, third = (f"ISIC_2020_Training_JPEG/train/ISIC_{n}.jpg" for n in ("2637011", "0015719", "0052212"))
    test = "ISIC_2020_Test_Input/ISIC_0052060.jpg"
    write_photos(root, [first, twin, third, test])
    header = [
        "image_name",
        "patient_id",
        "lesion_id",
        "sex",
        "age_approx",
        "anatom_site_general_challenge",
        "diagnosis",
    ]
    rows = [
        ["ISIC_2637011", "IP_7279968", "IL_7972535", "male", 45, "head/neck", "unknown", "benign", 0],
        ["ISIC_0015719", "IP_3075186", "IL_4649854", "female", 45, "upper extremity", "unknown", "benign", 0],
        ["ISIC_0052212", "IP_7279968", "IL_9087444", "male", 50, "lower extremity", "melanoma", "malignant", 1],
    ]
    write_table(root / "ISIC_2020_Training_GroundTruth_v2.csv", [*header, "benign_malignant", "target"], rows)
    pairs = [["ISIC_2637011", "ISIC_0015719"], ["ISIC_0052212", "ISIC_0015719"]]
    write_table(root / "ISIC_2020_Training_Duplicates.csv", ["image_name_1", "image_name_2"], pairs)
    write_table(
        root / "ISIC_2020_Test_Metadata.csv", ["image", "patient", "sex"], [["ISIC_0052060", "IP_3579794", "male"]]
    )
    return Expected(
        modality="derm",
        images={
            first: labelled("benign", patient_id="IP_7279968", group_id="IL_7972535", split="train", namespace="isic"),
            third: labelled("malignant", patient_id="IP_7279968"),
            test: {"labels": {}, "patient_id": "IP_3579794", "split": "test"},
        },
        rejected={twin: "listed_duplicate"},
    )


def bcn20000(root):
    folder = "BCN_20k_train/bcn_20k_train"
    train = [f"{folder}/BCN_000000000{n}.jpg" for n in (1, 2, 3)]
    test = "BCN_20k_test/bcn_20k_test/BCN_0000000009.jpg"
    write_photos(root, [*train, test])
    header = ["bcn_filename", "age_approx", "anatom_site_general", "diagnosis", "lesion_id", "capture_date", "sex"]
    rows = [
        ["BCN_0000000001.jpg", "55.0", "anterior torso", "MEL", "BCN_0003884", "2012-05-16", "male"],
        ["BCN_0000000002.jpg", "55.0", "anterior torso", "MEL", "BCN_0003884", "2012-05-16", "male"],
        ["BCN_0000000003.jpg", "50.0", "head/neck", "SCC", "BCN_0000019", "2015-07-09", "female"],
    ]
    write_table(root / "bcn_20k_train.csv", header, rows)
    write_table(
        root / "bcn_20k_test.csv", ["bcn_filename", "age_approx", "sex"], [["BCN_0000000009.jpg", "60.0", "male"]]
    )
    ours = [["BCN_0000000001.jpg", 4, "val"], ["BCN_0000000003.jpg", 7, "train"]]
    write_table(root / "bcn20000.csv", ["image", "label", "split"], ours)
    return Expected(
        modality="derm",
        images={
            train[0]: labelled("melanoma", group_id="BCN_0003884", split="val", namespace="isic"),
            train[1]: labelled("melanoma", group_id="BCN_0003884", split="val"),
            train[2]: labelled("squamous_cell_carcinoma", split="train"),
            test: {"labels": {}, "split": "test"},
        },
    )


def derm7pt(root):
    folder = "release_v0"
    files = [
        f"{folder}/images/{name}"
        for name in ("NEL/NEL025.JPG", "NEL/Nel026.jpg", "Abl/Abl128.jpg", "Abl/Abl129.jpg", "Gzl/Gzl01.jpg")
    ]
    write_photos(root, files)
    header = ["case_num", "diagnosis", "seven_point_score", "clinic", "derm", "case_id", "notes"]
    rows = [
        [1, "basal cell carcinoma", 0, "NEL/NEL025.JPG", "NEL/Nel026.jpg", "", ""],
        [3, "melanoma (less than 0.76 mm)", 5, "Abl/abl128.jpg", "Abl/ABL129.jpg", "", "a note"],
    ]
    write_table(root / folder / "meta/meta.csv", header, rows)
    for part, numbers in (("train", [1]), ("valid", []), ("test", [0])):
        write_table(root / folder / f"meta/{part}_indexes.csv", ["indexes"], [[number] for number in numbers])
    return Expected(
        modality="derm",
        images={
            files[0]: labelled("basal_cell_carcinoma", group_id="1", split="test"),
            files[1]: labelled("basal_cell_carcinoma", group_id="1", split="test"),
            files[2]: labelled("melanoma", group_id="3", split="train"),
            files[3]: labelled("melanoma", group_id="3", split="train"),
            files[4]: {"labels": {}, "group_id": "", "split": ""},
        },
    )


def dermnet(root):
    files = [
        "train/Acne and Rosacea Photos/07Acne081101.jpg",
        "train/Acne and Rosacea Photos/acne-cystic-12.jpg",
        "test/Warts Molluscum and other Viral Infections/warts-common-7.jpg",
    ]
    write_photos(root, files)
    write_table(root / "dermnet.csv", ["image", "label", "split"], [["acne-cystic-12.jpg", 0, "val"]])
    acne, warts = "Acne and Rosacea Photos", "Warts Molluscum and other Viral Infections"
    return Expected(
        modality="derm",
        images={
            files[0]: labelled(acne, split="train"),
            files[1]: labelled(acne, split="val"),
            files[2]: labelled(warts, split="test"),
        },
    )


def pad_ufes20(root):
    files = [
        "images/imgs_part_1/PAT_8_15_820.png",
        "images/imgs_part_2/PAT_8_16_11.png",
        "images/imgs_part_3/PAT_1516_1765_530.png",
    ]
    write_photos(root, [*files, "images/imgs_part_3/PAT_9_9_9.png"])
    header = ["patient_id", "lesion_id", "smoke", "fitspatrick", "diagnostic", "itch", "img_id", "biopsed"]
    rows = [
        ["PAT_8", 15, "", 3.0, "BCC", "True", "PAT_8_15_820.png", "True"],
        ["PAT_8", 16, "", 3.0, "NEV", "UNK", "PAT_8_16_11.png", "False"],
        ["PAT_1516", 1765, "False", "", "SCC", "False", "PAT_1516_1765_530.png", "True"],
        ["PAT_2", 3, "False", "", "ACK", "False", "PAT_2_3_4.png", "False"],
    ]
    write_table(root / "metadata.csv", header, rows)
    write_table(
        root / "2000.csv",
        ["image", "label", "split"],
        [["PAT_8_15_820.png", 1, "test"], ["PAT_8_16_11.png", 3, "train"]],
    )
    return Expected(
        modality="derm",
        images={
            files[0]: labelled("basal_cell_carcinoma", patient_id="PAT_8", group_id="PAT_8_15", split="test"),
            files[1]: labelled("nevus", patient_id="PAT_8", group_id="PAT_8_16", split="test"),
            files[2]: labelled("squamous_cell_carcinoma", patient_id="PAT_1516", split=""),
        },
        rejected={"images/imgs_part_3/PAT_9_9_9.png": "no_row", "metadata.csv:5": "missing"},
    )


def _isic_collection(root, folder):
    files = [f"{folder}/ISIC_12345{n}.jpg" for n in (60, 61, 62)]
    write_photos(root, files)
    header = [
        "isic_id",
        "attribution",
        "copyright_license",
        "age_approx",
        "diagnosis_1",
        "diagnosis_2",
        "lesion_id",
        "patient_id",
    ]
    rows = [
        ["ISIC_1234560", "A hospital", "CC-BY", 60, "Malignant", "Melanoma", "IL_1", "IP_1"],
        ["ISIC_1234561", "A hospital", "CC-BY", 60, "Benign", "Nevus", "IL_2", "IP_1"],
        ["ISIC_1234562", "A hospital", "CC-0", 35, "", "", "IL_3", "IP_2"],
    ]
    write_table(root / folder / "metadata.csv", header, rows)
    write_table(root / folder / f"{folder}.csv", ["image", "binary_label", "split"], [["ISIC_1234560.jpg", 1, "test"]])
    return Expected(
        modality="derm",
        images={
            files[0]: labelled("malignant", patient_id="IP_1", group_id="IL_1", split="test", licence="CC-BY"),
            files[1]: labelled("benign", patient_id="IP_1", split="test", namespace="isic"),
            files[2]: {"labels": {}, "patient_id": "IP_2", "split": "", "licence": "CC-0"},
        },
    )


def hiba(root):
    return _isic_collection(root, "hiba")


def mskcc(root):
    return _isic_collection(root, "mskcc")


def ddi(root):
    write_photos(root, ["images/000001.png", "images/000002.png"])
    header = ["", "DDI_ID", "DDI_file", "skin_tone", "malignant", "disease"]
    rows = [[0, 1, "000001.png", 56, "TRUE", "melanoma-in-situ"], [1, 2, "000002.png", 12, "False", "verruca-vulgaris"]]
    write_table(root / "ddi_metadata.csv", header, rows)
    write_table(
        root / "ddi_clean.csv",
        ["image", "binary_label", "split"],
        [["000001.png", 1, "train"], ["000002.png", 0, "test"]],
    )
    return Expected(
        modality="derm",
        images={
            "images/000001.png": labelled("malignant", split="train"),
            "images/000002.png": labelled("benign", split="test"),
        },
    )


def fitzpatrick17k(root):
    names = [
        "5e82a45bc5d78bd24ae9202d194423f8",
        "fa2911a9b13b6f8af79cb700937cc14f",
        "d2bac3c9e4499032ca8e9b07c7d3bc40",
        "0" * 32,
    ]
    write_photos(root, [f"images/{name}.jpg" for name in (names[0], names[2], names[3])])
    header = ["md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "nine_partition_label"]
    header += ["three_partition_label", "qc", "url", "url_alphanum"]
    rows = [
        [
            names[0],
            3,
            3,
            "drug induced pigmentary changes",
            "inflammatory",
            "non-neoplastic",
            "",
            "https://a.example/1.jpg",
            "a1",
        ],
        [names[1], 1, 1, "photodermatoses", "inflammatory", "non-neoplastic", "", "https://a.example/2.jpg", "a2"],
        [names[2], -1, 2, "psoriasis", "inflammatory", "non-neoplastic", "3 Wrongly labelled", "", "a3"],
    ]
    write_table(root / "fitzpatrick17k.csv", header, rows)
    return Expected(
        modality="derm",
        images={f"images/{names[0]}.jpg": labelled("drug induced pigmentary changes")},
        rejected={
            f"images/{names[2]}.jpg": "wrong_label",
            f"images/{names[3]}.jpg": "no_row",
            "fitzpatrick17k.csv:3": "missing",
        },
    )


MINIATURES = {
    tree.__name__: tree
    for tree in (
        ham10000, ham10000_clean, isic2018, isic2019, isic2020, bcn20000, derm7pt, dermnet, pad_ufes20, hiba, mskcc,
        ddi, fitzpatrick17k,
    )
}  # fmt: skip
