"""Splits: what shares a patient or group stays together, whatever the order of the rows."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mermed.errors import ConfigError
from mermed.pack.identity import Identity
from mermed.pack.listing import ListedImage
from mermed.pack.split import place, split_of

IDENTITY = Identity(b"a salt for tests, no secret")


def image(number, patient="", group="", split="", dataset="set"):
    file = f"{number}.png"
    return ListedImage(
        modality="us",
        dataset=dataset,
        file=file,
        place=file,
        path=Path(file),
        labels={},
        patient_id=patient,
        group_id=group,
        split=split,
    )


names = st.sampled_from(["", "1", "2", "3", "4", "5"])
tables = st.lists(st.tuples(names, names), max_size=25).map(
    lambda rows: [image(number, patient, group) for number, (patient, group) in enumerate(rows)]
)


@given(tables)
@settings(max_examples=200, deadline=None)
def test_nothing_shared_crosses_splits(images):
    placements = place(images, IDENTITY)
    for first, where in zip(images, placements, strict=True):
        for second, elsewhere in zip(images, placements, strict=True):
            if (
                first is second
                or first.patient_id == second.patient_id != ""
                or first.group_id == second.group_id != ""
            ):
                assert where == elsewhere


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_rows_does_not_matter(images, random):
    shuffled = random.sample(images, len(images))
    assert dict(zip([i.file for i in images], place(images, IDENTITY), strict=True)) == dict(
        zip([i.file for i in shuffled], place(shuffled, IDENTITY), strict=True)
    )


def test_groups_chain_through_patients():
    images = [image(0, "a", "g"), image(1, "b", "g"), image(2, "b", "h"), image(3, "c", "h"), image(4, "d", "i")]
    groups = [placement.group for placement in place(images, IDENTITY)]
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]


def test_a_patient_and_a_group_of_one_name_are_two_things():
    first, second = place([image(0, patient="7"), image(1, group="7")], IDENTITY)
    assert first.group != second.group


def test_given_splits_are_kept_and_spread_over_their_group():
    placements = place([image(0, "a", split="test"), image(1, "a"), image(2, "b", split="val")], IDENTITY)
    assert [placement.split for placement in placements] == ["test", "test", "val"]


def test_conflicting_splits_are_refused_with_counts_and_without_ids():
    images = [image(0, "MRN0042", split="train"), image(1, "MRN0042", split="test"), image(2, "x", split="val")]
    with pytest.raises(ConfigError, match="1 groups with 1 test, 1 train") as caught:
        place(images, IDENTITY)
    assert "MRN" not in str(caught.value)
    assert caught.value.where == {"dataset": "us/set"}


def test_drawn_splits_come_near_their_shares():
    splits = [placement.split for placement in place([image(n) for n in range(4000)], IDENTITY)]
    assert abs(splits.count("train") / 4000 - 0.70) < 0.03
    assert abs(splits.count("val") / 4000 - 0.15) < 0.03
    assert (split_of(0.0), split_of(0.70), split_of(0.85), split_of(0.999)) == ("train", "val", "test", "test")


def test_new_rows_leave_the_old_ones_where_they_were():
    images = [image(n, patient=str(n // 3)) for n in range(60)]
    more = [*images, *(image(n, patient=f"new{n}") for n in range(60, 90))]
    assert place(more, IDENTITY)[:60] == place(images, IDENTITY)


def test_another_salt_and_another_dataset_give_other_groups():
    one = place([image(0, "a")], IDENTITY)[0].group
    assert one != place([image(0, "a")], Identity(b"another salt of the tests"))[0].group
    assert one != place([image(0, "a", dataset="other")], IDENTITY)[0].group


def test_datasets_of_one_namespace_share_the_group_and_the_drawn_split_of_a_lesion():
    def placed(dataset, namespace, group):
        return place([replace(image(1, group=group, dataset=dataset), namespace=namespace)], IDENTITY)[0]

    lesions = [f"HAM_{number:07d}" for number in range(40)]
    assert [placed("ham10000", "isic", name) for name in lesions] == [
        placed("isic2018", "isic", name) for name in lesions
    ]
    assert len({placed("ham10000", "isic", name).split for name in lesions}) > 1
    assert placed("ham10000", "isic", lesions[0]).group != placed("ham10000", "other", lesions[0]).group
    assert placed("set", "", lesions[0]) == placed("set", "set", lesions[0])
    assert placed("ham10000", "isic", "").group != placed("isic2018", "isic", "").group, (
        "files of one name are strangers"
    )
