"""`infembed export`, and `infembed bundle`: assemble and verify bundles."""

import json
from pathlib import Path
from typing import Annotated

import typer

from infembed.bundle import Precision
from infembed.inputs import Fusion
from infembed.terminal import plain_console

app = typer.Typer(help="Assemble and verify model bundles; released models as checkpoints.", no_args_is_help=True)


@app.command()
def assemble(
    out: Annotated[Path, typer.Option(help="Directory to write; must not exist.")],
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")] = "inf-embed-mini",
    fusion: Annotated[Fusion | None, typer.Option(help="Fusion of the bundle; default: the recipe's.")] = None,
    precision: Annotated[
        list[Precision] | None,
        typer.Option(help="Number format of the graphs; repeat for more than one. Default: fp32 and int8."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Directory of the base checkpoint; default: installed.")] = None,
) -> None:
    """Make a bundle from base weights and this release's graphs, without torch."""
    from model_export.assemble import DEFAULT_PRECISIONS, find_recipe
    from model_export.assemble import assemble as make_bundle

    precisions = precision or DEFAULT_PRECISIONS
    manifest = make_bundle(find_recipe(recipe), out, fusion=fusion, precisions=precisions, weights=weights)
    size_mb = sum(entry.size_bytes for entry in manifest.files) / 1e6
    plain_console().print(f"bundle {manifest.name} ({size_mb:.0f} MB, dim {manifest.dim}) at {out}")


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="The bundle's directory.")]) -> None:
    """Check every file of a bundle against its manifest."""
    from infembed.bundle import Bundle

    bundle = Bundle.open(path)
    plain_console().print(
        f"{path} is intact: {bundle.manifest.name}, digest {bundle.digest[:16]}, "
        f"document fingerprint {bundle.manifest.document_fingerprint[:16]}"
    )


@app.command(name="checkpoint")
def write_checkpoint_of_release(
    out: Annotated[Path, typer.Option(help="The checkpoint's directory; must not exist.")],
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")] = "inf-embed-mini",
) -> None:
    """Write a released model as a checkpoint, to train on from (`start_from`) or to average with other runs."""
    from model_export.assemble import find_recipe
    from model_export.released_checkpoint import write_released_checkpoint

    manifest = write_released_checkpoint(find_recipe(recipe), out)
    lora = manifest.model.lora
    assert lora is not None  # a recipe without factors was refused
    plain_console().print(
        f"checkpoint {manifest.name} at {out}: [model] fusion {manifest.model.fusion}, tower {manifest.model.tower}, "
        f"[model.lora] rank {lora.rank}, alpha {lora.alpha:g}"
    )


@app.command(name="recipe")
def write_default_recipe(
    bundles: Annotated[list[Path], typer.Argument(help="Exported bundles of one model, one for each fusion.")],
    out: Annotated[Path, typer.Option(help="The recipe's directory; must not exist.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The trained checkpoint with the factors that were exported, if any.")
    ] = None,
) -> None:
    """Write what a release carries of bundles made from all-MiniLM-L6-v2: all but the weights (maintainers)."""
    from infembed.bundle import Bundle
    from model_export.assemble import find_base
    from model_export.factors import FACTORS_FILE, read_factors
    from model_export.recipe import minilm_base, write_recipe

    factors = None if checkpoint is None else read_factors(checkpoint / FACTORS_FILE)
    base = minilm_base()
    opened = [Bundle.open(bundle) for bundle in bundles]
    recipe = write_recipe(out, opened, base=base, weights=find_base(base), factors=factors)
    fusions = ", ".join(bundle.manifest.fusion for bundle in opened)
    what = "with factors of a trained tower" if recipe.factor_scale else "without factors"
    plain_console().print(f"recipe {out.name} for fusion {fusions}, {what}, at {out}")


def export(  # noqa: PLR0917 - the options of a command, given by name
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A run's model (RUN/model), a Hugging Face checkpoint's directory, or all-minilm-l6-v2."),
    ],
    out: Annotated[Path, typer.Option(help="Directory to write; must not exist.")],
    precision: Annotated[
        list[Precision] | None, typer.Option(help="May be given several times; fp32 is always written.")
    ] = None,
    fusion: Annotated[
        Fusion | None, typer.Option(help="Of a plain checkpoint; default: prefix. A trained one has its own.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=3, help="Longest text of a plain checkpoint; default: its own, at most 512.")
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.01, max=2, help="Of trained factors: below 1 averages with the base model.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Make a bundle from a checkpoint, and prove that it encodes as the checkpoint does."""
    from model_export.export import export as run
    from model_export.export_summary import as_facts, as_text

    exported = run(
        checkpoint, out, precisions=precision or [Precision.FP32], fusion=fusion, max_tokens=max_tokens, scale=scale
    )
    if as_json:
        typer.echo(json.dumps(as_facts(exported, out)))
        return
    console = plain_console()
    for line in as_text(exported, out):
        console.print(line)
