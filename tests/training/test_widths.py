"""Vectors that are trained to be cut (Matryoshka)."""

from pathlib import Path

import pytest

from infembed.bundle import Tower
from infembed.errors import BadConfigError
from tests.training.toy import losses, toy_config, toy_model, toy_steps
from training.checkpoint import read_manifest
from training.config import LossConfig
from training.losses import Term
from training.run import train


@pytest.mark.slow
@pytest.mark.parametrize("tower", list(Tower))
def test_widths_are_recorded_with_the_model(tmp_path: Path, tower: Tower) -> None:
    toy_config(tmp_path)
    loss = LossConfig(terms=tuple(Term), share=0.2, dimensions=(32, 16, 8))
    steps = toy_steps(max_steps=2, rows_per_step=4, evaluate_every=1)
    config = toy_config(tmp_path, model=toy_model(tmp_path, tower=tower), loss=loss, steps=steps)
    trained = train(config, tmp_path / "run", cache=tmp_path / "cache")
    assert set(losses(tmp_path / "run")) == {1, 2}
    assert read_manifest(trained.model).dimensions == (32, 16, 8)
    assert read_manifest(tmp_path / "run" / "checkpoints" / "checkpoint-2" / "weights").dimensions == (32, 16, 8)


def test_vectors_wider_than_the_model_s_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = toy_config(tmp_path, loss=LossConfig(dimensions=(64, 32)))
    with pytest.raises(BadConfigError, match=r"loss.dimensions asks for vectors of 64, .*base has 32; ask for no more"):
        train(config, tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [((32, 16, 32), "dimensions names one twice: 32, 16, 32"), ((32, 4), "greater than or equal to 8")],
)
def test_widths_that_cannot_work_are_refused(dimensions: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossConfig(dimensions=dimensions)
