"""Pairs of images that name each other are one group, and a licence that every file has for itself is kept."""

import tomllib

import pytest

from mermed.errors import ConfigError
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.parse import parse
from mermed.pack.recipes.recipe import Recipe

HEAD = {
    "name": "eyes",
    "modality": "cfp",
    "title": "Eyes",
    "fingerprint": "x",
    "card": {"licence": "CC BY 4.0", "access": "open"},
}
TABLE = '[[tables]]\nfile = "labels.csv"\nkey = "{eye}"\nmatch = "{stem}"\n'


def listed(tmp_path, labels, images='include = "*.png"', rest=""):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(b"never opened")
    (tmp_path / "labels.csv").write_text(labels)
    recipe = parse(Recipe, {**HEAD, **tomllib.loads(f"[images]\n{images}\n{TABLE}{rest}")})
    return {image.file[0]: image for image in list_recipe(tmp_path, recipe).images}


PAIR = '[groups]\npair = ["{stem}", "{fellow}"]\n'


@pytest.mark.parametrize("rows", ["a,b\nb,a\nc,\n", "b,a\na,b\nc,c\n"])
def test_two_eyes_that_name_each_other_are_one_group_and_a_lone_eye_has_none(rows, tmp_path):
    images = listed(tmp_path, "eye,fellow\n" + rows, rest=PAIR)
    assert images["a"].group_id == images["b"].group_id != ""
    assert images["c"].group_id == ""


def test_a_group_that_the_recipe_gives_counts_before_a_pair(tmp_path):
    images = listed(tmp_path, "eye,fellow,lesion\na,b,7\nb,a,\nc,,\n", rest=PAIR + 'group = "{lesion}"\n')
    assert images["a"].group_id == "7"
    assert images["b"].group_id not in ("7", "")


def test_a_pair_of_a_field_that_nothing_gives_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"groups\.pair"):
        listed(tmp_path, "eye,fellow\na,b\n", rest='[groups]\npair = ["{stem}", "{felow}"]\n')


def test_every_file_keeps_its_own_licence_and_the_card_speaks_for_the_others(tmp_path):
    images = listed(
        tmp_path, f"eye,terms\na,CC BY-NC-ND 4.0\nb,\nc,{'x' * 200}\n", 'include = "*.png"\nlicence = "{terms}"'
    )
    assert images["a"].licence == "CC BY-NC-ND 4.0"
    assert images["b"].licence == "CC BY 4.0"
    assert images["c"].licence == "x" * 80
