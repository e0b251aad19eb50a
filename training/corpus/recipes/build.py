"""Build a corpus from recipes: read, select, write with a data card."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.suites.splits import Split
from infembed.artefacts import refuse_existing, sha256_file
from infembed.errors import MissingArtefactError
from infembed.progress import Report
from training.corpus.files import CorpusManifest, Quarantined, write_corpus
from training.corpus.recipes.card import data_card
from training.corpus.recipes.outcome import Outcome
from training.corpus.recipes.recipe import Recipe
from training.corpus.recipes.selection import Selection, documents_of
from training.corpus.recipes.splits import held_out_from
from training.corpus.rows import Row
from training.corpus.texts import normalized

CARD_FILE = "README.md"


@dataclass(frozen=True)
class Built:
    """A written corpus, and what became of each recipe."""

    manifest: CorpusManifest
    outcomes: list[Outcome]


def build_corpus(
    recipes: Sequence[Recipe], data: Path, out: Path, *, split: Split, max_rows: int | None, progress: Report
) -> Built:
    """Build a corpus directory of one split; at most `max_rows` of each recipe, chosen by digest."""
    refuse_existing(out)
    check_data(recipes, data)
    held_out = _held_out_documents(recipes, data, split, progress)
    selection = Selection(held_out, max_rows=max_rows)
    outcomes: list[Outcome] = []
    for done, recipe in enumerate(recipes):
        progress(f"making {split} rows", done, len(recipes))
        directory = data / recipe.folder
        outcome = Outcome(recipe, {name: sha256_file(directory / name) for name in recipe.files})
        rows = _sound_rows(recipe, data, split, aside=outcome.quarantined)
        outcome.rows.extend(selection.select(rows, outcome.dropped))
        outcomes.append(outcome)
    progress(f"making {split} rows", len(recipes), len(recipes))
    manifest = write_corpus(
        out,
        (row for outcome in outcomes for row in outcome.rows),
        name=out.name,
        made_from={
            "split": split,
            "max_rows": max_rows,
            "recipes": {outcome.recipe.name: dict(outcome.inputs) for outcome in outcomes},
        },
        quarantined=[aside for outcome in outcomes for aside in outcome.quarantined],
        extra_files={CARD_FILE: data_card(out.name, split, outcomes)},
    )
    return Built(manifest, outcomes)


def check_data(recipes: Sequence[Recipe], data: Path) -> None:
    """Refuse to begin where a recipe's file is missing; say which, and where to get it."""
    missing = [
        f"recipe {recipe.name} needs {data / recipe.folder / name}, which is not there; get it from {recipe.origin}"
        for recipe in recipes
        for name in recipe.files
        if not (data / recipe.folder / name).is_file()
    ]
    if missing:
        raise MissingArtefactError(f"{'; '.join(missing)} (docs/data.md says how to lay it out)")


def _held_out_documents(recipes: Sequence[Recipe], data: Path, split: Split, progress: Report) -> set[str]:
    """Return the documents of the splits that this one must not share any document with."""
    found: set[str] = set()
    for other in held_out_from(split):
        for done, recipe in enumerate(recipes):
            progress(f"reading {other} documents", done, len(recipes))
            for row in _sound_rows(recipe, data, other, aside=[]):
                found.update(normalized(text) for text in documents_of(row))
        progress(f"reading {other} documents", len(recipes), len(recipes))
    return found


def _sound_rows(recipe: Recipe, data: Path, split: Split, *, aside: list[Quarantined]) -> Iterator[Row]:
    for found in recipe.rows(data / recipe.folder, split):
        if isinstance(found, Quarantined):
            aside.append(Quarantined(found.number, f"{recipe.name}: {found.reason}"))
        else:
            yield found
