"""A checkpoint opened by sentence-transformers."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from evaluation.encoders import open_checkpoint, open_sentence_transformers
from evaluation.mteb_encoder import MtebEncoder
from infembed.bundle import Tower
from infembed.errors import BadInputError
from infembed.inputs import Fusion, InputType, TextInput
from tests.training.test_checkpoint import changed_model, save
from training.encoder import TorchEncoder
from training.model import InfEmbed
from training.sentence_transformers_module import export_sentence_transformers

DOCUMENTS = ["bread dough", "the bike brake is a risk", "a"]
WISHES = [("how about bread", "only child"), ("how about bread", None), ("bike", "only the cost of it")]


def queries(wishes: list[tuple[str, str | None]]) -> list[TextInput]:
    return [TextInput(text, InputType.QUERY, instruction) for text, instruction in wishes]


def given(text: str, instruction: str | None) -> dict[str, str]:
    return {"text": text} | ({"instruction": instruction} if instruction else {})


@pytest.fixture(scope="module", params=[(Fusion.PREFIX, Tower.FROZEN), (Fusion.ATTENTION, Tower.SHARED)], ids=str)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[InfEmbed, Path]:
    directory = tmp_path_factory.mktemp("st")
    fusion, tower = request.param
    made = changed_model(directory, fusion=fusion, tower=tower)
    export_sentence_transformers(save(made, directory / "saved"), directory / "exported")
    return made, directory / "exported"


def opened(path: Path) -> Any:
    return SentenceTransformer(str(path), trust_remote_code=True, device="cpu")


def test_vectors_are_those_of_our_own_encoder(model: tuple[InfEmbed, Path]) -> None:
    made, path = model
    theirs, ours = opened(path), TorchEncoder(made)
    wanted = ours.encode_queries(queries(WISHES))
    np.testing.assert_allclose(theirs.encode_query([given(*wish) for wish in WISHES]), wanted, atol=1e-5)
    np.testing.assert_allclose(theirs.encode_document(DOCUMENTS), ours.encode_documents(DOCUMENTS), atol=1e-5)
    np.testing.assert_allclose(theirs.encode_query("how about bread"), wanted[1], atol=1e-5)
    np.testing.assert_allclose(theirs.encode_query("how about bread", prompt="only child"), wanted[0], atol=1e-5)
    assert theirs.get_embedding_dimension() == made.dim


def test_small_batches_do_not_change_the_order(model: tuple[InfEmbed, Path]) -> None:
    made, path = model
    texts = [given(*wish) for wish in WISHES * 5]
    found = opened(path).encode_query(texts, batch_size=2)
    np.testing.assert_allclose(found, TorchEncoder(made).encode_queries(queries(WISHES * 5)), atol=1e-5)


def test_model_saved_by_sentence_transformers_opens_again(model: tuple[InfEmbed, Path], tmp_path: Path) -> None:
    _, path = model
    before = opened(path)
    before.save_pretrained(str(tmp_path / "again"), create_model_card=False)
    after = opened(tmp_path / "again")
    np.testing.assert_allclose(after.encode_document(DOCUMENTS), before.encode_document(DOCUMENTS), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode_document(["bread"], prompt="only child"), "a document takes no instruction"),
        (lambda m: m.encode_query([{"query": "bread"}]), "an input has the keys query; give text, and instruction"),
    ],
)
def test_what_cannot_be_meant_is_refused(model: tuple[InfEmbed, Path], call: Any, message: str) -> None:
    with pytest.raises((BadInputError, ValueError), match=message):
        call(opened(model[1]))


def test_mteb_and_evaluate_give_it_instructions_apart_from_queries(model: tuple[InfEmbed, Path]) -> None:
    made, path = model
    scored = open_sentence_transformers(str(path))
    assert scored.identity.fusion == made.config.fusion
    wanted = TorchEncoder(made).encode_queries(queries(WISHES))
    np.testing.assert_allclose(scored.encoder.encode_queries(queries(WISHES)), wanted, atol=1e-5)
    assert MtebEncoder.of(scored).model is scored.encoder


def test_evaluate_reads_a_checkpoint_with_its_own_fusion(model: tuple[InfEmbed, Path]) -> None:
    made, path = model
    scored = open_checkpoint(path / "checkpoint")
    assert scored.identity.fusion == made.config.fusion
    wanted = TorchEncoder(made).encode_queries(queries(WISHES))
    np.testing.assert_allclose(scored.encoder.encode_queries(queries(WISHES)), wanted, atol=1e-6)


def test_exported_directory_names_its_module(model: tuple[InfEmbed, Path]) -> None:
    (module,) = json.loads((model[1] / "modules.json").read_text(encoding="utf-8"))
    assert module["type"] == "training.sentence_transformers_module.InfEmbedModule"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(model[1])
