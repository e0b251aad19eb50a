"""A training run from its configuration to a model: `infembed train`."""

import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import EarlyStoppingCallback, set_seed
from transformers.trainer_callback import TrainerCallback

from evaluation.vector_cache import digest_of
from infembed.artefacts import write_atomically
from infembed.bundle import Tower
from infembed.config import parse_json
from infembed.errors import BadConfigError
from infembed.progress import Report
from training.checkpoint import save_checkpoint
from training.config import TrainConfig
from training.corpus.mini import Part
from training.dev import DevScore, choose_rows, dev_suite, score_dev
from training.encoder import TorchEncoder
from training.frozen_documents import FrozenDocuments, encode_frozen
from training.mixture import Mixture, load_rows, make_mixture
from training.model import InfEmbed, open_model
from training.tracking import MlflowTracking, Tracking
from training.trainer import Batches, PairTrainer

CONFIG_FILE = "config.json"
MODEL = "model"
CURVE_FILE = "curve.jsonl"


class Trained(NamedTuple):
    """What a run made."""

    model: Path
    before: DevScore
    after: DevScore
    n_steps: int
    best_step: int | None
    seconds: float
    is_resumed: bool


def train(
    config: TrainConfig,
    out: Path,
    *,
    cache: Path,
    tracking: Tracking | None = None,
    report: Report = lambda *_: None,
) -> Trained:
    """Train and write `out/model`; a run that was interrupted goes on from its last checkpoint."""
    started = time.monotonic()
    _claim(out, config)
    if (out / MODEL).exists():
        raise BadConfigError(f"{out} holds a finished run; choose another --out, or remove it to train again")
    set_seed(config.seed)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    mixture, dev_rows = _rows(config)
    model = open_model(config.model, keeps_base=config.loss.plain_weight > 0)
    frozen = _frozen_documents(model, mixture, config, cache, report)
    suite = dev_suite(dev_rows)
    before = score_dev(suite, TorchEncoder(model))
    made_from: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "corpora": digest_of([row.model_dump_json() for row in mixture.rows]),
        "rows": mixture.counts(),
    }
    callbacks: list[Any] = [EarlyStoppingCallback(early_stopping_patience=config.steps.patience), _Curve(out, report)]
    if tracking is not None:
        callbacks.append(MlflowTracking(tracking, config))
    trainer = PairTrainer(
        model,
        config,
        out=out,
        mixture=mixture,
        dev=suite,
        frozen=frozen,
        made_from=made_from,
        callbacks=callbacks,
    )
    resume = last_checkpoint(out / "checkpoints")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    after = score_dev(suite, TorchEncoder(model))
    result = {"before": before._asdict(), "after": after._asdict()}
    if trainer.is_world_process_zero():
        save_checkpoint(model, out / MODEL, name=config.name, made_from=made_from | {"dev": result})
    return Trained(
        model=out / MODEL,
        before=before,
        after=after,
        n_steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step,
        seconds=time.monotonic() - started,
        is_resumed=resume is not None,
    )


def last_checkpoint(directory: Path) -> Path | None:
    """Return the last whole checkpoint; the trainer's state is written last, so one without it is not whole."""
    found = [path for path in directory.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _claim(out: Path, config: TrainConfig) -> None:
    """Make the run's directory, or refuse one that another configuration began."""
    path = out / CONFIG_FILE
    if path.is_file():
        if parse_json(TrainConfig, path) != config:
            raise BadConfigError(f"{out} was begun with another configuration; choose another --out, or remove it")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (config.model_dump_json(indent=2) + "\n").encode())


def _rows(config: TrainConfig) -> tuple[Mixture, list[Any]]:
    train_rows = load_rows(config.data.corpora, Part.TRAIN)
    mixture = make_mixture(train_rows.rows, config.data, n_drawn=config.steps.rows_per_step, seed=config.seed)
    dev_rows = choose_rows(load_rows(config.data.dev, Part.DEV).rows, most_of_each_source=config.data.dev_rows)
    return mixture, dev_rows


def _frozen_documents(
    model: InfEmbed, mixture: Mixture, config: TrainConfig, cache: Path, report: Report
) -> FrozenDocuments | None:
    if config.model.tower is not Tower.FROZEN:
        return None
    return encode_frozen(model, _documents(Batches(mixture, config)), cache=cache, report=report)


def _documents(batches: Batches) -> Iterable[str]:
    for step in range(len(batches)):
        yield from batches[step].documents


class _Curve(TrainerCallback):  # type: ignore[misc]
    """Appends what the trainer logs to `curve.jsonl`, and reports progress."""

    def __init__(self, out: Path, report: Report) -> None:
        self._path = out / CURVE_FILE
        self._report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._report("training", state.global_step, state.max_steps)
