"""Every shipped recipe lists a miniature of its dataset, with the real layout, names and label files, as it should."""

import re
from operator import attrgetter

import pytest
from collected import MINIATURES

from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.shelf import find_recipe, recipe_folder

BULLETS = [
    "Licence", "Access", "Citation", "Counts", "Labels", "Split", "Patients", "Layout", "Flaws", "Used by",
]  # fmt: skip


def _value(image, key):
    if key == "positive":
        return {name for name, value in image.labels["findings"].items() if value == 1}
    return attrgetter(key)(image)


NAMES = sorted(path.stem for path in recipe_folder().glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_lists_its_miniature_exactly(name, tmp_path):
    assert name in MINIATURES, "every recipe has a miniature tree"
    expected = MINIATURES[name](tmp_path)
    listing = list_recipe(tmp_path, find_recipe(name))
    images = {image.file: image for image in listing.images}
    assert sorted(images) == sorted(expected.images)
    for file, truths in expected.images.items():
        assert images[file].dataset == name
        assert not expected.modality or images[file].modality == expected.modality
        assert {key: _value(images[file], key) for key in truths} == truths, file
    assert {row.place.removeprefix(f"{name}/"): row.reason for row in listing.rejected} == expected.rejected
    assert all(row.bin == "excluded" for row in listing.rejected)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_a_card_that_states_licence_access_and_source(name):
    text = (recipe_folder() / f"{name}.md").read_text("utf-8")
    recipe = find_recipe(name)
    assert text.startswith(f"# {recipe.title}\n")
    bullets = re.findall(r"^- ([A-Z][a-z ]+): \S", text, re.MULTILINE)
    assert bullets == BULLETS
    assert recipe.card.licence
    assert recipe.card.url.startswith("https://")
    assert recipe.card.citation


def test_every_miniature_belongs_to_a_recipe():
    assert set(MINIATURES) <= set(NAMES)


def test_there_are_at_least_forty_recipes():
    assert len(NAMES) >= 40
