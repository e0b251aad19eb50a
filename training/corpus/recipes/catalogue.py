"""Every recipe by its name."""

from collections.abc import Sequence

from infembed.errors import BadConfigError
from training.corpus.recipes.recipe import Recipe

ALL = "all"
_RECIPES: tuple[Recipe, ...] = ()
RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def find_recipes(names: Sequence[str]) -> list[Recipe]:
    """Return the recipes of these names in the catalogue's order; `all` stands for every one."""
    if unknown := sorted(set(names) - {ALL, *RECIPES}):
        raise BadConfigError(f"no recipe is named {', '.join(unknown)}; there are {', '.join([ALL, *RECIPES])}")
    return [recipe for name, recipe in RECIPES.items() if ALL in names or name in names]
