"""Choices about pixels on the command line reach every image, over what its recipe says."""

from dataclasses import replace
from pathlib import Path

import pytest

from mermed.errors import ConfigError
from mermed.pack.listing import ListedImage, Listing
from mermed.pack.treating import treat
from mermed.pack.treatment import Sampling, Treatment


def listing(*treatments):
    image = ListedImage(modality="ct", dataset="set", file="a", place="a", path=Path("a"))
    return Listing(images=tuple(replace(image, treatment=treatment) for treatment in treatments))


def treatments(listing):
    return [image.treatment for image in listing.images]


def test_a_choice_changes_what_it_names_and_nothing_else():
    before = listing(Treatment(), Treatment(window="lung", sampling=Sampling(margin=0.3, max_frames=2)))
    after = treat(before, ["crop=none", "sampling.max_frames=16", "assume_um=0.25", "allow_burned_in=true"])
    given = {"crop": "none", "assume_um": 0.25, "allow_burned_in": True}
    assert treatments(after) == [
        Treatment(**given, sampling=Sampling(max_frames=16)),
        Treatment(window="lung", **given, sampling=Sampling(margin=0.3, max_frames=16)),
    ]
    assert treat(before, []) is before


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("crops=none", "did you mean 'crop'"),
        ("sampling.max_frame=1", "did you mean 'max_frames'"),
        ("crop=some", r"auto \| none"),
        ("sampling.max_frames=many", "int"),
        ("crop", "no value"),
    ],
)
def test_a_choice_that_makes_no_sense_is_answered(choice, said):
    with pytest.raises(ConfigError, match=said):
        treat(listing(Treatment()), [choice])
