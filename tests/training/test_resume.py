"""A run that is killed goes on as if nothing had happened."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from evaluation.registry.mlflow_library import MlflowClient
from infembed.bundle import Tower
from infembed.errors import MismatchedArtefactError, StorageError
from tests.tiny import make_checkpoint
from tests.training.toy import losses, read_curve, toy_config, toy_model, toy_rows, toy_steps, write_rows
from training.config import LoraConfig, TrainConfig
from training.dev import DevScore
from training.run import Trained, train
from training.run_directory import STATE_FILE, last_checkpoint
from training.tracking import EXPERIMENT, Tracking

COMMAND = """
import sys
from collections.abc import Callable
from pathlib import Path
from training.config import TrainConfig
from training.run import train
from training.tracking import Tracking
out = Path(sys.argv[1])
config = TrainConfig.model_validate_json((out / "wanted.json").read_text())
train(config, out / "run", cache=out / "cache", tracking=Tracking(sys.argv[2]))
"""


def uri_of(directory: Path) -> str:
    return f"sqlite:///{directory}/mlflow.db"


def kill_after(checkpoint: str, directory: Path, config: TrainConfig) -> None:
    """Train in a process of its own and end it with SIGKILL once a checkpoint is whole."""
    (directory / "wanted.json").write_text(config.model_dump_json(), encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", COMMAND, str(directory), uri_of(directory)])
    state = directory / "run" / "checkpoints" / checkpoint / STATE_FILE
    while not state.is_file():
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("the run ended before it could be killed")
    process.kill()
    assert process.wait() == -9


def go_on(directory: Path, config: TrainConfig, **options: object) -> Trained:
    return train(config, directory / "run", cache=directory / "cache", **options)  # type: ignore[arg-type]


def model_of(trained: Trained) -> dict[str, torch.Tensor]:
    (file,) = trained.model.glob("*.safetensors")
    found: dict[str, torch.Tensor] = load_file(file)
    return found


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sum in one order, here and in the process that is killed: several threads differ in the last bits of a loss."""
    n_threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_killed_run_has_the_loss_curve_of_one_that_was_not(tmp_path: Path) -> None:
    """Dropout is on, so the state of the random numbers is part of what must come back."""
    toy_config(tmp_path)
    model = toy_model(tmp_path, tower=Tower.SHARED, dropout=0.1, lora=LoraConfig(rank=4, alpha=8, dropout=0.1))
    steps = toy_steps(max_steps=30, evaluate_every=4, log_every=3, patience=20)
    config = toy_config(tmp_path, model=model, steps=steps)
    whole = train(config, tmp_path / "whole", cache=tmp_path / "cache")
    kill_after("checkpoint-8", tmp_path, config)
    checkpoint = last_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    half_written = checkpoint.with_name("checkpoint-28")
    shutil.copytree(checkpoint, half_written)
    state = (half_written / STATE_FILE).read_bytes()
    (half_written / STATE_FILE).write_bytes(state[: len(state) // 2])
    resumed = go_on(tmp_path, config, tracking=Tracking(uri_of(tmp_path)))
    assert resumed.is_resumed
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)
    assert [p["step"] for p in read_curve(tmp_path / "run")] == [p["step"] for p in read_curve(tmp_path / "whole")]
    assert resumed.best_step == whole.best_step
    assert list(resumed.after) == pytest.approx(list(whole.after), abs=1e-6)
    for name, tensor in model_of(whole).items():
        # A last bit may decide which way a factor is rounded to half precision.
        torch.testing.assert_close(model_of(resumed)[name], tensor, atol=1e-6, rtol=2**-10)
    client = MlflowClient(tracking_uri=uri_of(tmp_path))
    (tracked,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert tracked.info.status == "FINISHED"
    points = {p.step: p.value for p in client.get_metric_history(tracked.info.run_id, "loss")}
    assert points == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)


class Killed(BaseException):
    """Stands in for a signal where the moment matters more than the means."""


def test_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=2))
    with monkeypatch.context() as patched:
        patched.setattr("training.trainer.save_checkpoint", _killed)
        with pytest.raises(Killed):
            go_on(tmp_path, config)
    assert 2 in losses(tmp_path / "run")
    trained = go_on(tmp_path, config)
    assert not trained.is_resumed
    assert list(losses(tmp_path / "run")) == [1, 2]


def test_run_killed_while_its_model_was_written_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=2, evaluate_every=1))
    with monkeypatch.context() as patched:
        patched.setattr("training.run.save_checkpoint", _killed)
        with pytest.raises(Killed):
            go_on(tmp_path, config)
    before = read_curve(tmp_path / "run")
    trained = go_on(tmp_path, config)
    assert trained.is_resumed
    assert trained.n_steps == 2
    assert read_curve(tmp_path / "run") == before


