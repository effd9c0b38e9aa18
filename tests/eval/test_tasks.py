"""Tasks: which datasets can be scored, why others cannot, and leaks that end the evaluation."""

import pytest

from mermed.contract import Manifest, SampleMeta, ShardRow
from mermed.errors import ContractError, IntegrityError
from mermed.eval.flaws import KNOWN_FLAWS, flaws_of
from mermed.eval.tasks import tasks_of


def metas_of(dataset, split, labels, modality="us", group="p"):
    return [
        SampleMeta(
            key=f"{dataset}-{split}-{number}",
            modality=modality,
            dataset=dataset,
            split=split,
            group=f"{group}{split}{number}" if group else "",
            width=8,
            height=8,
            source_bits=8,
            labels={} if label is None else {"class": label},
        )
        for number, label in enumerate(labels)
    ]


def manifest_of(metas, labels):
    sources = dict.fromkeys((meta.modality, meta.dataset, meta.split) for meta in metas)
    rows = tuple(
        ShardRow(
            name=f"{'-'.join(source)}.tar",
            modality=source[0],
            dataset=source[1],
            split=source[2],
            samples=sum((meta.modality, meta.dataset, meta.split) == source for meta in metas),
            bytes=1,
            sha256="0",
            index_sha256="0",
        )
        for source in sources
    )
    return Manifest(shards=rows, labels=labels)


def one_task(metas, classes=("a", "b", "c"), kind="multi-class"):
    space = {"kind": kind, "classes": list(classes)} if classes else {}
    (task,) = tasks_of(manifest_of(metas, {"us/x": space} if space else {}), metas)
    return task


def test_a_dataset_with_classes_in_both_splits_is_a_task():
    metas = metas_of("x", "train", "aabc") + metas_of("x", "val", "ab") + metas_of("x", "test", "bca")
    task = one_task(metas)
    assert (task.name, task.reason) == ("us/x", "")
    assert task.splits["test"].place.tolist() == [6, 7, 8]
    assert task.splits["test"].label.tolist() == [1, 2, 0]
    assert task.class_counts("train") == {"a": 2, "b": 1, "c": 1}
    assert task.excluded == ("", "", "")


def test_unlabelled_images_are_skipped_and_counted():
    task = one_task(metas_of("x", "train", ["a", None, "b"]) + metas_of("x", "test", ["a", "b", None, None]))
    assert task.num_unlabelled == 3
    assert task.splits["train"].place.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("metas", "kind", "reason"),
    [
        (metas_of("x", "train", "ab"), "multi-class", "its test split holds 0 labelled images of 0 classes"),
        (metas_of("x", "train", "ab") + metas_of("x", "test", "aa"), "multi-class", "test split holds 2 labelled"),
        (metas_of("x", "train", "aa") + metas_of("x", "test", "ab"), "multi-class", "train split holds 2 labelled"),
        (metas_of("x", "train", [None]) + metas_of("x", "test", [None]), "multi-label", "its labels are multi-label"),
    ],
)
def test_what_cannot_be_scored_is_listed_with_the_reason(metas, kind, reason):
    assert reason in one_task(metas, kind=kind).reason


def test_a_dataset_without_labels_is_listed_too():
    labelled = metas_of("x", "train", "ab") + metas_of("x", "test", "ab")
    manifest = manifest_of(
        labelled + metas_of("y", "train", [None]), {"us/x": {"kind": "multi-class", "classes": "ab"}}
    )
    tasks = tasks_of(manifest, labelled)
    assert [(task.name, task.reason) for task in tasks] == [("us/x", ""), ("us/y", "its images have no labels")]


def test_a_class_absent_from_train_or_test_is_excluded_with_the_reason():
    task = one_task(metas_of("x", "train", "aab") + metas_of("x", "test", "aac"))
    assert task.reason == ""
    assert task.excluded[0] == ""
    assert "no test image" in task.excluded[1]
    assert "no train image" in task.excluded[2]


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_group_of_the_test_split_elsewhere_ends_the_evaluation(split):
    metas = metas_of("x", "train", "ab") + metas_of("x", "val", "ab") + metas_of("x", "test", "ab")
    metas += [
        SampleMeta(
            key="leak",
            modality="us",
            dataset="x",
            split=split,
            group="ptest1",
            width=8,
            height=8,
            source_bits=8,
            labels={"class": "a"},
        )
    ]
    with pytest.raises(IntegrityError) as caught:
        one_task(metas)
    assert split in str(caught.value)
    assert "1 groups" in str(caught.value)
    assert "ptest1" not in str(caught.value), "a group may be a patient"


def test_images_without_a_group_are_groups_of_their_own():
    task = one_task(metas_of("x", "train", "ab", group="") + metas_of("x", "test", "abb", group=""))
    assert len(set(task.splits["test"].group.tolist())) == 3


def test_a_class_outside_the_label_space_is_an_error():
    with pytest.raises(ContractError, match="label space"):
        one_task(metas_of("x", "train", "ab") + metas_of("x", "test", "az"))


@pytest.mark.parametrize(
    ("modality", "dataset", "badge"),
    [
        ("oct", "kermany_oct_few", "patients overlap"),
        ("oct", "Duke-AMD", "slices of a volume"),
        ("us", "busi_256", "duplicates"),
        ("path", "lc25000_lung_224", "augmented copies"),
        ("path", "breakhis", "82 patients"),
        ("ct", "iq-othnccd", "slices of 110 cases"),
        ("ct", "sars-cov-2", "slice set"),
        ("derm", "ham10000_224", "many per lesion"),
        ("path", "nct-crc-he-100k", "colour shortcut"),
        ("cfp", "eye_diseases_256", "format gives the label"),
    ],
)
def test_known_flaws_travel_with_their_dataset(modality, dataset, badge):
    assert [flaw.badge for flaw in flaws_of(modality, dataset)] == [badge]


def test_flaws_keep_to_their_modality_and_are_short():
    assert flaws_of("cxr", "kermany_pneumonia") == ()
    assert all(len(flaw.badge) <= 24 and flaw.reason for flaw in KNOWN_FLAWS)
