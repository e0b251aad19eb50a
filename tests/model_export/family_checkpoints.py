"""Checkpoints of every family with random weights, as transformers writes them, and a tokenizer that fits."""

from pathlib import Path

import torch
from transformers import AutoModel, BertConfig, ModernBertConfig, RobertaConfig, XLMRobertaConfig

from tests.tiny import make_checkpoint

FAMILIES = ("bert", "roberta", "xlm-roberta", "modernbert")
WINDOW = 8
_SIZES = {
    "vocab_size": 140,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,
}


def make_family_checkpoint(family: str, directory: Path) -> Path:
    """Write a random checkpoint; the tokenizer is that of the tiny model."""
    make_checkpoint(directory)
    (directory / "model.safetensors").unlink()
    config = {
        "bert": lambda: BertConfig(**_SIZES),
        "roberta": lambda: RobertaConfig(**_SIZES, pad_token_id=1, type_vocab_size=1),
        "xlm-roberta": lambda: XLMRobertaConfig(**_SIZES, pad_token_id=3, type_vocab_size=1),
        "modernbert": lambda: ModernBertConfig(
            **_SIZES,
            initializer_cutoff_factor=3.0,
            global_attn_every_n_layers=2,
            local_attention=WINDOW,
            reference_compile=False,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
        ),
    }[family]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(directory)
    return directory
