"""Write a bundle's files from a blueprint and weights: the one way in which bundles come into being, without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from pydantic import Field, JsonValue

from infembed.artefacts import sha256_file
from infembed.bundle import (
    TOKENIZER_FILE,
    BundleManifest,
    GraphName,
    Precision,
    document_fingerprint,
    write_manifest,
)
from infembed.config import Config
from infembed.inputs import InputType
from infembed.weightfile import WEIGHTS_FILE, write_layout
from model_export.blueprint import Blueprint
from model_export.graph_builder import OPSET
from model_export.graph_checks import count_fused, min_onnxruntime, require_fused
from model_export.graphs import write_graphs
from model_export.precision import convert
from model_export.weights import Towers, write_weights


class MadeFrom(Config):
    """What a bundle's manifest says of where it comes from."""

    blueprint: Blueprint
    factor_scale: float | None = Field(default=None, description="what multiplied the products of factors")
    checkpoint: dict[str, JsonValue] = Field(default_factory=dict, description="configuration and digests")


@dataclass(frozen=True)
class Model:
    """What a bundle is made of; `dimensions` are the widths that its vectors were trained to be cut to, if any."""

    name: str
    towers: Towers
    tokenizer: bytes
    made_from: MadeFrom
    dimensions: Sequence[int] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)


def write_bundle(directory: Path, model: Model, precisions: Sequence[Precision] = ()) -> BundleManifest:
    """Fill an empty directory; float32 is always there, for the others are made from it."""
    (directory / TOKENIZER_FILE).write_bytes(model.tokenizer)
    fp32 = directory / Precision.FP32
    fp32.mkdir()
    blueprint = model.made_from.blueprint
    graphs = write_graphs(blueprint)
    for name, graph in graphs.models.items():
        (fp32 / f"{name}.onnx").write_bytes(graph.SerializeToString(deterministic=True))
        require_fused(blueprint, name, _read_graph(fp32, name))
    write_layout(fp32, graphs.layout)
    write_weights(fp32, graphs.layout, blueprint.shape.tensors(), model.towers)
    others = [precision for precision in precisions if precision is not Precision.FP32]
    for precision in others:
        convert(fp32, directory / precision, precision)
    every = (Precision.FP32, *others)
    manifest = BundleManifest(
        name=model.name,
        fusion=blueprint.fusion,
        tower=blueprint.tower,
        dim=blueprint.shape.dim,
        dimensions=tuple(sorted({width for width in model.dimensions if width < blueprint.shape.dim}, reverse=True)),
        pooling=blueprint.pooling,
        n_positions=blueprint.shape.n_positions,
        max_tokens=blueprint.max_tokens,
        prompts=blueprint.prompts,
        precisions=every,
        document_fingerprint=_fingerprint(directory, blueprint),
        opset=OPSET,
        min_onnxruntime=min_onnxruntime(blueprint.shape),
        fused_nodes={
            f"{precision}/{name}.onnx": dict(sorted(count_fused(_read_graph(directory / precision, name)).items()))
            for precision in every
            for name in graphs.models
        },
        files=(),
        made_from=model.made_from.model_dump(mode="json"),
        made_with=dict(model.made_with),
    )
    return write_manifest(directory, manifest)


def _read_graph(folder: Path, name: GraphName) -> onnx.ModelProto:
    return onnx.load(folder / f"{name}.onnx", load_external_data=False)


def _fingerprint(directory: Path, blueprint: Blueprint) -> str:
    return document_fingerprint(
        architecture=blueprint.shape.model_dump(mode="json", exclude_defaults=True),
        weights_sha256=sha256_file(directory / Precision.FP32 / WEIGHTS_FILE),
        tokenizer_sha256=sha256_file(directory / TOKENIZER_FILE),
        pooling=blueprint.pooling,
        max_tokens=blueprint.max_tokens.document,
        prompt=blueprint.prompts.get(InputType.DOCUMENT, ""),
    )
