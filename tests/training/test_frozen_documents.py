"""Vectors of frozen documents on disk: whose they are, and what becomes of damaged files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.toy import toy_config, toy_model
from training.encoder import TorchEncoder
from training.frozen_documents import encode_frozen
from training.model import InfEmbed, open_model

DOCUMENTS = ["bread and dough", "the bike"]


def vectors(model: InfEmbed, cache: Path) -> Tensor:
    return encode_frozen(model, DOCUMENTS, cache=cache)[DOCUMENTS]


def test_documents_are_encoded_once(tmp_path: Path) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path))
    reported: list[int] = []
    for _ in range(2):
        encode_frozen(model, DOCUMENTS, cache=tmp_path / "cache", report=lambda _, done, __: reported.append(done))
    assert reported == [2]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_something_else(path: Path) -> None:
    np.savez(path, other=np.zeros(3))


def _not_numbers(path: Path) -> None:
    with np.load(path) as data:
        keys, found = data["keys"], data["vectors"]
    np.savez(path, keys=keys, vectors=found * np.nan)


@pytest.mark.parametrize("damage", [_cut, _empty, _of_something_else, _not_numbers])
def test_what_is_damaged_is_encoded_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    toy_config(tmp_path)
    model = open_model(toy_model(tmp_path))
    expected = vectors(model, tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("*.npz")
    damage(path)
    assert torch.equal(vectors(model, tmp_path / "cache"), expected)


def test_the_same_weights_with_another_tokenizer_or_architecture_have_their_own(tmp_path: Path) -> None:
    toy_config(tmp_path)
    seen = [vectors(open_model(toy_model(tmp_path)), tmp_path / "cache")]
    for file, change in (("tokenizer.json", _swap_words), ("config.json", _other_activation)):
        path = tmp_path / "base" / file
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
        model = open_model(toy_model(tmp_path))
        found = vectors(model, tmp_path / "cache")
        own = torch.from_numpy(TorchEncoder(model).encode_documents(DOCUMENTS))
        torch.testing.assert_close(found, own, atol=1e-6, rtol=0)
        assert all(float((found - other).abs().max()) > 1e-3 for other in seen)
        seen.append(found)


def _swap_words(text: str) -> str:
    tokenizer = json.loads(text)
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["bread"], vocabulary["yeast"] = vocabulary["yeast"], vocabulary["bread"]
    return json.dumps(tokenizer)


def _other_activation(text: str) -> str:
    return json.dumps({**json.loads(text), "hidden_act": "relu"})
