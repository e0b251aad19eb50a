"""`infembed corpus`: build, synthesize and check the corpora that models are trained on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from evaluation.suites.splits import Split
from infembed.errors import MissingArtefactError
from infembed.terminal import plain_console
from training.corpus.validation.cli import decontaminate, validate
from training.synthesis.cli import synthesize

app = typer.Typer(help="Build, synthesize and check training corpora.", no_args_is_help=True)


app.command()(validate)
app.command()(decontaminate)
app.command()(synthesize)


@app.command()
def build(  # noqa: PLR0917 - the options of a command, given by name
    recipe: Annotated[list[str], typer.Option(help="A recipe by name, or `all`; repeat for more (docs/corpus.md).")],
    out: Annotated[Path, typer.Option(help="Directory of the corpus; must not exist.")],
    data: Annotated[
        Path | None, typer.Option(envvar="INFEMBED_DATA", help="Directory of the public data sets (docs/data.md).")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which part of each data set.")] = Split.TRAIN,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Most rows of each recipe, chosen by digest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Build a corpus from labelled data by recipes; the same bytes each time."""
    from infembed.progress import show_progress
    from training.corpus.recipes.build import build_corpus
    from training.corpus.recipes.catalogue import find_recipes

    recipes = find_recipes(recipe)
    if data is None:
        raise MissingArtefactError("no data directory was given; set INFEMBED_DATA or --data (docs/data.md)")
    console = plain_console(stderr=as_json)
    with show_progress(console, unit="recipes") as progress:
        built = build_corpus(recipes, data, out, split=split, max_rows=max_rows, progress=progress)
    by_recipe = {
        outcome.recipe.name: {
            "n_rows": len(outcome.rows),
            "n_quarantined": len(outcome.quarantined),
            "n_dropped": {kind.name.lower(): count for kind, count in sorted(outcome.dropped.items())},
        }
        for outcome in built.outcomes
    }
    if as_json:
        facts = built.manifest.model_dump(mode="json", include={"name", "n_rows", "n_quarantined", "licenses"})
        typer.echo(json.dumps({"out": str(out), "split": split, **facts, "recipes": by_recipe}, ensure_ascii=False))
        return
    for outcome in built.outcomes:
        left_out = "".join(f", {count:,} left out: {kind}" for kind, count in sorted(outcome.dropped.items()))
        console.print(f"{outcome.recipe.name}: {len(outcome.rows):,} rows{left_out}")
    manifest = built.manifest
    console.print(
        f"corpus {manifest.name}: {manifest.n_rows:,} rows, {manifest.n_quarantined:,} broken records set aside; {out}"
    )
