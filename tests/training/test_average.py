"""Means of runs: what several runs' factors add to each matrix, averaged, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from infembed.artefacts import describe_file
from infembed.bundle import Tower
from infembed.errors import (
    BadArtefactError,
    BadConfigError,
    MismatchedArtefactError,
    MissingArtefactError,
    NonFiniteError,
)
from tests.tiny import make_checkpoint
from tests.training.test_checkpoint import changed_model, vectors
from training.average import average
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint, read_manifest, save_checkpoint
from training.cli import average as average_command
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
        torch.testing.assert_close(
            matrix, (first[name] + second[name]) / 2, atol=1e-3, rtol=2**-10
        )  # factors are halves


def test_a_smaller_rank_keeps_the_nearest_matrix(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=4, alpha=8))
    two = run(tmp_path, "two", seed=2, lora=LoraConfig(rank=4, alpha=8))
    manifest = average([one, two], tmp_path / "mean", name="mean", rank=3)
    assert manifest.model.lora == LoraConfig(rank=3, alpha=3)
    ours, first, second = added(tmp_path / "mean"), added(one), added(two)
    for name, matrix in ours.items():
        left, values, right = torch.linalg.svd((first[name] + second[name]) / 2, full_matrices=False)
        nearest = left[:, :3] * values[:3] @ right[:3]
        torch.testing.assert_close(matrix, nearest, atol=1e-3, rtol=2**-9)
    average([one, one], tmp_path / "itself", name="itself", rank=4)  # two runs of one subspace lose nothing
    for name, matrix in added(tmp_path / "itself").items():
        torch.testing.assert_close(matrix, first[name], atol=1e-3, rtol=2**-9)


def test_a_rank_above_the_smallest_matrix_loses_nothing(tmp_path: Path) -> None:
    one, two = (
        run(tmp_path, name, seed=i, lora=LoraConfig(rank=20, alpha=20)) for i, name in enumerate(("one", "two"))
    )
    average([one, two], tmp_path / "mean", name="mean", rank=36)  # matrices of the tiny model have 32 rows or columns
    ours, first, second = added(tmp_path / "mean"), added(one), added(two)
    for name, matrix in ours.items():
        torch.testing.assert_close(matrix, (first[name] + second[name]) / 2, atol=1e-3, rtol=2**-9)


@pytest.mark.parametrize("lora", [LoraConfig(rank=4, alpha=8), None])
def test_mean_of_a_run_with_itself_is_the_run(tmp_path: Path, lora: LoraConfig | None) -> None:
    one = run(tmp_path, "one", seed=1, lora=lora, tower=Tower.FROZEN)
    average([one, one, one], tmp_path / "mean", name="mean")
    torch.testing.assert_close(
        vectors(load_checkpoint(tmp_path / "mean")), vectors(load_checkpoint(one)), atol=1e-3, rtol=0
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
    expected = read_manifest(two).model_dump(mode="json")
    assert sources[1] == {key: expected[key] for key in ("name", "model", "made_from", "files")}


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


def altered(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """Write a run's tensors anew, changed, under a manifest that vouches for them."""
    file = path / "factors.safetensors"
    save_file(change(load_file(file)), file)
    manifest = json.loads((path / CHECKPOINT_FILE).read_text(encoding="utf-8"))
    manifest["files"] = [describe_file(path, file.name).model_dump(mode="json")]
    (path / CHECKPOINT_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return path


def test_tensors_that_are_not_those_of_a_run_are_refused(tmp_path: Path) -> None:
    lora = LoraConfig(rank=4, alpha=8)
    one = run(tmp_path, "one", seed=1, lora=lora)
    nan = altered(run(tmp_path, "nan", seed=2, lora=lora), lambda found: {k: t / 0 for k, t in found.items()})
    with pytest.raises(NonFiniteError, match="nan holds values that are no finite numbers"):
        average([one, nan], tmp_path / "mean", name="mean")
    for name, change in {
        "cut": lambda found: {k: t[:2] if "lora_A" in k else t for k, t in found.items()},
        "fewer": lambda found: dict(list(found.items())[1:]),
    }.items():
        other = altered(run(tmp_path, name, seed=2, lora=lora), change)
        with pytest.raises(MismatchedArtefactError, match=f"{name} holds tensors of other names or shapes"):
            average([one, other], tmp_path / "mean", name="mean")
    assert not (tmp_path / "mean").exists()


def test_names_places_and_ranks_that_cannot_be_are_refused(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=300, alpha=300))
    with pytest.raises(BadConfigError, match="ranks 300, 300 add up to 600; give a rank of at most 512"):
        average([one, one], tmp_path / "mean", name="mean")
    for rank in (0, 513, 601):
        with pytest.raises(BadConfigError, match=f"rank is {rank}, the runs' ranks add up to 600; give 1 to 512"):
            average([one, one], tmp_path / "mean", name="mean", rank=rank)
    full = run(tmp_path, "full", seed=1, lora=None)
    with pytest.raises(BadConfigError, match="rank is 4 and the runs hold all weights"):
        average([full, full], tmp_path / "mean", name="mean", rank=4)
    with pytest.raises(BadConfigError, match="one, which is read"):
        average([one, one], one / "mean", name="mean")
    for name in ("", "../up", "a b"):
        with pytest.raises(BadConfigError, match="give --name"):
            average([one, one], tmp_path / "mean", name=name)


def test_the_command_refuses_a_run_that_is_given_twice(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=4, alpha=8))
    with pytest.raises(BadConfigError, match="given twice"):
        average_command([one, tmp_path / "." / "one"], tmp_path / "mean")


def test_a_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    one = run(tmp_path, "one", seed=1, lora=LoraConfig(rank=4, alpha=8))
    with pytest.raises(BadArtefactError, match="exists already"):
        average([one, one], run(tmp_path, "two", seed=2, lora=LoraConfig(rank=4, alpha=8)), name="mean")
