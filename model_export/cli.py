"""`infembed bundle`: assemble and verify bundles."""

from pathlib import Path
from typing import Annotated

import typer

from infembed.bundle import Precision
from infembed.inputs import Fusion
from infembed.terminal import plain_console

app = typer.Typer(help="Assemble and verify model bundles.", no_args_is_help=True)


@app.command()
def assemble(
    out: Annotated[Path, typer.Option(help="Directory to write; must not exist.")],
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")] = "all-minilm-l6-v2",
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

    manifest = make_bundle(
        find_recipe(recipe), out, fusion=fusion, precisions=precision or DEFAULT_PRECISIONS, weights=weights
    )
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


@app.command(name="recipe")
def write_default_recipe(
    checkpoint: Annotated[Path, typer.Option(help="Directory of the base: config.json and model.safetensors.")],
    out: Annotated[Path, typer.Option(help="The recipe's directory.")],
    trained: Annotated[
        Path | None, typer.Option(help="A run's model with factors of a query tower (`infembed train`).")
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.01, max=2, help="Of the factors: below 1 averages with the base model.")
    ] = 1.0,
) -> None:
    """Write the graphs and digests of a release's recipe (maintainers; needs the `export` extra)."""
    from infembed.bundle import MaxTokens, Pooling
    from model_export.recipe import minilm_base, write_recipe

    if trained is not None:
        from model_export.trained import recipe_of_checkpoint

        made = recipe_of_checkpoint(out, trained, base=minilm_base(), base_checkpoint=checkpoint, scale=scale)
        plain_console().print(f"recipe {made.name} of a trained query tower at {out}")
        return
    recipe = write_recipe(
        out,
        base=minilm_base(),
        checkpoint=checkpoint,
        pooling=Pooling.MEAN,
        max_tokens=MaxTokens(document=256, query=256, instruction=256),
        default_fusion=Fusion.PREFIX,
    )
    plain_console().print(f"recipe {recipe.name} with {len(recipe.graphs_sha256)} graphs at {out}")
