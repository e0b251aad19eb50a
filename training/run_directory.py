"""What lies in the directory of a training run, and how an interrupted run is made ready to go on.

config.json       the configuration that began it
checkpoints/      checkpoint-STEP: the model, and the trainer's state to go on from; the last and the best
curve.jsonl       loss, gradient norm, learning rate and dev scores by step
tracking.json     the run in MLflow
model/            the best checkpoint, once the run is finished
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infembed.artefacts import remove_leftovers, write_atomically
from infembed.config import parse_json
from infembed.errors import BadConfigError, ConflictError
from training.checkpoint import CHECKPOINT_FILE
from training.config import TrainConfig

CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"
CURVE_FILE = "curve.jsonl"
TRACKING_FILE = "tracking.json"
MODEL = "model"

WEIGHTS = "weights"
"""Directory of the model inside a checkpoint of the trainer."""
STATE_FILE = "trainer_state.json"


def require_free(out: Path, config: TrainConfig) -> None:
    """Refuse a directory where another process trains, that another configuration began, or with a finished run."""
    if out.is_dir():
        with _lock(out, fcntl.LOCK_SH):
            _require_ours(out, config)


@contextmanager
def claim(out: Path, config: TrainConfig) -> Iterator[Path | None]:
    """Hold a run's directory: begin the run, or make an interrupted one ready; yields the checkpoint to go on from.

    Whoever else wants to train there is refused as long.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _lock(out, fcntl.LOCK_EX):
        _require_ours(out, config)
        remove_leftovers(out)
        write_atomically(out / CONFIG_FILE, (config.model_dump_json(indent=2) + "\n").encode())
        checkpoint = last_checkpoint(out)
        for path in (out / CHECKPOINTS).glob("checkpoint-*"):
            if not _is_whole(path):
                shutil.rmtree(path)
        _cut_curve(out / CURVE_FILE, last_step=step_of(checkpoint) if checkpoint else 0)
        yield checkpoint


@contextmanager
def _lock(out: Path, kind: int) -> Iterator[None]:
    """Lock the directory itself, so that nothing is left behind; the system lets go when the process ends."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another process trains in {out}; wait for it to end, or choose another --out"
            raise ConflictError(message) from error
        yield
    finally:
        os.close(descriptor)


def _require_ours(out: Path, config: TrainConfig) -> None:
    path = out / CONFIG_FILE
    if path.is_file() and parse_json(TrainConfig, path) != config:
        raise BadConfigError(f"{out} was begun with another configuration; choose another --out, or remove it")
    if (out / MODEL).exists():
        raise BadConfigError(f"{out} holds a finished run; choose another --out, or remove it to train again")


def checkpoint_of(out: Path, step: int) -> Path:
    """Return where the trainer keeps what it needs to go on from a step."""
    return out / CHECKPOINTS / f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def last_checkpoint(out: Path) -> Path | None:
    """Return the last whole checkpoint; the trainer's state is written last, so one without it is not whole."""
    found = [path for path in (out / CHECKPOINTS).glob("checkpoint-*") if _is_whole(path)]
    return max(found, key=step_of, default=None)


def is_over(checkpoint: Path) -> bool:
    """Whether a run had nothing left to do but to write its model: early stopping, or all steps done."""
    state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    stopped: bool = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
    return stopped


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (checkpoint / WEIGHTS / CHECKPOINT_FILE).is_file()


def _cut_curve(path: Path, *, last_step: int) -> None:
    """Drop the points after the checkpoint: they are made again, and nothing stands in the curve twice."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= last_step]
    write_atomically(path, "".join(kept).encode())
