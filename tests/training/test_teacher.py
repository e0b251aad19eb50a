"""A student of another checkpoint."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from infembed.bundle import MaxTokens, Tower
from infembed.errors import BadConfigError, MissingArtefactError
from infembed.inputs import Fusion, TextInput
from tests.training.toy import toy_config, toy_model, toy_rows, toy_steps
from training.checkpoint import load_checkpoint, read_manifest, save_checkpoint
from training.config import LossConfig
from training.frozen_documents import encode_frozen
from training.losses import distillation_loss
from training.model import Encoded, InfEmbed, open_model, query_inputs
from training.pairs import PairBatch, make_batch
from training.run import train
from training.teacher import Teacher, open_teacher

BATCH = make_batch(toy_rows()[:4], share=0.3, seed=0, mined=lambda pair, _: (f"far from {pair.document}",))


def save_teacher(directory: Path, **changes: object) -> Path:
    """Save a model with `concat` whose weights have moved."""
    toy_config(directory)
    torch.manual_seed(1)
    model = open_model(toy_model(directory, **({"fusion": Fusion.CONCAT, "lora": None} | changes)))
    with torch.no_grad():
        for parameter in model.query_tower.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    save_checkpoint(model, directory / "teacher", name="teacher", made_from={})
    return directory / "teacher"


def encode(model: InfEmbed, batch: PairBatch) -> Encoded:
    queries = model.tokenize(query_inputs(batch.own_queries))
    encoded: Encoded = model(queries, model.tokenize([TextInput(t) for t in batch.documents]), chunk_tokens=512)
    return encoded


@pytest.mark.parametrize("tower", [Tower.SHARED, Tower.FROZEN])
def test_teacher_encodes_as_its_checkpoint_without_dropout_or_gradients(tmp_path: Path, tower: Tower) -> None:
    path = save_teacher(tmp_path, tower=tower, dropout=0.5)
    model = open_teacher(path)
    frozen = encode_frozen(model, BATCH.documents, cache=tmp_path / "cache") if tower.keeps_documents else None
    taught = Teacher(model, frozen).encode(BATCH, chunk_tokens=512)
    expected = encode(load_checkpoint(path), BATCH)
    for found, vectors in zip(taught, expected, strict=True):
        torch.testing.assert_close(found, vectors, atol=1e-6, rtol=0)
        assert not found.requires_grad
    assert not any(parameter.requires_grad for parameter in model.parameters())


def documents_by_query(encoded: Encoded) -> Tensor:
    return encoded.queries_QD.detach() @ encoded.documents_ND.detach().T


@pytest.mark.slow
@pytest.mark.parametrize("tower", [Tower.SHARED, Tower.FROZEN])
def test_student_comes_to_score_documents_as_its_teacher_does(tmp_path: Path, tower: Tower) -> None:
    path = save_teacher(tmp_path, tower=tower)
    teacher = documents_by_query(encode(load_checkpoint(path), BATCH))
    far = {}
    for weight in (0.0, 5.0):
        loss = LossConfig(teacher=str(path), teacher_weight=weight) if weight else LossConfig()
        steps = toy_steps(max_steps=15, evaluate_every=15)
        config = toy_config(tmp_path, model=toy_model(tmp_path, tower=tower), loss=loss, steps=steps)
        trained = train(config, tmp_path / f"run-{weight}", cache=tmp_path / "cache")
        student = documents_by_query(encode(load_checkpoint(trained.model), BATCH))
        every = torch.ones(student.shape, dtype=torch.bool)
        far[weight] = float(distillation_loss(student, teacher, every, temperature=0.05).mean())
        assert (read_manifest(trained.model).made_from["teacher"] is None) == (weight == 0)
    assert far[5.0] < 0.7 * far[0.0]


def test_missing_teacher_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    loss = LossConfig(teacher=str(tmp_path / "nowhere"), teacher_weight=1.0)
    config = toy_config(tmp_path, loss=loss)
    with pytest.raises(
        MissingArtefactError, match=r"loss.teacher names .*nowhere, and no checkpoint is there .*train it"
    ):
        train(config, tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_teacher_that_would_cut_instructions_is_refused(tmp_path: Path) -> None:
    short = MaxTokens(document=32, query=24, instruction=3)
    path = save_teacher(tmp_path, fusion=Fusion.PREFIX, max_tokens=short)
    config = toy_config(tmp_path, loss=LossConfig(teacher=str(path), teacher_weight=1.0))
    with pytest.raises(BadConfigError, match=r"have more than the teacher's max_tokens.instruction = 3 tokens"):
        train(config, tmp_path / "run", cache=tmp_path / "cache")


def test_teacher_and_its_weight_are_named_together() -> None:
    with pytest.raises(ValueError, match="teacher is a run and teacher_weight is 0, so nothing is learned from it"):
        LossConfig(teacher="a run")
    with pytest.raises(ValueError, match=r"teacher_weight is 0.5 and no teacher is named; name one"):
        LossConfig(teacher_weight=0.5)
