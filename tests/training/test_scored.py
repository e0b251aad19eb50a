"""A checkpoint as evaluation reads it: the reference that a bundle must agree with."""

from pathlib import Path

import pytest

from evaluation.contest import hold_contest
from evaluation.costs import parity
from evaluation.encoders import open_checkpoint
from evaluation.policy import Policy
from infembed.bundle import MaxTokens, Tower
from infembed.encoder import OnnxEncoder
from infembed.errors import BadInputError, MissingArtefactError
from infembed.inputs import Fusion, InputType, TextInput
from tests.tiny import make_tiny_bundle
from training.checkpoint import save_checkpoint
from training.config import LoraConfig, ModelConfig
from training.model import open_model

QUERIES = [
    TextInput("bread dough in the oven", InputType.QUERY, "only for a child"),
    TextInput("bike brake", InputType.QUERY, "cost and not risk, or how a chain is about the road"),
    TextInput("how about water", InputType.QUERY),
]


def checkpoint_of_bundle(directory: Path, fusion: Fusion, *, tower: Tower = Tower.SHARED) -> Path:
    """Save the base model that a tiny bundle was made of as a checkpoint."""
    config = ModelConfig(
        base=str(directory / "checkpoint"),
        fusion=fusion,
        tower=tower,
        max_tokens=MaxTokens(document=48, query=32, instruction=32),
        lora=LoraConfig() if tower is Tower.STEERED else None,
    )
    save_checkpoint(open_model(config), directory / f"saved-{tower}", name="tiny", made_from={})
    return directory / f"saved-{tower}"


@pytest.mark.parametrize("fusion", list(Fusion))
def test_bundle_agrees_with_the_checkpoint_it_was_made_of(tmp_path: Path, fusion: Fusion) -> None:
    bundle = OnnxEncoder.open(make_tiny_bundle(tmp_path, fusion=fusion))
    reference = open_checkpoint(checkpoint_of_bundle(tmp_path, fusion)).encoder
    found = parity(bundle.encode_queries(QUERIES), reference, QUERIES)
    assert found is not None
    assert found < 1e-5


def test_documents_of_a_frozen_tower_are_known_by_the_base_model(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path)
    fingerprints = {}
    for tower in Tower:
        scored = open_checkpoint(checkpoint_of_bundle(tmp_path, Fusion.PREFIX, tower=tower))
        assert scored.identity.document_fingerprint == scored.encoder.document_fingerprint
        fingerprints[tower] = scored.identity.document_fingerprint
    assert fingerprints[Tower.FROZEN] == fingerprints[Tower.STEERED] != fingerprints[Tower.SHARED]


@pytest.mark.parametrize("tower", [Tower.SHARED, Tower.FROZEN])
def test_another_tokenizer_gives_other_documents(tmp_path: Path, tower: Tower) -> None:
    """Cached vectors of documents are found by the fingerprint, so it must follow all that decides them."""
    make_tiny_bundle(tmp_path)
    saved = checkpoint_of_bundle(tmp_path, Fusion.PREFIX, tower=tower)
    before = open_checkpoint(saved).identity.document_fingerprint
    assert open_checkpoint(saved).identity.document_fingerprint == before
    tokenizer = tmp_path / "checkpoint" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"lowercase": true', '"lowercase": false'))
    assert open_checkpoint(saved).identity.document_fingerprint != before


def test_directory_without_any_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match=r"no checkpoint at .*: expected the model of a training run"):
        open_checkpoint(tmp_path)


def test_parity_of_reports_cannot_be_measured(tmp_path: Path) -> None:
    champion, candidate = (tmp_path / name for name in ("champion.json", "candidate.json"))
    for path in (champion, candidate):
        path.write_text("{}", encoding="utf-8")
    with pytest.raises(BadInputError, match="--candidate-checkpoint is compared with the candidate's bundle; give two"):
        hold_contest(
            champion,
            candidate,
            Policy(),
            suites=[],
            data=None,
            cache=None,
            report=lambda *_: None,
            on_suites=lambda _: None,
            candidate_checkpoint=tmp_path,
        )