def other_rows(directory: Path) -> None:
    write_rows(directory / "train.jsonl", toy_rows()[1:27])


def other_dev(directory: Path) -> None:
    write_rows(directory / "dev.jsonl", toy_rows()[28:])


def other_base(directory: Path) -> None:
    shutil.rmtree(directory / "base")
    make_checkpoint(directory / "base", seed=5)


def full(*_: object, **__: object) -> None:
    """Fail as torch does where the disk is full."""
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")


@pytest.mark.parametrize("method", ["_save_optimizer_and_scheduler", "_save_rng_state"])
def test_full_disk_is_one_sentence_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=1))
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, method, full)
        with pytest.raises(StorageError, match=r"checkpoint-1 cannot be written: .*; free some space, and the same"):
            go_on(tmp_path, config)
    assert go_on(tmp_path, config).n_steps == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_rows, r"other inputs than are there now \(corpora, rows\), so the run cannot go on; put them back"),
        (other_dev, r"other inputs than are there now \(judged_on\)"),
        (other_base, "was trained on a base model with digest"),
    ],
)
def test_run_whose_inputs_have_changed_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], reason: str
) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=2, evaluate_every=1))
    with monkeypatch.context() as patched:
        patched.setattr("training.trainer.PairTrainer._rotate_checkpoints", _killed_after(1, tmp_path))
        with pytest.raises(Killed):
            go_on(tmp_path, config)
    before = read_curve(tmp_path / "run")
    change(tmp_path)
    with pytest.raises(MismatchedArtefactError, match=reason):
        go_on(tmp_path, config)
    assert read_curve(tmp_path / "run") == before


def test_run_that_had_only_its_model_to_write_is_finished_in_mlflow_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=1))
    with monkeypatch.context() as patched:
        patched.setattr("training.run.save_checkpoint", _killed)
        with pytest.raises(Killed):
            go_on(tmp_path, config, tracking=Tracking(uri_of(tmp_path)))
    go_on(tmp_path, config, tracking=Tracking(uri_of(tmp_path)))
    client = MlflowClient(tracking_uri=uri_of(tmp_path))
    (tracked,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert tracked.info.status == "FINISHED"


@pytest.mark.slow
def test_early_stopping_counts_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(value: float) -> DevScore:
        return DevScore(p_mrr=value, pairwise=0.0, ndcg=0.0, plain_ndcg=0.0)

    falling = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr("training.run.score_dev", lambda *_: score(0.0))
    monkeypatch.setattr("training.trainer.score_dev", lambda *_: score(next(falling, 0.1)))
    config = toy_config(tmp_path, steps=toy_steps(max_steps=40, evaluate_every=1, patience=3))
    with monkeypatch.context() as patched:
        patched.setattr("training.trainer.PairTrainer._rotate_checkpoints", _killed_after(3, tmp_path))
        with pytest.raises(Killed):
            go_on(tmp_path, config)
    trained = go_on(tmp_path, config)
    assert (trained.n_steps, trained.best_step) == (4, 1)


def test_run_that_was_moved_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=3, evaluate_every=1))
    with monkeypatch.context() as patched:
        patched.setattr("training.run.save_checkpoint", _killed)
        with pytest.raises(Killed):
            go_on(tmp_path, config)
    (tmp_path / "run").rename(tmp_path / "moved")
    trained = train(config, tmp_path / "moved", cache=tmp_path / "cache")
    best = tmp_path / "moved" / "checkpoints" / f"checkpoint-{trained.best_step}" / "weights"
    kept, shipped = (load_file(path / "factors.safetensors") for path in (best, trained.model))
    assert kept.keys() == shipped.keys()
    assert all(torch.equal(kept[name].half().float(), shipped[name]) for name in kept)


def _killed(*_: object, **__: object) -> None:
    raise Killed


def _killed_after(step: int, directory: Path):  # type: ignore[no-untyped-def] # noqa: ANN202
    def rotate(*_: object, **__: object) -> None:
        if (directory / "run" / "checkpoints" / f"checkpoint-{step}").exists():
            raise Killed

    return rotate


def test_state_of_a_checkpoint_is_what_the_trainer_writes_last(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "checkpoint-4"
    (checkpoint / "weights").mkdir(parents=True)
    assert last_checkpoint(tmp_path) is None
    (checkpoint / "weights" / "checkpoint.json").write_text("{}", encoding="utf-8")
    assert last_checkpoint(tmp_path) is None
    (checkpoint / STATE_FILE).write_text(json.dumps({}), encoding="utf-8")
    assert last_checkpoint(tmp_path) == checkpoint
