"""The data card of a built corpus, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence

from evaluation.suites.splits import Split
from training.corpus.recipes.outcome import Outcome
from training.corpus.recipes.wordings import all_wordings

_ABOUT = (
    "Digests of the inputs stand in `manifest.json`. A row is a triple of anchored pairs: (query, instruction) with "
    "its document, the same query under another wish, and another query under the same wish."
)


def data_card(name: str, split: Split, outcomes: Sequence[Outcome]) -> str:
    """Say what a corpus holds, where it comes from and what was left out."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    parts = [
        f"# {name}",
        f"{len(rows):,} rows of the {split} split, built by `infembed corpus build`. {_ABOUT}",
        "## Recipes",
        _table(("recipe", "rows", "distinct instructions", "licence", "from"), map(_recipe_cells, outcomes)),
        "## Instruction types",
        _counts("type", (str(row.instruction_type) for row in rows)),
        "## Types by recipe",
        _table(("recipe", "type", "rows"), _type_cells(outcomes)),
        "## Domains",
        _counts("domain", (row.domain or "not said" for row in rows)),
        "## Licences",
        _counts("licence", (row.license for row in rows)),
        "## Left out",
        _table(("recipe", "reason", "rows"), _left_out_cells(outcomes)),
        "## Wordings",
        f"Written by hand. This split draws from the column *{'train' if split is Split.TRAIN else 'held out'}*.",
        _table(("section", "train", "held out"), _wording_cells()),
    ]
    return "\n\n".join(parts) + "\n"


def _recipe_cells(outcome: Outcome) -> tuple[object, ...]:
    instructions = {text for row in outcome.rows for text in (row.instruction_positive, row.instruction_negative)}
    recipe = outcome.recipe
    return recipe.name, len(outcome.rows), len(instructions - {None}), recipe.license, recipe.origin


def _type_cells(outcomes: Iterable[Outcome]) -> Iterable[tuple[object, ...]]:
    for outcome in outcomes:
        for kind, count in Counter(str(row.instruction_type) for row in outcome.rows).most_common():
            yield outcome.recipe.name, kind, count


def _left_out_cells(outcomes: Iterable[Outcome]) -> Iterable[tuple[object, ...]]:
    for outcome in outcomes:
        for reason, count in sorted(outcome.dropped.items()):
            yield outcome.recipe.name, reason, count
        yield outcome.recipe.name, "broken, see quarantine.jsonl", len(outcome.quarantined)


def _wording_cells() -> Iterable[tuple[object, ...]]:
    for section, wordings in all_wordings().items():
        yield section, len(wordings.train), len(wordings.held_out)


def _counts(what: str, values: Iterable[str]) -> str:
    counts = sorted(Counter(values).items(), key=lambda found: (-found[1], found[0]))
    return _table((what, "rows"), counts)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [list(header), ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
