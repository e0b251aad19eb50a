"""BERT and what is built like it: MiniLM, E5, BGE, GTE; RoBERTa and XLM-R, whose positions begin after padding's."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Literal, TypeGuard

from pydantic import Field

from infembed.config import Config
from infembed.errors import MismatchedArtefactError
from infembed.vectors import FloatArray
from model_export.weights import TensorRecipe, joined, layer_norm, linear, transposed


class BertShape(Config):
    """The numbers of a BERT-family encoder that decide its graphs; bounds are far beyond any encoder there is."""

    family: Literal["bert"] = "bert"
    n_layers: int = Field(ge=1, le=256)
    n_heads: int = Field(ge=1, le=1024)
    dim: int = Field(ge=1, le=65_536)
    feed_forward_dim: int = Field(ge=1, le=1_048_576)
    vocabulary: int = Field(ge=1, le=10_000_000)
    n_positions: int = Field(ge=1, le=1_048_576, description="those that texts can have")
    first_position: int = Field(
        default=0, ge=0, le=1_048_576, description="row of the position table where texts begin: RoBERTa's kind"
    )
    layer_norm_epsilon: float = Field(gt=0, lt=1)

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    def tensors(self) -> Iterable[TensorRecipe]:
        """Describe all tensors: embeddings first, then layer by layer, query, key and value side by side."""
        dim, inner = self.dim, self.feed_forward_dim
        words, positions, segments = (
            f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
        )
        yield TensorRecipe("embeddings.words", (self.vocabulary, dim), (words,))
        yield TensorRecipe(
            "embeddings.positions",
            (self.n_positions, dim),
            (positions, segments),
            partial(_positions_in_segment_0, first=self.first_position),
        )
        yield from layer_norm("embeddings.norm", "embeddings.LayerNorm", dim)
        for number in range(self.n_layers):
            ours, theirs = f"layer.{number}", f"encoder.layer.{number}"
            attention = [f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")]
            weights, biases = (tuple(f"{part}.{kind}" for part in attention) for kind in ("weight", "bias"))
            yield TensorRecipe(f"{ours}.qkv.weight", (dim, 3 * dim), weights, transposed)
            yield TensorRecipe(f"{ours}.qkv.bias", (3 * dim,), biases, joined)
            yield from linear(f"{ours}.attention_out", f"{theirs}.attention.output.dense", dim, dim)
            yield from layer_norm(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm", dim)
            yield from linear(f"{ours}.inner", f"{theirs}.intermediate.dense", dim, inner)
            yield from linear(f"{ours}.outer", f"{theirs}.output.dense", inner, dim)
            yield from layer_norm(f"{ours}.outer_norm", f"{theirs}.output.LayerNorm", dim)


def bert_values(config: Mapping[str, object]) -> dict[str, object]:
    """Read the numbers of a Hugging Face `config.json`; refuse what these graphs do not describe."""
    if config.get("hidden_act") != "gelu":
        raise MismatchedArtefactError(
            f"the checkpoint has activation {config.get('hidden_act')!r}; graphs of this family have 'gelu'"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise MismatchedArtefactError("the checkpoint's position embeddings are not absolute")
    if config.get("embedding_size", config.get("hidden_size")) != config.get("hidden_size"):
        raise MismatchedArtefactError("the checkpoint's embeddings are narrower than its layers")
    segments = config.get("type_vocab_size", 2)
    if not _is_whole(segments) or segments < 1:
        raise MismatchedArtefactError(f"the checkpoint has {segments!r} segments; graphs of this family read segment 0")
    return {
        "n_layers": config.get("num_hidden_layers"),
        "n_heads": config.get("num_attention_heads"),
        "dim": config.get("hidden_size"),
        "feed_forward_dim": config.get("intermediate_size"),
        "vocabulary": config.get("vocab_size"),
        "n_positions": config.get("max_position_embeddings"),
        "layer_norm_epsilon": config.get("layer_norm_eps", 1e-12),
    }


def roberta_values(config: Mapping[str, object]) -> dict[str, object]:
    """Read a `config.json` of RoBERTa's kind: positions of texts begin after the padding token's id."""
    values = bert_values(config)
    padding, rows = config.get("pad_token_id", 1), values["n_positions"]
    if not _is_whole(padding) or not _is_whole(rows):
        raise MismatchedArtefactError(
            f"config.json has pad_token_id {padding!r} and max_position_embeddings {rows!r}; both must be whole numbers"
        )
    return values | {"first_position": padding + 1, "n_positions": rows - padding - 1}


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _positions_in_segment_0(positions: FloatArray, segments: FloatArray, *, first: int) -> FloatArray:
    """Add the only segment that texts have to the positions that they have."""
    return positions[first:] + segments[:1]
