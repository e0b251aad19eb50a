"""A recipe from a training checkpoint: the query tower's factors over the base weights that packages carry."""

from pathlib import Path

from safetensors.numpy import load_file

from infembed.errors import BadConfigError
from model_export.assemble import BaseWeights, Recipe
from model_export.factors import FACTORS_FILE
from model_export.recipe import TrainedFactors, write_recipe
from training.checkpoint import CheckpointManifest, read_manifest


def recipe_of_checkpoint(
    directory: Path, checkpoint: Path, *, base: BaseWeights, base_checkpoint: Path, scale: float = 1.0
) -> Recipe:
    """Write the recipe of a trained checkpoint; refuses what a recipe of factors cannot hold.

    `scale` below 1 averages the query tower with the base model.
    """
    manifest = read_manifest(checkpoint)
    _require_factors(manifest)
    model = manifest.model
    assert model.lora is not None, "checked above"
    factors = TrainedFactors(
        load_file(checkpoint / FACTORS_FILE), scale=scale * model.lora.alpha / model.lora.rank, tower=model.tower
    )
    return write_recipe(
        directory,
        base=base,
        checkpoint=base_checkpoint,
        pooling=model.pooling,
        max_tokens=model.max_tokens,
        default_fusion=model.fusion,
        trained=factors,
    )


def _require_factors(manifest: CheckpointManifest) -> None:
    model = manifest.model
    if model.lora is None or not model.tower.keeps_documents:
        raise BadConfigError(
            f"checkpoint {manifest.name} has tower {model.tower} and {'factors' if model.lora else 'whole weights'}; a "
            "recipe holds factors beside frozen documents: train with tower steered or frozen, and [model.lora]"
        )
    if model.prompts or model.pools_instruction:
        what = "prompts" if model.prompts else "pools_instruction"
        raise BadConfigError(f"checkpoint {manifest.name} uses {what}, which the recipe's graphs do not")
