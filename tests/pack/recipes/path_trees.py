"""Miniatures of pathology datasets: real layouts, names and label files, with images of a few pixels."""

import json

import numpy as np
from miniature import Expected, write_bytes, write_image, write_table


def write_tiles(root, files):
    for number, file in enumerate(files):
        write_image(root / file, mode="RGB", seed=number)


def write_slides(root, files):
    for file in files:
        write_bytes(root / file)


def labelled(name, **more):
    return {"labels": {"class": name}, **more}


def pcam(root):
    import h5py

    for part, num in (("train", 3), ("valid", 2), ("test", 2)):
        stem = f"camelyonpatch_level_2_split_{part}"
        truth = np.arange(num, dtype=np.uint8) % 2
        for name, values in (("x", np.zeros((num, 96, 96, 3), np.uint8)), ("y", truth.reshape(num, 1, 1, 1))):
            with h5py.File(root / f"{stem}_{name}.h5", "w") as file:
                file.create_dataset(name, data=values)
        rows = [[n, 100, 200, "True", bool(truth[n]), f"camelyon16_{part}_tumor_00{n // 2}"] for n in range(num)]
        write_table(
            root / f"{stem}_meta.csv", ["", "coord_y", "coord_x", "tumor_patch", "center_tumor_patch", "wsi"], rows
        )
    write_bytes(root / "camelyonpatch_level_2_split_train_mask.h5")
    pair = ("normal", "tumour")
    return Expected(
        modality="path",
        images={
            "camelyonpatch_level_2_split_train_x.h5/x": {
                "member": "x",
                "split": "train",
                "frame_labels": ("normal", "tumour", "normal"),
                "frame_groups": (*["camelyon16_train_tumor_000"] * 2, "camelyon16_train_tumor_001"),
            },
            "camelyonpatch_level_2_split_valid_x.h5/x": {"split": "val", "frame_labels": pair},
            "camelyonpatch_level_2_split_test_x.h5/x": {"split": "test", "frame_labels": pair},
        },
        rejected={"camelyonpatch_level_2_split_train_mask.h5": "not_listed"},
    )


def _crc(root):
    files = [
        "NCT-CRC-HE-100K/ADI/ADI-AAAFLCLY.tif",
        "NCT-CRC-HE-100K/TUM/TUM-AAAVRHKR.tif",
        "NCT-CRC-HE-100K-NONORM/ADI/ADI-AAAFLCLY.tif",
        "CRC-VAL-HE-7K/ADI/ADI-TCGA-AAICEQFN.tif",
        "CRC-VAL-HE-7K/STR/STR-TCGA-AAMKRFDS.tif",
    ]
    write_tiles(root, files)
    return files


def nct_crc_he(root):
    fat, tumour, twin, held_fat, stroma = _crc(root)
    return Expected(
        modality="path",
        images={
            fat: labelled("adipose", split="train"),
            tumour: labelled("tumour_epithelium", split="train"),
            held_fat: labelled("adipose", split="test"),
            stroma: labelled("cancer_stroma", split="test"),
        },
        rejected={twin: "twin"},
    )


def crc_val_he_7k(root):
    *others, fat, stroma = _crc(root)
    return Expected(
        modality="path",
        images={fat: labelled("adipose", split=""), stroma: labelled("cancer_stroma", split="")},
        rejected=dict.fromkeys(others, "other_dataset"),
    )


def bach(root):
    folder = "ICIAR2018_BACH_Challenge"
    tiles = {f"{folder}/Photos/{file}": name for file, name in {
        "Normal/n032.tif": "normal", "Benign/b001.tif": "benign", "InSitu/is100.tif": "in_situ",
        "Invasive/iv010.tif": "invasive", "Invasive/iv011.tif": "invasive",
    }.items()}  # fmt: skip
    write_tiles(root, tiles)
    write_slides(root, [f"{folder}/WSI/A01.svs", f"{folder}/Photos/microscopy_ground_truth.csv"])
    rows = [
        ["n032.tif", "Normal", "7"],
        ["iv010.tif", "Invasive", "9"],
        ["iv011.tif", "Invasive", "9"],
        ["b099.tif", "Benign", "4"],
    ]
    write_table(root / folder / "patient_list.csv", [], rows)
    patients = {"n032": "7", "iv010": "9", "iv011": "9"}
    return Expected(
        modality="path",
        images={
            file: labelled(name, patient_id=patients.get(file.rsplit("/", 1)[-1][:-4], ""))
            for file, name in tiles.items()
        },
        rejected={
            f"{folder}/WSI/A01.svs": "not_listed",
            f"{folder}/Photos/microscopy_ground_truth.csv": "not_listed",
        },
    )


