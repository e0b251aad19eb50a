"""Pooling, prompts and longest text of a plain checkpoint come from what sentence-transformers wrote beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

from infembed.bundle import Pooling
from infembed.encoder import OnnxEncoder
from infembed.errors import BadArtefactError, BadConfigError, InfEmbedError
from infembed.inputs import Fusion, InputType, TextInput
from model_export.blueprint import read_shape
from model_export.export import export
from model_export.plain_checkpoint import plain_config
from tests.tiny import DEMO_TEXT, make_checkpoint
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
    with pytest.raises(BadArtefactError, match="ends in a module .Dense."):
        _config(checkpoint)


@pytest.mark.parametrize(("mode", "pooling"), [("cls", Pooling.CLS), ("mean", Pooling.MEAN), (["cls"], Pooling.CLS)])
def test_what_sentence_transformers_5_writes_is_read_too(tmp_path: Path, mode: object, pooling: Pooling) -> None:
    """It names the pooling in one word and leaves the length with the tokenizer."""
    checkpoint = make_checkpoint(tmp_path)
    _write(checkpoint, "1_Pooling/config.json", {"pooling_mode": mode, "include_prompt": True})
    _write(checkpoint, "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    _write(checkpoint, "tokenizer_config.json", {"model_max_length": 40})
    config = _config(checkpoint)
    assert config.pooling is pooling
    assert config.max_tokens.document == 40


def test_a_tokenizer_without_a_limit_gives_none(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    _write(checkpoint, "tokenizer_config.json", {"model_max_length": 1000000000000000019884624838656})
    assert _config(checkpoint).max_tokens.document == 64


def test_prompts_left_out_of_the_pooling_are_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    _write(checkpoint, "1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "include_prompt": False})
    assert _config(checkpoint).pooling is Pooling.MEAN  # without prompts there is nothing to leave out
    _write(checkpoint, "config_sentence_transformers.json", {"prompts": {"query": "ask: "}})
    with pytest.raises(BadArtefactError, match="leaves prompts out of the pooling"):
        _config(checkpoint)


def test_more_tokens_than_the_model_has_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="--max-tokens 65 is more than the 64 positions"):
        _config(make_checkpoint(tmp_path), max_tokens=65)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("sentence_bert_config.json", {"max_seq_length": "abc"}),
        ("sentence_bert_config.json", {"max_seq_length": 1}),
        ("sentence_bert_config.json", [1]),
        ("tokenizer_config.json", {"model_max_length": -1}),
        ("modules.json", {"a": 1}),
        ("modules.json", ["Transformer"]),
        ("modules.json", 5),
        ("config_sentence_transformers.json", {"prompts": ["query"]}),
        ("config_sentence_transformers.json", {"prompts": {"query": 5}}),
        ("1_Pooling/config.json", [1]),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "cls"]}),
        ("1_Pooling/config.json", {"pooling_mode": {"mean": 1}}),
        ("1_Pooling/config.json", {"pooling_mode": 5}),
    ],
)
def test_a_file_in_a_form_that_nobody_writes_is_refused_in_one_sentence(
    tmp_path: Path, name: str, contents: object
) -> None:
    checkpoint = make_checkpoint(tmp_path)
    _write(checkpoint, name, contents)
    with pytest.raises(InfEmbedError, match=name) as caught:
        _config(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_a_bundle_gives_the_vectors_of_the_model_that_sentence_transformers_saved(tmp_path: Path, mode: str) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
    from sentence_transformers.sentence_transformer.modules import Transformer

    reader = Transformer(str(make_checkpoint(tmp_path / "base")), max_seq_length=24)
    model = SentenceTransformer(modules=[reader, PoolingModule(32, mode)], prompts={"query": "how "}, device="cpu")
    model.save(str(tmp_path / "saved"))
    export(tmp_path / "saved", tmp_path / "bundle")
    encoder = OnnxEncoder.open(tmp_path / "bundle")
    texts = ["bread", "the bike brake is a risk", DEMO_TEXT]
    wanted = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode_documents(texts), wanted, atol=3e-6)
    wanted = model.encode(texts, prompt_name="query", normalize_embeddings=True, show_progress_bar=False)
    found = encoder.encode_queries([TextInput(text, InputType.QUERY) for text in texts])
    np.testing.assert_allclose(found, wanted, atol=3e-6)
