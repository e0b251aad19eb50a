"""Checkpoints of others: no code, no pickles, no numbers beyond any encoder's."""

import json
from pathlib import Path

import pytest

from infembed.errors import InfEmbedError, MismatchedArtefactError, UntrustedArtefactError
from model_export.checkpoint_safety import open_safely
from tests.tiny import make_checkpoint


def _with(checkpoint: Path, changes: dict[str, object], file: str = "config.json") -> Path:
    path = checkpoint / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return checkpoint


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_lies_with_a_checkpoint_is_refused(tmp_path: Path, file: str) -> None:
    checkpoint = _with(make_checkpoint(tmp_path), {"auto_map": {"AutoModel": "modeling.Model"}}, file)
    with pytest.raises(UntrustedArtefactError, match=rf"{file} has auto_map"):
        open_safely(checkpoint)


def test_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "theirs")
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(
        UntrustedArtefactError, match=r"pytorch_model.bin, a pickle.*save_pretrained\('.*theirs-safe'\)"
    ):
        open_safely(checkpoint)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "t5"}, "is a 't5' model; InF-Embed exports bert, modernbert, roberta, xlm-roberta"),
        ({"hidden_act": "relu"}, "has activation 'relu'"),
        ({"position_embedding_type": "relative_key"}, "are not absolute"),
        ({"vocab_size": 10**12}, r"vocabulary: .*less than or equal to 10000000 \(got 1000000000000\)"),
        ({"num_hidden_layers": "many"}, "n_layers"),
        ({"hidden_size": None}, "dim"),
        ({"num_attention_heads": 5}, "hidden_size 32, which 5 attention heads do not divide"),
        ({"type_vocab_size": 0}, "has 0 segments"),
        ({"model_type": "xlm-roberta", "pad_token_id": True}, "has pad_token_id True"),
        ({"model_type": "modernbert", "rope_parameters": {}}, "rope_parameters, as transformers 5 writes it"),
    ],
)
def test_what_the_graphs_do_not_describe_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(MismatchedArtefactError, match=words):
        open_safely(_with(make_checkpoint(tmp_path), changes))


@pytest.mark.parametrize("contents", ["{", "[]", "[" * 100_000])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, contents: str) -> None:
    (make_checkpoint(tmp_path) / "config.json").write_text(contents)
    with pytest.raises(InfEmbedError):
        open_safely(tmp_path)


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_attention_that_would_be_downloaded_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UntrustedArtefactError, match=rf"has {key} 'somebody/kernel': transformers would download"):
        open_safely(_with(make_checkpoint(tmp_path), {key: "somebody/kernel"}))


def test_an_adapter_is_refused_since_it_names_another_model(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    (checkpoint / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/model"}')
    with pytest.raises(UntrustedArtefactError, match=r"has adapter_config.json.*merge the adapter"):
        open_safely(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../model.safetensors", "/etc/passwd", 5])
def test_an_index_that_names_a_pickle_or_a_file_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    checkpoint = make_checkpoint(tmp_path)
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UntrustedArtefactError, match="only safetensors files of the same directory are read"):
        open_safely(checkpoint)