def breakhis(root):
    folder = "BreaKHis_v1/histology_slides/breast"
    adenosis = f"{folder}/benign/SOB/adenosis/SOB_B_A_14-22549AB"
    files = [
        f"{adenosis}/40X/SOB_B_A-14-22549AB-40-001.png",
        f"{adenosis}/400X/SOB_B_A-14-22549AB-400-001.png",
        f"{folder}/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/100X/SOB_M_DC-14-13412-100-004.png",
        f"{folder}/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/100X/SOB_M_LC-14-13412-100-002.png",
    ]
    write_tiles(root, files)
    write_bytes(root / "BreaKHis_v1/README.txt", b"x")
    return Expected(
        modality="path",
        images={
            files[0]: labelled("benign", patient_id="22549", group_id="14-22549AB"),
            files[1]: labelled("benign", patient_id="22549"),
            files[2]: labelled("malignant", patient_id="13412"),
            files[3]: labelled("malignant", patient_id="13412"),
        },
        rejected={"BreaKHis_v1/README.txt": "not_listed"},
    )


def lc25000(root):
    folder = "lung_colon_image_set"
    tiles = {
        f"{folder}/colon_image_sets/colon_aca/colonca1.jpeg": "colon_adenocarcinoma",
        f"{folder}/colon_image_sets/colon_n/colonn5000.jpeg": "colon_benign",
        f"{folder}/lung_image_sets/lung_aca/lungaca1.jpeg": "lung_adenocarcinoma",
        f"{folder}/lung_image_sets/lung_n/lungn1.jpeg": "lung_benign",
        f"{folder}/lung_image_sets/lung_scc/lungscc1.jpeg": "lung_squamous_cell_carcinoma",
    }
    twin = f"{folder}/lung_image_sets/lung_aca/lungaca20.jpeg"
    write_tiles(root, [*tiles, twin])
    rows = [[7, "./LC25000/lung_aca/lungaca1.jpeg"], [7, "./LC25000/lung_aca/lungaca20.jpeg"]]
    write_table(root / "annotations/lung_aca/UNI/resize_only/final_clusters.csv", ["cluster_label", "img_path"], rows)
    rows = [[7, "./LC25000/lung_n/lungn1.jpeg"]]
    write_table(root / "annotations/lung_n/UNI/resize_only/final_clusters.csv", ["cluster_label", "img_path"], rows)
    images = {file: labelled(name, split="") for file, name in tiles.items()}
    images[twin] = labelled("lung_adenocarcinoma", group_id="lung_aca_7")
    images[f"{folder}/lung_image_sets/lung_aca/lungaca1.jpeg"] |= {"group_id": "lung_aca_7"}
    images[f"{folder}/lung_image_sets/lung_n/lungn1.jpeg"] |= {"group_id": "lung_n_7"}
    images[f"{folder}/lung_image_sets/lung_scc/lungscc1.jpeg"] |= {"group_id": ""}
    return Expected(modality="path", images=images)


def mhist(root):
    write_tiles(root, [f"images/MHIST_{name}.png" for name in ("aaa", "aab", "zzz")])
    header = ["Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition"]
    rows = [
        ["MHIST_aaa.png", "SSA", 6, "train"],
        ["MHIST_aab.png", "HP", 0, "test"],
        ["MHIST_aac.png", "HP", 1, "train"],
    ]
    write_table(root / "annotations.csv", header, rows)
    write_bytes(root / "MD5SUMs.txt", b"x")
    return Expected(
        modality="path",
        images={
            "images/MHIST_aaa.png": labelled("sessile_serrated_adenoma", split="train"),
            "images/MHIST_aab.png": labelled("hyperplastic_polyp", split="test"),
        },
        rejected={"images/MHIST_zzz.png": "no_row", "annotations.csv:4": "missing", "MD5SUMs.txt": "not_listed"},
    )


