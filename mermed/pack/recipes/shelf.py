"""Recipe shelf: the recipes that ship with MerMED, found beside a checkout or inside the installed package."""

from functools import cache
from pathlib import Path

from mermed.errors import ConfigError, EnvironmentError_
from mermed.pack.recipes.parse import did_you_mean
from mermed.pack.recipes.recipe import Recipe, load_recipe


def recipe_folder() -> Path:
    """The folder of the shipped recipes: mermed/recipes of a wheel, shards/recipes of a checkout.

    Raises EnvironmentError_ when neither is there.
    """
    package = Path(__file__).resolve().parent.parent.parent
    for folder in (package / "recipes", package.parent / "shards" / "recipes"):
        if folder.is_dir():
            return folder
    raise EnvironmentError_(
        "the recipes are not installed", next_step="install mermed again, from a wheel or a checkout"
    )


@cache
def known_recipes() -> dict[str, Recipe]:
    """Every shipped recipe by name; raises ConfigError for a file whose name is not that of its recipe."""
    recipes: dict[str, Recipe] = {}
    for path in sorted(recipe_folder().glob("*.toml")):
        recipe = load_recipe(path)
        if recipe.name != path.stem:
            raise ConfigError(
                "a recipe has another name than its file",
                where={"recipe": path.name},
                expected=path.stem,
                found=recipe.name,
            )
        recipes[recipe.name] = recipe
    return recipes


def find_recipe(name: str) -> Recipe:
    """The recipe of that name, or of that TOML file; raises ConfigError with the nearest name."""
    if name.endswith(".toml"):
        return load_recipe(Path(name))
    path = recipe_folder() / f"{name}.toml"
    if "/" in name or not path.is_file():
        names = sorted(each.stem for each in recipe_folder().glob("*.toml"))
        raise ConfigError(f"no recipe is called '{name}'", next_step=did_you_mean(name, names))
    return load_recipe(path)
