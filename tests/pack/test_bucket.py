"""Buckets: a partition that depends on keys alone, and changes only where inputs changed."""

import hashlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mermed.pack.listing import ListedImage
from mermed.pack.split import Placement
from mermed.pack.treatment import Treatment
from mermed.pack.work.bucket import BucketSize, partition
from mermed.pack.work.sample import Task


def task(number, *, split="train", size=100, **image):
    listed = ListedImage(modality="us", dataset="set", file=f"{number}", place=f"{number}", path=Path("x"), **image)
    key = f"set-{hashlib.sha256(str(number).encode()).hexdigest()[:20]}"
    return Task(image=listed, key=key, placement=Placement(split, "g"), size_bytes=size, mtime_ns=1)


def contents(buckets):
    return {(bucket.name, bucket.fingerprint): len(bucket.tasks) for bucket in buckets}


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 10**6), max_size=120), st.integers(1, 20))
def test_every_task_is_in_one_bucket_in_the_order_of_keys_and_none_is_too_large(numbers, most):
    tasks = [task(number, split=("train", "test")[number % 2]) for number in sorted(numbers)]
    buckets = partition(tasks, BucketSize(inputs=most))
    assert sorted(t.key for b in buckets for t in b.tasks) == sorted(t.key for t in tasks)
    assert all(len(bucket.tasks) <= most for bucket in buckets)
    assert all([t.key for t in b.tasks] == sorted(t.key for t in b.tasks) for b in buckets)
    assert len({bucket.name for bucket in buckets}) == len(buckets)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=100), st.integers(10**6 + 1, 10**6 + 50))
def test_one_more_input_changes_its_own_bucket_and_at_most_cuts_it_in_two(numbers, new):
    size = BucketSize(inputs=8)
    before = contents(partition([task(number) for number in numbers], size))
    after = contents(partition([task(number) for number in [*numbers, new]], size))
    gone = before.keys() - after.keys()
    assert len(gone) == 1 or (not gone and len(after) == len(before) + 1)
    new_inputs = sum(after[name] for name in after.keys() - before.keys())
    assert new_inputs == sum(before[name] for name in gone) + 1


def test_the_order_of_the_listing_does_not_matter():
    tasks = [task(number) for number in range(50)]
    assert contents(partition(tasks, BucketSize(inputs=8))) == contents(partition(tasks[::-1], BucketSize(inputs=8)))


def test_a_bucket_is_cut_by_the_bytes_of_its_sources_too():
    buckets = partition([task(number, size=600) for number in range(8)], BucketSize(source_bytes=1500))
    assert len(buckets) >= 4
    assert all(sum(t.size_bytes for t in bucket.tasks) <= 1500 for bucket in buckets)
    assert len(partition([task(1, size=10**9)], BucketSize(source_bytes=1))) == 1


def test_whatever_decides_the_bytes_of_a_sample_is_in_the_fingerprint():
    def fingerprint(**changes):
        (bucket,) = partition([task(1, **changes)], BucketSize())
        return bucket.fingerprint

    variants = [
        {},
        {"size": 101},
        {"labels": {"class": "a"}},
        {"labels": {"class": "b"}},
        {"licence": "CC0"},
        {"treatment": Treatment(window="lung")},
        {"frame_labels": ("a",)},
    ]
    assert len({fingerprint(**variant) for variant in variants}) == len(variants)


def test_only_the_first_bucket_of_a_source_is_shown_and_only_when_asked():
    tasks = [task(number) for number in range(100)]
    shown = [t for b in partition(tasks, BucketSize(inputs=16)) for t in b.tasks if t.shows]
    assert [t.key for t in shown] == sorted(t.key for t in tasks)[:8]
    assert not any(t.shows for b in partition(tasks, BucketSize(inputs=16, shows=False)) for t in b.tasks)
