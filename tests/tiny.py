"""A tiny real model: random weights, a real tokenizer, the real graphs and the real export."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from infembed.artefacts import new_directory, sha256_file
from infembed.bundle import Bundle, MaxTokens, Pooling, Precision, Tower
from infembed.inputs import Fusion
from model_export.assemble import DEFAULT_PRECISIONS, BaseWeights
from model_export.blueprint import Blueprint, read_shape
from model_export.bundle_writer import MadeFrom, Model, write_bundle
from model_export.factors import merge
from model_export.recipe import write_recipe
from model_export.weights import Towers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
DEMO_TEXT = (
    "the a is of to in for and not no only on with about how why what when bread dough oven yeast flour water "
    "salt bike tyre chain brake road child adult expert beginner guide list story cost price cause cure risk"
)
WORDS = sorted(set(DEMO_TEXT.split()))

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


def make_checkpoint(directory: Path, *, seed: int = 0) -> Path:
    """Write a random two-layer BERT with its tokenizer, as `transformers` reads and writes them."""
    directory.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-"
    pieces = [*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (directory / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")
    config = {**CONFIG, "vocab_size": len(vocabulary)}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(_random_tensors(config, np.random.default_rng(seed)), directory / "model.safetensors")
    return directory


def make_tiny_bundle(
    directory: Path, *, fusion: Fusion = Fusion.PREFIX, seed: int = 0, dimensions: Sequence[int] = ()
) -> Path:
    """Write a checkpoint and the bundle exported from it; returns the bundle's path."""
    checkpoint = make_checkpoint(directory / "checkpoint", seed=seed)
    return make_bundle(checkpoint, directory, fusion=fusion, precisions=DEFAULT_PRECISIONS, dimensions=dimensions)


def make_precise_bundle(directory: Path, *, fusion: Fusion = Fusion.PREFIX) -> Path:
    """Write a tiny bundle that has every precision; recipe and checkpoint lie beside it."""
    checkpoint = make_checkpoint(directory / "checkpoint")
    bundle = make_bundle(checkpoint, directory, fusion=fusion, precisions=tuple(Precision))
    make_recipe(checkpoint, directory, bundle)
    return bundle


def base_weights(checkpoint: Path) -> BaseWeights:
    """Name a checkpoint as the base of a recipe; no package carries it."""
    return BaseWeights(
        package="absent",
        requirement="absent==0",
        directory=".",
        model_sha256=sha256_file(checkpoint / "model.safetensors"),
        tokenizer_sha256=sha256_file(checkpoint / "tokenizer.json"),
        licence="none",
    )


@dataclass(frozen=True)
class Trained:
    """Factors of a query tower."""

    factors: dict[str, np.ndarray]
    scale: float
    tower: Tower


def make_bundle(
    checkpoint: Path,
    directory: Path,
    *,
    fusion: Fusion,
    trained: Trained | None = None,
    precisions: Sequence[Precision] = (),
    dimensions: Sequence[int] = (),
) -> Path:
    """Write the bundle of a checkpoint, with factors or without, as an export does but for the parity check."""
    blueprint = Blueprint(
        shape=read_shape(checkpoint),
        fusion=fusion,
        tower=trained.tower if trained else Tower.SHARED,
        has_factors=trained is not None,
        pooling=Pooling.MEAN,
        max_tokens=MaxTokens(document=48, query=32, instruction=32),
    )
    base = load_file(checkpoint / "model.safetensors")
    model = Model(
        name=f"tiny-{fusion}",
        towers=Towers(base, merge(base, trained.factors, scale=trained.scale) if trained else None),
        tokenizer=(checkpoint / "tokenizer.json").read_bytes(),
        made_from=MadeFrom(blueprint=blueprint, factor_scale=trained.scale if trained else None),
        dimensions=dimensions,
    )
    with new_directory(directory / "bundle") as bundle:
        write_bundle(bundle, model, precisions)
    return directory / "bundle"


def make_recipe(checkpoint: Path, directory: Path, bundle: Path, *, trained: Trained | None = None) -> Path:
    """Write the recipe of a bundle."""
    write_recipe(
        directory / "recipe",
        [Bundle.open(bundle)],
        base=base_weights(checkpoint),
        weights=checkpoint,
        factors=trained.factors if trained else None,
    )
    return directory / "recipe"


def _random_tensors(config: dict[str, object], rng: np.random.Generator) -> dict[str, np.ndarray]:
    def number(key: str) -> int:
        value = config[key]
        assert isinstance(value, int)
        return value

    dim, inner = number("hidden_size"), number("intermediate_size")
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (number("vocab_size"), dim),
        "embeddings.position_embeddings.weight": (number("max_position_embeddings"), dim),
        "embeddings.token_type_embeddings.weight": (number("type_vocab_size"), dim),
    }
    linears = {
        "attention.self.query": (dim, dim),
        "attention.self.key": (dim, dim),
        "attention.self.value": (dim, dim),
        "attention.output.dense": (dim, dim),
        "intermediate.dense": (inner, dim),
        "output.dense": (dim, inner),
    }
    for layer in range(number("num_hidden_layers")):
        for name, shape in linears.items():
            shapes[f"encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
    tensors = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(number("num_hidden_layers")):
        norms += [f"encoder.layer.{layer}.{part}.LayerNorm" for part in ("attention.output", "output")]
    for name in norms:
        tensors[f"{name}.weight"] = rng.uniform(0.5, 1.5, dim).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(0, 0.1, dim).astype(np.float32)
    return tensors
