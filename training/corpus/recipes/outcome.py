"""What became of one recipe in a build."""

from collections import Counter
from dataclasses import dataclass, field

from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Recipe
from training.corpus.recipes.selection import Dropped
from training.corpus.rows import Row


@dataclass
class Outcome:
    """The rows of one recipe, and what was left out; `inputs` are digests by file name."""

    recipe: Recipe
    inputs: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    dropped: Counter[Dropped] = field(default_factory=Counter)
