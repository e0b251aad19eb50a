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
