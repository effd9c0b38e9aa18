"""Miniatures of colour fundus datasets: real layouts, names and label files, with images of a few pixels."""

from miniature import Expected, write_bytes, write_image, write_table
from workbook_writer import write_workbook

GRADES = ["no_dr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr"]
RETFOUND_GRADES = ["anodr", "bmilddr", "cmoderatedr", "dseveredr", "eproliferativedr"]


def write_photos(root, files):
    for number, file in enumerate(files):
        write_image(root / file, mode="RGB", seed=number)


def labelled(name, **more):
    return {"labels": {"class": name}, **more}


def eyepacs(root):
    write_photos(root, ["train/10_left.jpeg", "train/10_right.jpeg", "train/13_left.jpeg", "test/1_left.jpeg"])
    write_table(
        root / "trainLabels.csv", ["image", "level"], [["10_left", 0], ["10_right", 4], ["13_left", 2], ["15_left", 1]]
    )
    write_table(root / "retinopathy_solution.csv", ["image", "level", "Usage"], [["1_left", 3, "Private"]])
    write_table(root / "sampleSubmission.csv", ["image", "level"], [["1_left", 0]])
    return Expected(
        modality="cfp",
        images={
            "train/10_left.jpeg": labelled("no_dr", patient_id="10", split="train"),
            "train/10_right.jpeg": labelled("pdr", patient_id="10", split="train"),
            "train/13_left.jpeg": labelled("moderate_npdr", patient_id="13", split="train"),
            "test/1_left.jpeg": labelled("severe_npdr", patient_id="1", split="test"),
        },
        rejected={"trainLabels.csv:5": "missing", "sampleSubmission.csv": "not_listed"},
    )


def airogs(root):
    write_photos(root, ["0/TRAIN000000.jpg", "0/TRAIN000001.jpg", "5/TRAIN101441.jpg"])
    rows = [["TRAIN000000", "NRG"], ["TRAIN000001", "RG"], ["TRAIN101441", "NRG"]]
    write_table(root / "train_labels.csv", ["challenge_id", "class"], rows)
    return Expected(
        modality="cfp",
        images={
            "0/TRAIN000000.jpg": labelled("no_referable_glaucoma", patient_id="", split=""),
            "0/TRAIN000001.jpg": labelled("referable_glaucoma"),
            "5/TRAIN101441.jpg": labelled("no_referable_glaucoma"),
        },
    )


def justraigs(root):
    write_photos(root, ["0/TRAIN000000.JPG", "0/TRAIN000007.JPG", "3/TRAIN050000.JPG"])
    header = ["Eye ID", "Final Label", "Fellow Eye ID", "Age", "Label G1", "Label G2", "Label G3", "G1 ANRS", "G1 ANRI"]
    rows = [
        ["TRAIN000000", "NRG", "TRAIN050000", 57, "NRG", "NRG", "", "", ""],
        ["TRAIN000007", "RG", "", 71, "RG", "NRG", "RG", 1, 0],
        ["TRAIN050000", "RG", "TRAIN000000", 57, "RG", "RG", "", 0, 1],
        ["TRAIN000426", "NRG", "", 66, "NRG", "NRG", "", "", ""],
    ]
    write_table(root / "JustRAIGS_Train_labels.csv", header, rows, delimiter=";")
    pair = "TRAIN000000 TRAIN050000"
    return Expected(
        modality="cfp",
        images={
            "0/TRAIN000000.JPG": labelled("no_referable_glaucoma", group_id=pair),
            "0/TRAIN000007.JPG": labelled("referable_glaucoma", group_id=""),
            "3/TRAIN050000.JPG": labelled("referable_glaucoma", group_id=pair),
        },
        rejected={"JustRAIGS_Train_labels.csv:5": "missing"},
    )


