"""The language of recipes: strict keys, bounded patterns, templates that never make half an id."""

import pytest

from mermed.errors import ConfigError
from mermed.pack.recipes.recipe import load_recipe
from mermed.pack.recipes.shelf import find_recipe, known_recipes, recipe_folder
from mermed.pack.recipes.text import Template, compile_globs, compile_regex, find_fields

HEAD = 'name = "set"\nmodality = "us"\ntitle = "Set"\nfingerprint = "a.csv"\n[card]\nlicence = "CC0"\naccess = "open"\n'
IMAGES = '[images]\ninclude = "*.png"\n'


@pytest.fixture
def load(tmp_path):
    def load(text):
        (tmp_path / "set.toml").write_text(text, "utf-8")
        return load_recipe(tmp_path / "set.toml")

    return load


def test_a_lone_text_is_a_list_of_one(load):
    recipe = load(HEAD + IMAGES)
    assert recipe.images.include == ("*.png",)
    assert recipe.fingerprint == ("a.csv",)


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        (HEAD + "[images]\ninclud = 1\n", "unknown key 'images.includ'", "did you mean 'include'?"),
        (HEAD + IMAGES + '[labels]\nclas = "{x}"\n', "unknown key 'labels.clas'", "did you mean 'class'?"),
        (HEAD + IMAGES + '[[tables]]\nfile = "a"\nkey = "{a}"\n', "the key 'tables[1].match' is missing", None),
        (HEAD + IMAGES + "[labels]\nclass = 3\n", "the key 'labels.class[1]' has the wrong value", None),
        (HEAD + IMAGES + "[treatment]\nbits = true\n", "the key 'treatment.bits' has the wrong value", None),
        (HEAD.replace('"open"', '"free"') + IMAGES, "the key 'card.access' has the wrong value", None),
        (HEAD.replace('"set"', '"My Set"') + IMAGES, "breaks the grammar", None),
        (HEAD, "a recipe names no images", None),
        (HEAD + IMAGES + '[labels]\nclass = "{x}"\none_hot = ["a"]\n', "several forms", None),
        (HEAD + IMAGES + '[[tables]]\nfile="a"\nkey="{a}"\nmatch="{file}"\noptional=true\n', "an optional table", None),
        ("name = \n", "not TOML", None),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(text, what, next_step, load):
    with pytest.raises(ConfigError, match=what.replace("[", r"\[")) as caught:
        load(text)
    assert caught.value.where["recipe"] == "set.toml"
    assert next_step is None or caught.value.next_step == next_step


def test_the_digest_follows_what_decides_bytes_and_not_the_words(load):
    recipe = load(HEAD + IMAGES)
    assert load(HEAD.replace('"Set"', '"Other words"') + IMAGES).digest == recipe.digest
    assert load(HEAD.replace("CC0", "CC BY") + IMAGES).digest != recipe.digest
    assert load(HEAD + IMAGES.replace("*.png", "*.jpg")).digest != recipe.digest


@pytest.mark.parametrize(
    ("glob", "fits", "misses"),
    [
        ("*.png", ["a.png", "a b (1).png", "-.png"], ["a/b.png", "a.PNG", "a.png.txt"]),
        ("**/*.{jpg,jpeg}", ["a.jpg", "x/y/a.jpeg"], ["a.png"]),
        ("images_??/*", ["images_01/a"], ["images_1/a", "images_01/a/b"]),
        ("[!0-9]*/a+b.tif", ["x/a+b.tif"], ["0/a+b.tif", "x/aab.tif"]),
        ("data/**", ["data/a", "data/b/c.d"], ["data", "other/a"]),
        ("b,c.png", ["b,c.png"], ["b", "c.png"]),
        ("e\u0301.png", ["é.png"], ["e.png"]),
    ],
)
def test_a_glob_matches_whole_paths(glob, fits, misses):
    compiled = compile_globs([glob])
    assert all(compiled.fullmatch(path) for path in fits)
    assert not any(compiled.fullmatch(path) for path in misses)


@pytest.mark.parametrize("glob", ["../*.png", "a/../../b", "/etc/*", "~/x", "a\\b", "x" * 501, "{a,b"])
def test_a_glob_that_leads_outside_or_makes_no_sense_is_refused(glob):
    with pytest.raises(ConfigError):
        compile_globs([glob])


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?:x*)*", "(a{2,}){3,}", "([a-z]+)*b", "(", "a" * 501])
def test_a_regular_expression_that_may_never_end_is_refused(pattern):
    with pytest.raises(ConfigError, match="regular expression"):
        compile_regex(pattern)


def test_a_pattern_is_not_tried_on_an_endless_text():
    pattern = compile_regex(r"(?P<a>x)")
    assert find_fields([pattern], "x") == {"a": "x"}
    assert find_fields([pattern], "x" * 2000) is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{id}", "00012"),
        ("p{id|number}-{eye|upper}", "p12-L"),
        ("{id}-{gone}", ""),
        ("{empty}x", ""),
        ("fixed", "fixed"),
        ("", ""),
        ("{path|name}", "b.c.png"),
        ("{path|stem}", "b.c"),
        ("{id|number|pad8}", "00000012"),
        ("{zero|number}", "0"),
        ("{float|number}", "7"),
        ("{Finding Labels}", "A|B"),
    ],
)
def test_a_template_is_empty_as_soon_as_one_of_its_fields_is(template, expected):
    values = {"id": "00012", "eye": "l", "empty": "", "path": "a/b.c.png", "zero": "0", "float": "7.0"}
    assert Template(template).fill({**values, "Finding Labels": "A|B"}) == expected


@pytest.mark.parametrize("template", ["{id", "id}", "{id|nofilter}", "{}"])
def test_a_template_that_cannot_be_meant_is_refused(template):
    with pytest.raises(ConfigError, match="template"):
        Template(template)


def test_a_recipe_is_found_by_name_or_file_and_a_typing_error_is_answered(tmp_path):
    assert find_recipe("chexpert").title == "CheXpert"
    assert find_recipe(str(recipe_folder() / "chexpert.toml")).digest == known_recipes()["chexpert"].digest
    with pytest.raises(ConfigError) as caught:
        find_recipe("chexpertt")
    assert caught.value.next_step == "did you mean 'chexpert'?"
    for name in ("../chexpert", "no/such.toml"):
        with pytest.raises(ConfigError):
            find_recipe(name)
