"""Pooling, prompts and longest text of a plain checkpoint come from what sentence-transformers wrote beside it."""

import json
from pathlib import Path

import pytest

from infembed.bundle import Pooling
from infembed.errors import BadArtefactError
from infembed.inputs import Fusion, InputType
from model_export.blueprint import read_shape
from model_export.plain_checkpoint import plain_config
from tests.tiny import make_checkpoint
from training.config import ModelConfig


def _write(checkpoint: Path, name: str, values: object) -> None:
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_text(json.dumps(values))


def _config(checkpoint: Path, max_tokens: int | None = None) -> ModelConfig:
    return plain_config(checkpoint, read_shape(checkpoint), fusion=Fusion.PREFIX, max_tokens=max_tokens)


def test_a_bare_checkpoint_is_read_with_mean_pooling_and_no_prompts(tmp_path: Path) -> None:
    config = _config(make_checkpoint(tmp_path))
    assert config.pooling is Pooling.MEAN
    assert config.prompts == {}
    assert config.max_tokens.document == 64
    assert config.max_tokens.query == config.max_tokens.instruction == 32


def test_what_the_model_was_made_for_is_kept(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    _write(checkpoint, "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    _write(checkpoint, "sentence_bert_config.json", {"max_seq_length": 40})
    prompts = {"query": "query: ", "passage": "passage: ", "clustering": "c: "}
    _write(checkpoint, "config_sentence_transformers.json", {"prompts": prompts})
    config = _config(checkpoint)
    assert config.pooling is Pooling.CLS
    assert config.prompts == {InputType.QUERY: "query: ", InputType.DOCUMENT: "passage: "}
    assert config.max_tokens.document == 40
    assert _config(checkpoint, max_tokens=20).max_tokens.instruction == 20


def test_a_pooling_or_a_module_without_graphs_is_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    _write(checkpoint, "1_Pooling/config.json", {"pooling_mode_max_tokens": True})
    with pytest.raises(BadArtefactError, match="pools the mean or the first token"):
        _config(checkpoint)
    _write(checkpoint, "modules.json", [{"type": "sentence_transformers.models.Dense"}])
    with pytest.raises(BadArtefactError, match="ends in a module Dense"):
        _config(checkpoint)