def aptos2019(root):
    write_photos(
        root, ["train_images/000c1434d8d7.png", "train_images/001639a390f0.png", "test_images/0005cfc8afb6.png"]
    )
    write_table(root / "train.csv", ["id_code", "diagnosis"], [["000c1434d8d7", 2], ["001639a390f0", 4]])
    write_table(root / "test.csv", ["id_code"], [["0005cfc8afb6"]])
    write_table(root / "sample_submission.csv", ["id_code", "diagnosis"], [["0005cfc8afb6", 0]])
    return Expected(
        modality="cfp",
        images={
            "train_images/000c1434d8d7.png": labelled("moderate_npdr", split=""),
            "train_images/001639a390f0.png": labelled("pdr"),
            "test_images/0005cfc8afb6.png": {"labels": {}},
        },
        rejected={"test.csv": "not_listed", "sample_submission.csv": "not_listed"},
    )


def messidor2(root):
    names = ["20051020_43808_0100_PP.png", "20051020_43832_0100_PP.png", "IM000012.JPG", "IM000013.JPG", "IM004832.JPG"]
    write_photos(root / "IMAGES", names)
    write_table(
        root / "messidor-2.csv",
        ["left", "right "],
        [[names[0], names[1]], [names[3], names[2]], ["IM009998.JPG", names[4]]],
        delimiter=";",
        newline="\r\n",
    )
    grades = [[names[0], 0, 0, 1], [names[1], 3, 1, 1], ["IM000012.jpg", 2, 0, 1], ["IM000013.jpg", "", "", 0]]
    write_table(
        root / "messidor_data.csv",
        ["image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable"],
        grades,
    )
    return Expected(
        modality="cfp",
        images={
            f"IMAGES/{names[0]}": labelled("no_dr", patient_id="20051020_43808_0100_pp"),
            f"IMAGES/{names[1]}": labelled("severe_npdr", patient_id="20051020_43808_0100_pp"),
            "IMAGES/IM000012.JPG": labelled("moderate_npdr", patient_id="im000013"),
            "IMAGES/IM000013.JPG": {"labels": {}, "patient_id": "im000013"},
            "IMAGES/IM004832.JPG": {"labels": {}, "patient_id": "im009998"},
        },
        rejected={"messidor-2.csv:4": "missing"},
    )


def idrid(root):
    grading = "B. Disease Grading"
    train, test = (f"{grading}/1. Original Images/{part} Set" for part in ("a. Training", "b. Testing"))
    write_photos(root, [f"{train}/IDRiD_001.jpg", f"{train}/IDRiD_002.jpg", f"{test}/IDRiD_001.jpg"])
    mask = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif"
    copies = [
        "A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg",
        "C. Localization/1. Original Images/a. Training Set/IDRiD_001.jpg",
    ]
    write_photos(root, [mask, *copies])
    header = ["Image name", "Retinopathy grade", "Risk of macular edema "]
    truths = f"{grading}/2. Groundtruths"
    rows = [["IDRiD_001", 3, 2, *[""] * 9], ["IDRiD_002", 0, 0, *[""] * 9]]
    write_table(root / truths / "a. IDRiD_Disease Grading_Training Labels.csv", [*header, *[""] * 9], rows)
    write_table(root / truths / "b. IDRiD_Disease Grading_Testing Labels.csv", header, [["IDRiD_001", 4, 0]])
    return Expected(
        modality="cfp",
        images={
            f"{train}/IDRiD_001.jpg": labelled("severe_npdr", split="train"),
            f"{train}/IDRiD_002.jpg": labelled("no_dr", split="train"),
            f"{test}/IDRiD_001.jpg": labelled("pdr", split="test"),
        },
        rejected={mask: "not_listed", **dict.fromkeys(copies, "other_part")},
    )