def kather_texture_2016(root):
    folder = "Kather_texture_2016_image_tiles_5000"
    tumour = f"{folder}/01_TUMOR/10009_CRC-Prim-HE-03_009.tif_Row_301_Col_151.tif"
    other = f"{folder}/01_TUMOR/5E6D_CRC-Prim-HE-03_022.tif_Row_151_Col_1.tif"
    empty = f"{folder}/08_EMPTY/ABCD_CRC-Prim-HE-10_027.tif_Row_1_Col_1.tif"
    large = "Kather_texture_2016_larger_images_10/CRC-Prim-HE-02_APPLICATION.tif"
    write_tiles(root, [tumour, other, empty, large])
    return Expected(
        modality="path",
        images={
            tumour: labelled("tumor", patient_id="CRC-Prim-HE-03"),
            other: labelled("tumor", patient_id="CRC-Prim-HE-03"),
            empty: labelled("empty", patient_id="CRC-Prim-HE-10"),
        },
        rejected={large: "not_listed"},
    )


def chaoyang(root):
    files = ["train/528526-1-IMG009x017-0.JPG", "train/534804-1-IMG005x013-2.JPG", "test/537102-IMG001x001-1.JPG"]
    write_tiles(root, files)
    train = [{"name": files[0], "label": 0}, {"name": files[1], "label": 2}, {"name": "train/lost.JPG", "label": 3}]
    (root / "train.json").write_text(json.dumps(train))
    (root / "test.json").write_text(json.dumps([{"name": files[2], "label": 1}]))
    return Expected(
        modality="path",
        images={
            files[0]: labelled("normal", split="train"),
            files[1]: labelled("adenocarcinoma", split="train"),
            files[2]: labelled("serrated", split="test"),
        },
        rejected={"train.json:4": "missing"},
    )


def pannuke(root):
    images, rejected = {}, {}
    for number, split in ((1, "train"), (2, "val"), (3, "test")):
        folder, types = root / f"Fold {number}", np.array(["Breast", "Bile-duct"])
        for kind in ("images", "masks"):
            (folder / kind / f"fold{number}").mkdir(parents=True)
        np.save(folder / f"images/fold{number}/images.npy", np.zeros((2, 8, 8, 3)))
        np.save(folder / f"images/fold{number}/types.npy", types)
        np.save(folder / f"masks/fold{number}/masks.npy", np.zeros((2, 8, 8, 6)))
        images[f"Fold {number}/images/fold{number}/images.npy"] = {
            "split": split,
            "member": "",
            "frame_labels": ("Breast", "Bile-duct"),
        }
        rejected[f"Fold {number}/masks/fold{number}/masks.npy"] = "not_listed"
    return Expected(modality="path", images=images, rejected=rejected)


def camelyon16(root):
    normal, tumour = "training/normal/normal_001.tif", "training/tumor/tumor_001.tif"
    first, second = "testing/images/test_001.tif", "testing/images/Test_003.tif"
    masks = ["training/masks/tumor_001_mask.tif", "testing/evaluation/test_001.tif"]
    write_slides(root, [normal, tumour, first, second, *masks])
    rows = [
        ["test_001", "Tumor", "IDC", "Macro"],
        ["test_003", "Normal", "None", "None"],
        ["test_004", "Tumor", "IDC", "Micro"],
    ]
    write_table(root / "testing/reference.csv", [], rows)
    return Expected(
        modality="path",
        images={
            normal: labelled("normal", split="train", group_id="normal_001"),
            tumour: labelled("tumour", split="train"),
            first: labelled("tumour", split="test"),
            second: labelled("normal", split="test"),
        },
        rejected={**dict.fromkeys(masks, "mask"), "testing/reference.csv:3": "missing"},
    )


