"""The checkpoint of a released model, from its recipe: what a run goes on from, and what means are taken with."""

import tempfile
from pathlib import Path

import torch

from infembed.config import parse_json
from infembed.errors import BadConfigError
from model_export.assemble import RECIPE_FILE, Recipe, assemble
from model_export.factors import FACTORS_FILE, read_factors
from training.checkpoint import CheckpointManifest, write_checkpoint
from training.config import LoraConfig, ModelConfig
from training.model import open_model

_DOWN = ".lora_A."


def write_released_checkpoint(recipe_directory: Path, out: Path) -> CheckpointManifest:
    """Write a recipe's factors as a run's model is written; `out` must not exist."""
    recipe = parse_json(Recipe, recipe_directory / RECIPE_FILE)
    name = recipe_directory.name
    if recipe.factor_scale is None:
        raise BadConfigError(f"recipe {name} is an untrained base model; leave start_from away to start from it")
    with tempfile.TemporaryDirectory() as scratch:  # assembly checks all files against the release's digests
        bundle = assemble(recipe_directory, Path(scratch) / "bundle")
    factors = read_factors(recipe_directory / FACTORS_FILE)
    (rank,) = {tensor.shape[0] for key, tensor in factors.items() if _DOWN in key}
    model = ModelConfig(
        fusion=bundle.fusion,
        tower=bundle.tower,
        pooling=bundle.pooling,
        prompts=bundle.prompts,
        max_tokens=bundle.max_tokens,
        lora=LoraConfig(rank=rank, alpha=rank * recipe.factor_scale),
    )
    return write_checkpoint(
        {key: torch.from_numpy(tensor).float() for key, tensor in factors.items()},
        out,
        name=name,
        model=model,
        base_fingerprint=open_model(model).base_fingerprint,
        dimensions=bundle.dimensions,
        made_from={"recipe": name, "bundle": bundle.made_from},
    )
