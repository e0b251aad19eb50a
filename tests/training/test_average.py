"""Means of runs: what several runs' factors add to each matrix, averaged, and nothing else."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from infembed.bundle import Tower
from infembed.errors import BadArtefactError, BadConfigError, MismatchedArtefactError, MissingArtefactError
from tests.tiny import make_checkpoint
from tests.training.test_checkpoint import changed_model, vectors
from training.average import average
from training.checkpoint import load_checkpoint, read_manifest, save_checkpoint
from training.config import LoraConfig
from training.model import InfEmbed


def run(directory: Path, name: str, *, seed: int, **changes: object) -> Path:
    """Save a run whose weights are its own; return where."""
    model = changed_model(directory, seed=seed, **changes)
    save_checkpoint(model, directory / name, name=name, made_from={})
    return directory / name


def added(path: Path) -> dict[str, Tensor]:
    """Return what a run's factors add to each matrix, by the letter: alpha / rank * B A."""
    model = load_checkpoint(path)
    lora = model.config.lora
    assert lora is not None
    found = {}
    for name, module in model.query_tower.encoder.named_modules():
        if hasattr(module, "lora_A"):
            assert isinstance(module.lora_A, nn.ModuleDict)
            up, down = module.lora_B["default"].weight, module.lora_A["default"].weight
            found[name] = (lora.alpha / lora.rank) * (up @ down).detach()
    return found


def test_mean_of_factors_adds_the_mean_of_what_each_adds(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=4, alpha=8), tower=Tower.STEERED)
    two = run(tmp_path, "two", seed=2, lora=LoraConfig(rank=2, alpha=3), tower=Tower.STEERED)
    manifest = average([one, two], tmp_path / "mean", name="mean")
    assert manifest.model.lora == LoraConfig(rank=6, alpha=6)
    ours, first, second = added(tmp_path / "mean"), added(one), added(two)
    assert ours.keys() == first.keys() != set()
    for name, matrix in ours.items():
        torch.testing.assert_close(matrix, (first[name] + second[name]) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("lora", [LoraConfig(rank=4, alpha=8), None])
def test_mean_of_a_run_with_itself_is_the_run(tmp_path: Path, lora: LoraConfig | None) -> None:
    one = run(tmp_path, "one", seed=1, lora=lora, tower=Tower.FROZEN)
    average([one, one, one], tmp_path / "mean", name="mean")
    torch.testing.assert_close(
        vectors(load_checkpoint(tmp_path / "mean")), vectors(load_checkpoint(one)), atol=1e-5, rtol=0
    )


def test_mean_of_all_weights(tmp_path: Path) -> None:
    one, two = (run(tmp_path, name, seed=i, lora=None, tower=Tower.SHARED) for i, name in enumerate(("one", "two")))
    average([one, two], tmp_path / "mean", name="mean")
    models: list[InfEmbed] = [load_checkpoint(path) for path in (tmp_path / "mean", one, two)]
    ours, first, second = (model.query_tower.encoder.state_dict() for model in models)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2, atol=1e-6, rtol=0)


def test_it_says_what_it_is_the_mean_of(tmp_path: Path) -> None:
    one, two = (run(tmp_path, name, seed=i, lora=LoraConfig(rank=4, alpha=8)) for i, name in enumerate(("one", "two")))
    average([one, two], tmp_path / "mean", name="both")
    manifest = read_manifest(tmp_path / "mean")
    assert manifest.name == "both"
    sources = manifest.made_from["mean_of"]
    assert isinstance(sources, list)
    assert sources[1] == {"name": "two", "files": [read_manifest(two).files[0].model_dump(mode="json")]}


def test_runs_that_mean_different_things_are_refused(tmp_path: Path) -> None:
    lora = LoraConfig(rank=4, alpha=8)
    one = run(tmp_path, "one", seed=1, lora=lora, tower=Tower.FROZEN)
    with pytest.raises(MismatchedArtefactError, match=r"steered has model.tower = steered, .*one has frozen"):
        average([one, run(tmp_path, "steered", seed=1, lora=lora, tower=Tower.STEERED)], tmp_path / "mean", name="mean")
    with pytest.raises(MismatchedArtefactError, match=r"whole has factors = False"):
        average([one, run(tmp_path, "whole", seed=1, lora=None, tower=Tower.FROZEN)], tmp_path / "mean", name="mean")
    with pytest.raises(BadConfigError, match="1 checkpoint is no mean"):
        average([one], tmp_path / "mean", name="mean")
    with pytest.raises(MissingArtefactError, match="no checkpoint at"):
        average([one, tmp_path / "absent"], tmp_path / "mean", name="mean")
    assert not (tmp_path / "mean").exists()


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=4, alpha=8))
    other = tmp_path / "other"
    other.mkdir()
    two = run(other, "two", seed=1, lora=LoraConfig(rank=4, alpha=8))
    average([one, two], tmp_path / "alike", name="alike")  # the same weights elsewhere are the same base
    make_checkpoint(other / "base", seed=5)
    three = run(other, "three", seed=1, lora=LoraConfig(rank=4, alpha=8))
    with pytest.raises(MismatchedArtefactError, match="base_fingerprint"):
        average([one, three], tmp_path / "mean", name="mean")


def test_a_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=4, alpha=8))
    with pytest.raises(BadArtefactError, match="exists already"):
        average([one, one], one, name="mean")
