"""The graphs and weights of a bundle in another precision, made from its float32 folder without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from infembed.bundle import Precision
from infembed.errors import BadConfigError
from infembed.weightfile import StoredTensor, read_layout, write_layout
from model_export.fp16_graphs import halved
from model_export.int8_graphs import choose_scales, quantized
from model_export.rounding import fp16_layout, int8_layout, write_rounded

Models = Mapping[str, onnx.ModelProto]


@dataclass(frozen=True)
class Converted:
    """Graphs by file name, and where their weights lie."""

    graphs: dict[str, onnx.ModelProto]
    layout: tuple[StoredTensor, ...]


def convert(fp32: Path, out: Path, precision: Precision) -> None:
    """Write the folder `out` of another precision from the folder `fp32`; the same bytes on every machine."""
    models = {path.name: onnx.load(path, load_external_data=False) for path in sorted(fp32.glob("*.onnx"))}
    converted = convert_graphs(models, read_layout(fp32), precision)
    out.mkdir()
    write_graphs(out, converted)
    write_rounded(fp32, out)


def convert_graphs(models: Models, layout: Sequence[StoredTensor], precision: Precision) -> Converted:
    """Rewrite float32 graphs, whose weights `layout` describes; all graphs of a folder share one new layout."""
    if precision is Precision.INT8:
        new = int8_layout(layout, choose_scales(models.values(), {tensor.name: tensor for tensor in layout}))
        rewrite = quantized
    elif precision is Precision.FP16:
        new, rewrite = fp16_layout(layout), halved
    else:
        raise BadConfigError(f"precision {precision} is what others are converted from; convert to fp16 or int8")
    by_name = {tensor.name: tensor for tensor in new}
    return Converted({name: rewrite(model, by_name) for name, model in models.items()}, new)


def write_graphs(directory: Path, converted: Converted) -> None:
    """Write graphs and layout, but no weights."""
    for name, model in converted.graphs.items():
        (directory / name).write_bytes(model.SerializeToString(deterministic=True))
    write_layout(directory, converted.layout)
