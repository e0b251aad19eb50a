"""ModernBERT: rotary positions, layers that see a window of tokens, gated feed-forward, no biases."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from infembed.config import Config
from infembed.errors import MismatchedArtefactError
from infembed.vectors import FloatArray
from model_export.weights import TensorRecipe, layer_norm, linear


class ModernBertShape(Config):
    """The numbers of a ModernBERT encoder that decide its graphs."""

    family: Literal["modernbert"]
    n_layers: int = Field(ge=1, le=256)
    n_heads: int = Field(ge=1, le=1024)
    dim: int = Field(ge=1, le=65_536)
    feed_forward_dim: int = Field(ge=1, le=1_048_576)
    vocabulary: int = Field(ge=1, le=10_000_000)
    n_positions: int = Field(ge=1, le=1_048_576)
    layer_norm_epsilon: float = Field(gt=0, lt=1)
    global_every: int = Field(ge=1, le=256, description="layers 0, n, 2n, ... see all tokens, the others a window")
    window: int = Field(ge=1, le=1_048_576, description="tokens that a local layer sees, half on each side")
    global_theta: float = Field(gt=0, description="base of the rotary frequencies")
    local_theta: float = Field(gt=0)

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    def is_global(self, layer: int) -> bool:
        """Whether a layer sees all tokens."""
        return layer % self.global_every == 0

    def tensors(self) -> Iterable[TensorRecipe]:
        """Describe all tensors: words, rotary tables, then layer by layer."""
        dim, inner = self.dim, self.feed_forward_dim
        yield TensorRecipe("embeddings.words", (self.vocabulary, dim), ("embeddings.tok_embeddings.weight",))
        yield from layer_norm("embeddings.norm", "embeddings.norm", dim, has_bias=False)
        for reach, theta in (("global", self.global_theta), ("local", self.local_theta)):
            for name, wave in (("cos", np.cos), ("sin", np.sin)):
                table = (self.n_positions, self.head_dim // 2)
                yield TensorRecipe(f"rotary.{reach}.{name}", table, (), partial(_rotary, wave, theta, table))
        for number in range(self.n_layers):
            ours, theirs = f"layer.{number}", f"layers.{number}"
            if number:
                yield from layer_norm(f"{ours}.attention_norm", f"{theirs}.attn_norm", dim, has_bias=False)
            yield from linear(f"{ours}.qkv", f"{theirs}.attn.Wqkv", dim, 3 * dim, has_bias=False)
            yield from linear(f"{ours}.attention_out", f"{theirs}.attn.Wo", dim, dim, has_bias=False)
            yield from layer_norm(f"{ours}.outer_norm", f"{theirs}.mlp_norm", dim, has_bias=False)
            yield from linear(f"{ours}.inner", f"{theirs}.mlp.Wi", dim, 2 * inner, has_bias=False)
            yield from linear(f"{ours}.outer", f"{theirs}.mlp.Wo", inner, dim, has_bias=False)
        yield from layer_norm("final_norm", "final_norm", dim, has_bias=False)


def modernbert_values(config: Mapping[str, object]) -> dict[str, object]:
    """Read the numbers of a Hugging Face `config.json`; refuse what these graphs do not describe."""
    for key, wanted in (("attention_bias", False), ("mlp_bias", False), ("norm_bias", False), ("rope_scaling", None)):
        if config.get(key, wanted) != wanted:
            raise MismatchedArtefactError(f"the checkpoint has {key} = {config[key]!r}; ModernBERT's graphs have none")
    if config.get("hidden_activation", "gelu") != "gelu":
        raise MismatchedArtefactError(
            f"the checkpoint has activation {config['hidden_activation']!r}; graphs of this family have 'gelu'"
        )
    for key in ("rope_parameters", "layer_types"):
        if key in config:
            raise MismatchedArtefactError(
                f"config.json has {key}, as transformers 5 writes it; the installed one would read it as if it were "
                "not there: save the model with transformers 4"
            )
    theta = config.get("global_rope_theta", 160_000.0)
    local = config.get("local_rope_theta", 10_000.0)
    return {
        "family": "modernbert",
        "n_layers": config.get("num_hidden_layers"),
        "n_heads": config.get("num_attention_heads"),
        "dim": config.get("hidden_size"),
        "feed_forward_dim": config.get("intermediate_size"),
        "vocabulary": config.get("vocab_size"),
        "n_positions": config.get("max_position_embeddings"),
        "layer_norm_epsilon": config.get("norm_eps", 1e-5),
        "global_every": config.get("global_attn_every_n_layers", 3),
        "window": config.get("local_attention", 128),
        "global_theta": theta,
        "local_theta": theta if local is None else local,
    }


def _rotary(wave: Callable[[FloatArray], FloatArray], theta: float, table: tuple[int, int]) -> FloatArray:
    """Tabulate the rotation of each position, (positions, half a head); angles rounded to float32 as PyTorch does."""
    n_positions, n_frequencies = table
    frequencies = (1.0 / theta ** (np.arange(n_frequencies) / n_frequencies)).astype(np.float32)
    angles = np.arange(n_positions, dtype=np.float32)[:, None] * frequencies
    return wave(angles.astype(np.float64)).astype(np.float32)
