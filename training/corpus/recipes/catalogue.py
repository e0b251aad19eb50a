"""Every recipe by its name."""

from collections.abc import Sequence

from infembed.errors import BadConfigError
from training.corpus.recipes import (
    condaqa,
    fever_symmetric,
    instructir,
    keyword,
    medquad,
    msdocs,
    negation_pairs,
    netflix,
    perspectrum,
    plain,
    pubmedqa,
)
from training.corpus.recipes.recipe import Recipe

ALL = "all"
_MODULES = (
    medquad,
    condaqa,
    perspectrum,
    fever_symmetric,
    negation_pairs,
    pubmedqa,
    msdocs,
    netflix,
    instructir,
    keyword,
    plain,
)
RECIPES = {module.RECIPE.name: module.RECIPE for module in _MODULES}


def find_recipes(names: Sequence[str]) -> list[Recipe]:
    """Return the recipes of these names in the catalogue's order; `all` stands for every one."""
    if unknown := sorted(set(names) - {ALL, *RECIPES}):
        raise BadConfigError(f"no recipe is named {', '.join(unknown)}; there are {', '.join([ALL, *RECIPES])}")
    return [recipe for name, recipe in RECIPES.items() if ALL in names or name in names]