def camelyon17(root):
    files = [f"training/center_0/patient_000_node_{n}.tif" for n in (0, 1)] + ["testing/patient_100_node_4.tif"]
    mask = "training/masks/patient_000_node_1_mask.tif"
    write_slides(root, [*files, mask])
    rows = [["patient_000.zip", "pN0"], ["patient_000_node_0.tif", "negative"], ["patient_000_node_1.tif", "itc"]]
    write_table(root / "training/stages.csv", ["patient", "stage"], rows)
    return Expected(
        modality="path",
        images={
            files[0]: labelled("negative", patient_id="patient_000", split="train"),
            files[1]: labelled("itc", patient_id="patient_000", group_id="patient_000_node_1"),
            files[2]: {"labels": {}, "patient_id": "patient_100", "split": "test"},
        },
        rejected={mask: "mask"},
    )


def panda(root):
    first, second = "0005f7aaab2800f6170c399693a96917", "000920ad0b612851f8e01bcc880d9b3d"
    slides = [f"train_images/{name}.tiff" for name in (first, second)]
    mask = f"train_label_masks/{first}_mask.tiff"
    write_slides(root, [*slides, mask, "sample_submission.csv", "test.csv"])
    rows = [[first, "karolinska", 0, "0+0"], [second, "radboud", 5, "4+5"], ["gone", "radboud", 1, "3+3"]]
    write_table(root / "train.csv", ["image_id", "data_provider", "isup_grade", "gleason_score"], rows)
    return Expected(
        modality="path",
        images={slides[0]: labelled("isup_0", group_id=first), slides[1]: labelled("isup_5")},
        rejected={
            mask: "mask",
            "train.csv:4": "missing",
            "sample_submission.csv": "not_listed",
            "test.csv": "not_listed",
        },
    )


def gleason_arvaniti(root):
    train = "train_validation_patches_750/ZT111_4_A_1_12/ZT111_4_A_1_12_patch_12_class_0.jpg"
    val = "train_validation_patches_750/ZT76_39_A_1_1/ZT76_39_A_1_1_patch_23_class_2.jpg"
    test, other = (
        f"test_patches_750/patho_{reader}/ZT80_38_A_1_1/ZT80_38_A_1_1_patch_5_class_{pattern}.jpg"
        for reader, pattern in ((1, 3), (2, 1))
    )
    write_tiles(root, [train, val, test, other])
    return Expected(
        modality="path",
        images={
            train: labelled("benign", split="train", group_id="ZT111_4_A_1_12"),
            val: labelled("gleason_4", split="val"),
            test: labelled("gleason_5", split="test"),
        },
        rejected={other: "second_reader"},
    )


def midog25(root):
    folder = "MIDOG25_Binary_Classification_Train_Set"
    write_tiles(root, [f"{folder}/{n}.png" for n in (1, 2, 9)])
    header = (
        "image_id,filename,coordinateX,coordinateY,Tumor,Scanner,Origin,Species,expert1,expert2,expert3,majority".split(
            ","
        )
    )
    rows = [
        [f"{n}.png", "201.tiff", 5047, 459, "canine lung cancer", "3D Histech", "VMU Vienna", "Canine", *votes]
        for n, votes in (
            (1, ["NMF", "NMF", "", "NMF"]),
            (2, ["AMF", "NMF", "AMF", "AMF"]),
            (3, ["NMF", "NMF", "", "NMF"]),
        )
    ]
    write_table(root / "MIDOG25_Atypical_Classification_Train_Set.csv", header, rows)
    return Expected(
        modality="path",
        images={
            f"{folder}/1.png": labelled("normal", patient_id="201.tiff", namespace="midog"),
            f"{folder}/2.png": labelled("atypical", patient_id="201.tiff"),
        },
        rejected={f"{folder}/9.png": "no_row", "MIDOG25_Atypical_Classification_Train_Set.csv:4": "missing"},
    )