def jsiec1000(root):
    plain = {
        "1000images/0.0.Normal/1ffa9331-8d87-11e8-9daf-6045cb817f5b..JPG": "Normal",
        "1000images/10.0.Possible glaucoma/7dbb30d0.JPG": "Possible glaucoma",
        "1000images/3.RAO/a.b.JPG": "RAO",
    }
    retfound = "JSIEC/train/15.1.Bietti crystalline dystrophy/1.JPG"
    write_photos(root, [*plain, retfound])
    write_bytes(root / "1000images" / "readme.txt")
    return Expected(
        modality="cfp",
        images={
            **{file: labelled(name, split="") for file, name in plain.items()},
            retfound: labelled("Bietti crystalline dystrophy", split="train"),
        },
        rejected={"1000images/readme.txt": "not_listed"},
    )


def papila(root):
    folder = "PapilaDB-PAPILA-17f8fa7746adb20275b5b6a0d99dc9dfe3007e9f"
    for name in ("RET002OD", "RET002OS", "RET004OD"):
        write_image(root / folder / "FundusImages" / f"{name}.jpg", mode="RGB")
    contour = f"{folder}/ExpertsSegmentations/Contours/RET002OD_cup_exp1.txt"
    write_bytes(root / contour)
    header = [
        ["", "Age", "Gender", "Diagnosis", "Refractive_Defect", "", "", "Phakic/Pseudophakic", "IOP", "", "Pachymetry"],
        ["ID"],
        ["", "", "", "", "dioptre_1", "dioptre_2", "astigmatism", "", "Pneumatic", "Perkins", ""],
    ]
    for eye, rows in {
        "od": [["#002", 47, 0, 2, 0.75, -1.75, 90, 0, 21, "", 586], ["#004", 58, 1, 1, 1.5, -1.75, 85, 0, "", 25, 501]],
        "os": [["#002", 47, 0, 0, 0.75, -1.5, 95, 0, 21, "", 573], ["#004", 58, 1, 1, 1, -1, 80, 0, "", 25, 505]],
    }.items():
        write_workbook(root / folder / "ClinicalData" / f"patient_data_{eye}.xlsx", [*header, *rows])
    return Expected(
        modality="cfp",
        images={
            f"{folder}/FundusImages/RET002OD.jpg": labelled("suspect", patient_id="002"),
            f"{folder}/FundusImages/RET002OS.jpg": labelled("healthy", patient_id="002"),
            f"{folder}/FundusImages/RET004OD.jpg": labelled("glaucoma", patient_id="004"),
        },
        rejected={contour: "not_listed", f"{folder}/ClinicalData/patient_data_os.xlsx:5": "missing"},
    )


def glaucoma_fundus(root):
    images = {
        "normal_control/1.jpg": labelled("normal_control", split=""),
        "advanced_glaucoma/1.jpg": labelled("advanced_glaucoma", split=""),
        "Glaucoma_fundus/train/anormal_control/2.png": labelled("normal_control", split="train"),
        "Glaucoma_fundus/test/bearly_glaucoma/2.png": labelled("early_glaucoma", split="test"),
    }
    write_photos(root, images)
    write_bytes(root / "Glaucoma_fundus" / "readme.txt")
    return Expected(modality="cfp", images=images, rejected={"Glaucoma_fundus/readme.txt": "not_listed"})


def retina_cataract(root):
    images = {
        "dataset/1_normal/NL_001.png": labelled("normal", split=""),
        "dataset/2_cataract/cataract_001.png": labelled("cataract"),
        "dataset/2_glaucoma/Glaucoma_025.png": labelled("glaucoma"),
        "dataset/3_retina_disease/Retina_001.png": labelled("retina_disease"),
        "Retina/val/ddretina_disease/Retina_002.png": labelled("retina_disease", split="val"),
        "Retina/test/anormal/NL_002.png": labelled("normal", split="test"),
    }
    write_photos(root, images)
    return Expected(modality="cfp", images=images)


