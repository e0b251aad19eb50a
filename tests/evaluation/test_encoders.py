"""Bundle, checkpoint, sentence-transformers model and service: the same model gives the same scores through each."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.encoders import (
    CutEncoder,
    DeafEncoder,
    directory_digest,
    open_bundle,
    open_checkpoint,
    open_sentence_transformers,
    open_service,
)
from evaluation.report import ModelKind
from infembed.encoder import Encoder
from infembed.errors import BadArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.vectors import FloatArray
from tests.evaluation.served import serving
from tests.fakes import HashingEncoder
from tests.tiny import make_checkpoint, make_tiny_bundle

DOCUMENTS = ["bread dough for a child", "how to fix a bike chain", "water", "the oven and the yeast for an expert"]
QUERIES = [
    TextInput("bread", InputType.QUERY, "for a child, not for an expert"),
    TextInput("bread", InputType.QUERY),
    TextInput("bike chain", InputType.QUERY, "only the cost"),
]


def _scores(encoder: Encoder) -> FloatArray:
    scores: FloatArray = encoder.encode_queries(QUERIES) @ encoder.encode_documents(DOCUMENTS).T
    return scores


def test_a_bundle_is_known_by_its_digests(tiny_bundle: Path) -> None:
    model = open_bundle(tiny_bundle)
    assert model.identity.kind is ModelKind.BUNDLE
    assert model.identity.fusion == "prefix"
    assert model.identity.document_fingerprint == model.encoder.document_fingerprint


@pytest.mark.slow
def test_a_checkpoint_in_torch_scores_as_its_concat_bundle_does(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path, fusion=Fusion.CONCAT)
    in_torch = open_checkpoint(tmp_path / "checkpoint")
    assert (in_torch.identity.kind, in_torch.identity.fusion) == (ModelKind.CHECKPOINT, "concat")
    np.testing.assert_allclose(_scores(in_torch.encoder), _scores(open_bundle(bundle).encoder), atol=1e-4)


@pytest.mark.slow
def test_a_sentence_transformers_directory_keeps_its_own_pooling(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(make_checkpoint(tmp_path / "checkpoint")))
    saved = SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="cls")], device="cpu")
    saved.save(str(tmp_path / "saved"))
    model = open_sentence_transformers(str(tmp_path / "saved"))
    assert model.identity.kind is ModelKind.SENTENCE_TRANSFORMERS
    expected = saved.encode(DOCUMENTS, normalize_embeddings=True)
    np.testing.assert_allclose(model.encoder.encode_documents(DOCUMENTS), expected, atol=1e-5)
    mean = open_checkpoint(tmp_path / "checkpoint").encoder.encode_documents(DOCUMENTS)
    assert np.abs(mean - expected).max() > 0.01


@pytest.mark.slow
def test_a_running_service_scores_as_its_bundle_does(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    with serving(tiny_bundle) as url:
        service = open_service(url)
        np.testing.assert_allclose(_scores(service.encoder), _scores(bundle.encoder), atol=1e-5)
    assert service.identity == bundle.identity.model_copy(update={"kind": ModelKind.URL})


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="no checkpoint at"):
        open_checkpoint(tmp_path)


@pytest.mark.slow
def test_a_directory_that_holds_no_model_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadArtefactError, match="cannot load") as refused:
        open_checkpoint(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_digest_changes_with_any_file_and_not_with_the_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"1")
    first = directory_digest(tmp_path / "one")
    assert directory_digest(tmp_path / "two") == first
    (tmp_path / "two" / "weights").write_bytes(b"2")
    assert directory_digest(tmp_path / "two") != first


def test_a_deaf_model_gives_every_query_as_if_it_had_no_instruction() -> None:
    encoder = HashingEncoder()
    plain = [TextInput(query.text, InputType.QUERY) for query in QUERIES]
    np.testing.assert_array_equal(DeafEncoder(encoder).encode_queries(QUERIES), encoder.encode_queries(plain))
    np.testing.assert_array_equal(DeafEncoder(encoder).encode_documents(DOCUMENTS), encoder.encode_documents(DOCUMENTS))


def test_a_cut_model_gives_the_first_values_at_unit_length_and_its_documents_are_others() -> None:
    encoder = HashingEncoder()
    cut = CutEncoder(encoder, 10)
    for ours, whole in (
        (cut.encode_queries(QUERIES), encoder.encode_queries(QUERIES)),
        (cut.encode_documents(DOCUMENTS), encoder.encode_documents(DOCUMENTS)),
    ):
        assert ours.shape == (len(whole), 10) == (len(whole), cut.dim)
        for row, expected in zip(ours, whole, strict=True):
            np.testing.assert_allclose(row, expected[:10] / np.linalg.norm(expected[:10]), atol=1e-6)
    assert cut.document_fingerprint not in {encoder.document_fingerprint, CutEncoder(encoder, 8).document_fingerprint}


@pytest.mark.parametrize("width", [-1, 0, 1, HashingEncoder().dim, 10_000])
def test_a_width_that_vectors_cannot_be_cut_to_is_refused(width: int) -> None:
    with pytest.raises(BadConfigError, match=f"dimensions is {width}, the model's vectors have {HashingEncoder().dim}"):
        CutEncoder(HashingEncoder(), width)
