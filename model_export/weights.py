"""Where each tensor of a checkpoint lies in a bundle's weight file.

All graphs read one `weights.bin`; where queries have a tower of their own (docs/decisions/0008) its layers lie in
`query.bin`. The layout is fixed by the architecture alone, so that a bundle can be assembled from base weights without
torch and still be byte for byte what a full export writes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from infembed.config import Config
from infembed.errors import MismatchedArtefactError
from infembed.vectors import FloatArray
from infembed.weightfile import WEIGHTS_FILE, StoredTensor, place

QUERY_TOWER = "query."
"""Begins the names of a query tower's own tensors."""
QUERY_WEIGHTS_FILE = "query.bin"


class Transform(StrEnum):
    """How checkpoint tensors become one stored tensor."""

    COPY = "copy"
    TRANSPOSE = "transpose"
    """A Linear weight (out, in) becomes (in, out), as MatMul reads it."""
    STACK = "stack"
    """Several tensors side by side along the last axis, Linear weights transposed first."""
    ADD_FIRST_ROW = "add_first_row"
    """The second tensor's first row added to every row of the first: positions plus segment 0."""


@dataclass(frozen=True, slots=True)
class TensorRecipe:
    """A tensor of the weight file and the checkpoint tensors it is made from."""

    stored: StoredTensor
    sources: tuple[str, ...]
    transform: Transform


class BertShape(Config):
    """The numbers of a BERT-family encoder that decide its graphs; from a Hugging Face `config.json`."""

    n_layers: int
    n_heads: int
    dim: int
    feed_forward_dim: int
    vocabulary: int
    n_positions: int
    layer_norm_epsilon: float

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "BertShape":
        """Read `config.json`; refuse architectures these graphs do not describe."""
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise MismatchedArtefactError(
                f"the checkpoint is a {config.get('model_type')!r} with activation {config.get('hidden_act')!r}; "
                "these graphs describe model_type 'bert' with activation 'gelu'"
            )
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise MismatchedArtefactError("the checkpoint's position embeddings are not absolute")
        number = {key: value for key, value in config.items() if isinstance(value, int | float)}
        return cls(
            n_layers=int(number["num_hidden_layers"]),
            n_heads=int(number["num_attention_heads"]),
            dim=int(number["hidden_size"]),
            feed_forward_dim=int(number["intermediate_size"]),
            vocabulary=int(number["vocab_size"]),
            n_positions=int(number["max_position_embeddings"]),
            layer_norm_epsilon=float(number["layer_norm_eps"]),
        )


def bert_layout(shape: BertShape) -> tuple[TensorRecipe, ...]:
    """Lay out a BERT encoder: embeddings first, then layer by layer, query, key and value side by side."""
    return _lay_out(_bert_tensors(shape), file=WEIGHTS_FILE)


def query_layout(shape: BertShape) -> tuple[TensorRecipe, ...]:
    """Lay out the layers of a query tower of its own; the embeddings are those of the document tower."""
    layers = (
        (f"{QUERY_TOWER}{name}", dims, sources, transform)
        for name, dims, sources, transform in _bert_tensors(shape)
        if name.startswith("layer.")
    )
    return _lay_out(layers, file=QUERY_WEIGHTS_FILE)


def _lay_out(tensors: Iterable["_Row"], *, file: str) -> tuple[TensorRecipe, ...]:
    rows = list(tensors)
    stored = place(StoredTensor(name=name, file=file, shape=dims, offset=0) for name, dims, _, _ in rows)
    return tuple(TensorRecipe(tensor, *row[2:]) for tensor, row in zip(stored, rows, strict=True))


_Row = tuple[str, tuple[int, ...], tuple[str, ...], Transform]


def _bert_tensors(shape: BertShape) -> Iterator[_Row]:
    dim, inner = shape.dim, shape.feed_forward_dim
    words, positions, segments = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type"))
    yield "embeddings.words", (shape.vocabulary, dim), (words,), Transform.COPY
    yield "embeddings.positions", (shape.n_positions, dim), (positions, segments), Transform.ADD_FIRST_ROW
    yield from _layer_norm("embeddings.norm", "embeddings.LayerNorm", dim)
    for layer in range(shape.n_layers):
        ours, theirs = f"layer.{layer}", f"encoder.layer.{layer}"
        attention = [f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")]
        yield (
            f"{ours}.qkv.weight",
            (dim, 3 * dim),
            tuple(f"{part}.weight" for part in attention),
            Transform.STACK,
        )
        yield f"{ours}.qkv.bias", (3 * dim,), tuple(f"{part}.bias" for part in attention), Transform.STACK
        yield from _linear(f"{ours}.attention_out", f"{theirs}.attention.output.dense", dim, dim)
        yield from _layer_norm(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm", dim)
        yield from _linear(f"{ours}.inner", f"{theirs}.intermediate.dense", dim, inner)
        yield from _linear(f"{ours}.outer", f"{theirs}.output.dense", inner, dim)
        yield from _layer_norm(f"{ours}.outer_norm", f"{theirs}.output.LayerNorm", dim)


def _linear(ours: str, theirs: str, n_in: int, n_out: int) -> Iterator[_Row]:
    yield f"{ours}.weight", (n_in, n_out), (f"{theirs}.weight",), Transform.TRANSPOSE
    yield f"{ours}.bias", (n_out,), (f"{theirs}.bias",), Transform.COPY


def _layer_norm(ours: str, theirs: str, dim: int) -> Iterator[_Row]:
    yield f"{ours}.weight", (dim,), (f"{theirs}.weight",), Transform.COPY
    yield f"{ours}.bias", (dim,), (f"{theirs}.bias",), Transform.COPY


def make_tensor(recipe: TensorRecipe, checkpoint: Mapping[str, FloatArray]) -> FloatArray:
    """Make one stored tensor from a checkpoint's tensors; what is missing or does not fit is refused by name."""
    for name in recipe.sources:
        if name not in checkpoint:
            raise MismatchedArtefactError(f"the checkpoint has no tensor {name!r}; it is of another architecture")
    parts = [checkpoint[name] for name in recipe.sources]
    if recipe.transform is Transform.ADD_FIRST_ROW:
        parts = [parts[0] + parts[1][:1]]
    elif recipe.transform is not Transform.COPY:
        parts = [part.T for part in parts]
    array = np.ascontiguousarray(np.concatenate(parts, axis=-1), dtype="<f4")
    if array.shape != recipe.stored.shape:
        raise MismatchedArtefactError(
            f"tensor {recipe.stored.name!r} has shape {array.shape}, the graph expects {recipe.stored.shape}"
        )
    return array


def write_weights(path: Path, recipes: Sequence[TensorRecipe], checkpoint: Mapping[str, FloatArray]) -> None:
    """Write the weight file, tensors at their offsets, zeros between them."""
    with path.open("wb") as file:
        for recipe in recipes:
            file.write(b"\0" * (recipe.stored.offset - file.tell()))
            file.write(make_tensor(recipe, checkpoint).tobytes())