def ami_br(root):
    files = ["patches/atypical/MIDOG21_1044.png", "patches/normal/TUPAC16_14487.png"]
    write_tiles(root, files)
    header = (
        "slide dataset uid x y expert1_label expert2_label expert1_atypical expert2_atypical expert3_atypical".split()
    )
    rows = [
        [0, "002.tiff", "MIDOG21", 1044, 1867, 1583, "AMF segregation", "AMF segregation", *["True"] * 4],
        [1, "01_stitched1.tif", "TUPAC16", 14487, 5, 6, "NMF metaphase", "NMF metaphase", *["False"] * 4],
    ]
    write_table(root / "AMI-BR.csv", ["", *header, "majority_atypical"], rows)
    write_bytes(root / "dataset.py", b"x")
    return Expected(
        modality="path",
        images={
            files[0]: labelled("atypical", patient_id="002.tiff", namespace="midog"),
            files[1]: labelled("normal", patient_id="01_stitched1.tif"),
        },
        rejected={"dataset.py": "not_listed"},
    )


def tcga_ut(root):
    slide = "TCGA-OR-A5J1-01Z-00-DX1.600C7D8C-F04C-4125-AF14-B1E76DC01A1E"
    fine, coarse = (f"Adrenocortical_carcinoma/{level}/{slide}/12288_4096.jpg" for level in (0, 3))
    other = f"Lymphoid_Neoplasm_Diffuse_Large_B-cell_Lymphoma/0/{slide.replace('OR-A5J1', 'FA-8693')}/1_2.jpg"
    write_tiles(root, [fine, coarse, other])
    return Expected(
        modality="path",
        images={
            fine: labelled("Adrenocortical_carcinoma", patient_id="TCGA-OR-A5J1", namespace="tcga"),
            other: labelled("Lymphoid_Neoplasm_Diffuse_Large_B-cell_Lymphoma", patient_id="TCGA-FA-8693"),
        },
        rejected={coarse: "other_resolution"},
    )


def tcga(root):
    uuid = "600C7D8C-F04C-4125-AF14-B1E76DC01A1E"
    names = [f"TCGA-OR-A5J1-01{rest}.{uuid}.svs" for rest in ("Z-00-DX1", "Z-00-DX2", "A-01-TS1")]
    normal = f"TCGA-BH-A18R-11Z-00-DX1.{uuid}.svs"
    files = [f"{number}a-8f1c/{name}" for number, name in enumerate([*names, normal])]
    write_slides(root, [*files, "MANIFEST.txt"])
    header = ["File ID", "File Name", "Data Category", "Data Type", "Project ID", "Case ID", "Sample ID", "Tissue Type"]
    rows = [["0a", name, "Biospecimen", "Slide Image", "TCGA-ACC", name[:12], name[:16], "Tumor"] for name in names]
    write_table(root / "gdc_sample_sheet.2026-11-01.tsv", header, rows, delimiter="\t")
    return Expected(
        modality="path",
        images={
            files[0]: labelled("TCGA-ACC", patient_id="TCGA-OR-A5J1", group_id="TCGA-OR-A5J1-01Z-00-DX1"),
            files[1]: labelled("TCGA-ACC", patient_id="TCGA-OR-A5J1", namespace="tcga"),
        },
        rejected={files[2]: "frozen", files[3]: "normal_tissue", "MANIFEST.txt": "not_listed"},
    )


def cptac(root):
    files = ["CCRCC/C3L-00004-21.svs", "CCRCC/C3L-00004-26.svs", "OV/01OV007-9b90eb78-2f50-4aeb-b010-d642f9.svs"]
    write_slides(root, files)
    rows = [["C3L-00004", "C3L-00004-21", "tumor_tissue"], ["C3L-00004", "C3L-00004-26", "normal_tissue"]]
    write_table(root / "CCRCC/cohort.csv", ["case_id", "slide_id", "tissue_type"], rows)
    return Expected(
        modality="path",
        images={
            files[0]: labelled("CCRCC", patient_id="C3L-00004", group_id="C3L-00004-21"),
            files[2]: labelled("OV", patient_id="01OV007"),
        },
        rejected={files[1]: "normal_tissue"},
    )


MINIATURES = {
    tree.__name__: tree
    for tree in (
        pcam, nct_crc_he, crc_val_he_7k, bach, breakhis, lc25000, mhist, kather_texture_2016, chaoyang, pannuke,
        camelyon16, camelyon17, panda, gleason_arvaniti, midog25, ami_br, tcga_ut, tcga, cptac,
    )
}  # fmt: skip
