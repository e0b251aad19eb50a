"""Checkpoints of every family with random weights, as transformers writes them, and a tokenizer that fits."""

from pathlib import Path

import torch
from transformers import AutoModel

from tests.families import tiny_config
from tests.tiny import make_checkpoint

FAMILIES = ("bert", "roberta", "xlm-roberta", "modernbert")


def make_family_checkpoint(family: str, directory: Path) -> Path:
    """Write a random checkpoint; the tokenizer is that of the tiny model."""
    make_checkpoint(directory)
    (directory / "model.safetensors").unlink()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(tiny_config(family, vocabulary=140)).save_pretrained(directory)
    return directory