def odir5k(root):
    folder = "ODIR-5K/ODIR-5K"
    training = [f"{folder}/Training Images/{name}.jpg" for name in ("0_left", "0_right", "1_left", "4784_right")]
    copy = "preprocessed_images/0_left.jpg"
    write_photos(root, [*training, f"{folder}/Testing Images/937_left.jpg", copy])
    write_bytes(root / folder / "data.xlsx")
    header = ["ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus"]
    header += [
        "Left-Diagnostic Keywords",
        "Right-Diagnostic Keywords",
        *"NDGCAHMO",
        "filepath",
        "labels",
        "target",
        "filename",
    ]
    start = [0, 69, "Female", "0_left.jpg", "0_right.jpg", "cataract", "normal fundus", 0, 0, 0, 1, 0, 0, 0, 0]
    path = "../input/ocular-disease-recognition-odir5k/ODIR-5K/Training Images"
    rows = [
        [*start, f"{path}/{name}", f"['{letter}']", "[1, 0]", name]
        for name, letter in (("0_left.jpg", "C"), ("0_right.jpg", "N"))
    ]
    keywords = "hypertensive retinopathy\uff0cage-related macular degeneration"
    rows.append([4784, 58, "Male", "4784_left.jpg", "4784_right.jpg", "normal fundus", keywords, *[0] * 8])
    rows[-1] += ["../input/x/4784_right.jpg", "['H']", "[0, 1]", "4784_right.jpg"]
    write_table(root / "full_df.csv", header, rows)
    return Expected(
        modality="cfp",
        images={
            training[0]: labelled("cataract", patient_id="0"),
            training[1]: labelled("normal", patient_id="0"),
            training[2]: {"labels": {}, "patient_id": "1"},
            training[3]: labelled("hypertension", patient_id="4784"),
            f"{folder}/Testing Images/937_left.jpg": {"labels": {}, "patient_id": "937"},
        },
        rejected={copy: "resized_copy", f"{folder}/data.xlsx": "not_listed"},
    )


def _retfound(folder, names):
    """A tree of RETFound's split with one image for every pair of split and class."""

    def write(root):
        images = {
            f"{folder}/{part}/{old}/{name}": labelled(new, split=part)
            for (part, name), (old, new) in zip(names.items(), zip(RETFOUND_GRADES, GRADES, strict=True), strict=False)
        }
        write_photos(root, images)
        write_bytes(root / folder / "readme.txt")
        return Expected(modality="cfp", images=images, rejected={f"{folder}/readme.txt": "not_listed"})

    return write


def papila_retfound(root):
    files = ["train/anormal/RET002OD.jpg", "test/cglaucoma/RET002OS.jpg", "val/bsuspectglaucoma/RET290OS.jpg"]
    write_photos(root / "PAPILA", files)
    return Expected(
        modality="cfp",
        images={
            "PAPILA/train/anormal/RET002OD.jpg": labelled("healthy", patient_id="002", split="test"),
            "PAPILA/test/cglaucoma/RET002OS.jpg": labelled("glaucoma", patient_id="002", split="test"),
            "PAPILA/val/bsuspectglaucoma/RET290OS.jpg": labelled("suspect", patient_id="290", split="val"),
        },
    )


CFP = {
    "eyepacs": eyepacs,
    "airogs": airogs,
    "justraigs": justraigs,
    "aptos2019": aptos2019,
    "messidor2": messidor2,
    "idrid": idrid,
    "jsiec1000": jsiec1000,
    "papila": papila,
    "glaucoma_fundus": glaucoma_fundus,
    "retina_cataract": retina_cataract,
    "odir5k": odir5k,
    "aptos2019_retfound": _retfound("APTOS2019", {"train": "0a4e1a29ffff.png", "val": "1.png", "test": "2.png"}),
    "idrid_retfound": _retfound(
        "IDRiD_data", {"train": "IDRiD_118.jpg", "val": "IDRiD_3.jpg", "test": "IDRiD_118.jpg"}
    ),
    "messidor2_retfound": _retfound("MESSIDOR2", {"train": "20051020_43808_0100_PP.png", "test": "IM000012.JPG"}),
    "papila_retfound": papila_retfound,
}
