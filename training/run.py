"""A training run from its configuration to a model: `infembed train`."""

import json
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import EarlyStoppingCallback, set_seed
from transformers.trainer_callback import TrainerCallback

from evaluation.suites.layout import Suite
from evaluation.vector_cache import digest_of
from infembed.artefacts import sha256_file
from infembed.bundle import Tower
from infembed.errors import BadConfigError, NonFiniteError
from infembed.progress import Report
from training.arguments import training_arguments
from training.checkpoint import CHECKPOINT_FILE, go_on_from, require_same_origin, save_checkpoint
from training.config import LossConfig, TrainConfig
from training.corpus.mini import Part
from training.corpus.rows import Row
from training.dev import DevScore, choose_rows, dev_suite, score_dev
from training.encoder import TorchEncoder
from training.frozen_documents import FrozenDocuments, encode_frozen
from training.lora import round_factors
from training.mining import mine
from training.mixture import Mixture, load_rows, make_mixture
from training.model import InfEmbed, open_model
from training.pairs import PickMined, none_mined, pairs_of
from training.room import require_instructions_fit, require_widths_fit
from training.run_directory import CURVE_FILE, MODEL, WEIGHTS, claim, is_over, last_checkpoint, require_free
from training.teacher import Teacher, open_teacher
from training.tracking import MlflowTracking, Tracking, points
from training.trainer import Batches, PairTrainer


class Trained(NamedTuple):
    """What a run made."""

    model: Path
    before: DevScore
    after: DevScore
    n_steps: int
    best_step: int | None
    seconds: float
    is_resumed: bool
    n_left_out: dict[str, int]
    """Unreadable rows by corpus."""


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
    require_free(out, config)
    set_seed(config.seed)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    data = _data(config)
    arguments = training_arguments(config, out)
    model = open_model(config.model, keeps_base=config.loss.plain_weight > 0)
    if config.start_from is not None:
        go_on_from(model, Path(config.start_from))
    require_instructions_fit(model, data.mixture, config.loss)
    require_widths_fit(model, config.loss)
    teaching = _teaching_model(config.loss, data.mixture)
    model.to(arguments.device)
    batches = Batches(data.mixture, config)
    with arguments.main_process_first(local=False):
        frozen = _frozen_documents(model, batches, cache, report, also=data.dev.documents.values())
        teacher = _teacher(teaching, batches, cache, report, device=arguments.device)
        mined = _mined(model, batches, data.mixture, config, frozen=frozen, cache=cache, report=report)
    encoder = TorchEncoder(model, frozen=frozen)
    before = score_dev(data.dev, encoder)
    made_from: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "start": _digest(config.start_from),
        "teacher": _digest(config.loss.teacher),
        "corpora": digest_of([row.model_dump_json() for row in data.mixture.rows]),
        "rows": data.mixture.counts(),
        "judged_on": data.dev.digest,
    }
    tracker = MlflowTracking(tracking, config, out) if tracking is not None else None
    if checkpoint := last_checkpoint(out):
        require_same_origin(model, checkpoint / WEIGHTS, made_from)
    with ExitStack() as held:
        # Nothing was written to `out` before this; until the end no other process may.
        with arguments.main_process_first(local=False):
            is_first = arguments.process_index == 0
            resume = held.enter_context(claim(out, config)) if is_first else last_checkpoint(out)
        trainer = PairTrainer(
            model,
            config,
            out=out,
            mixture=data.mixture,
            dev=data.dev,
            encoder=encoder,
            frozen=frozen,
            mined=mined,
            teacher=teacher,
            made_from=made_from,
            callbacks=_callbacks(config, out, report, tracker),
            arguments=arguments,
        )
        try:
            if resume and is_over(resume):
                trainer.load_best_of(resume)
            else:
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except NonFiniteError:
            if tracker:
                tracker.close("FAILED")
            raise
        round_factors(model.query_tower)
        after = score_dev(data.dev, encoder)
        result = {"before": before._asdict(), "after": after._asdict()}
        if trainer.is_world_process_zero():
            save_checkpoint(
                model,
                out / MODEL,
                name=config.name,
                made_from=made_from | {"dev": result},
                dimensions=config.loss.dimensions,
            )
            if tracker:
                tracker.close("FINISHED")
        trainer.accelerator.end_training()
    return Trained(
        model=out / MODEL,
        before=before,
        after=after,
        n_steps=trainer.state.global_step,
        best_step=trainer.state.best_global_step,
        seconds=time.monotonic() - started,
        is_resumed=resume is not None,
        n_left_out=data.n_left_out,
    )


class _Data(NamedTuple):
    """What a run is trained and judged on; `n_left_out` counts unreadable rows by corpus."""

    mixture: Mixture
    dev: Suite
    n_left_out: dict[str, int]


def _data(config: TrainConfig) -> _Data:
    loaded = load_rows(config.data.corpora, Part.TRAIN)
    mixture = make_mixture(loaded.rows, config.data, n_drawn=config.steps.rows_per_step, seed=config.seed)
    _require_instructions(config, mixture)
    judged = load_rows(config.data.dev, Part.DEV)
    chosen = choose_rows(judged.rows, most_of_each_source=config.data.dev_rows)
    _require_unseen(mixture, chosen)
    dev = dev_suite(chosen) if chosen else None
    if dev is None or not dev.changed_queries:
        raise BadConfigError(
            f"dev ({', '.join(config.data.dev)}) has {len(chosen)} rows and none with an instruction_negative that "
            "withdraws its document, so p-MRR cannot be measured; add a corpus that has some"
        )
    quarantined = loaded.quarantined | judged.quarantined
    n_left_out = {name: len(found) for name, found in quarantined.items()}
    return _Data(mixture, dev, n_left_out)


def _require_instructions(config: TrainConfig, mixture: Mixture) -> None:
    if any(row.instruction_positive for row in mixture.rows):
        return
    if config.model.tower is Tower.STEERED or config.loss.uses_variants:
        wants = "tower steered" if config.model.tower is Tower.STEERED else "term I"
        raise BadConfigError(
            f"{wants} learns from instructions, and none of the {len(mixture.rows):,} rows has one; add a corpus that "
            "has some, or do without it"
        )


def _require_unseen(mixture: Mixture, dev: Sequence[Row]) -> None:
    """Refuse dev rows that are trained on, by whatever path they came; dev would prefer what learned them by heart."""
    if both := len(set(mixture.rows) & set(dev)):
        raise BadConfigError(
            f"{both:,} of {len(dev):,} rows of dev are rows of data.corpora as well; take them out of one of the two"
        )


def _teaching_model(config: LossConfig, mixture: Mixture) -> InfEmbed | None:
    if config.teacher is None:
        return None
    model = open_teacher(Path(config.teacher))
    require_instructions_fit(model, mixture, config, key="the teacher's ")
    return model


def _teacher(
    model: InfEmbed | None, batches: Batches, cache: Path, report: Report, *, device: torch.device
) -> Teacher | None:
    if model is None:
        return None
    return Teacher(model.to(device), _frozen_documents(model, batches, cache, report))


def _frozen_documents(
    model: InfEmbed, batches: Batches, cache: Path, report: Report, *, also: Iterable[str] = ()
) -> FrozenDocuments | None:
    """Look up or encode the documents that the run draws, and others that it scores."""
    if not model.config.tower.keeps_documents:
        return None
    return encode_frozen(model, [*(pair.document for pair in batches.drawn), *also], cache=cache, report=report)


def _mined(
    model: InfEmbed,
    batches: Batches,
    mixture: Mixture,
    config: TrainConfig,
    *,
    frozen: FrozenDocuments | None,
    cache: Path,
    report: Report,
) -> PickMined:
    """Mine for the pairs that the run draws, among their documents; every row of the mixture may call one right."""
    if not config.data.mined:
        return none_mined
    known = [p for row in mixture.rows for p in pairs_of(row, with_instructions=config.loss.with_instructions)]
    return mine(
        model,
        batches.drawn,
        known,
        n=config.data.mined,
        most=config.data.mined_most,
        start=_digest(config.start_from),
        frozen=frozen,
        cache=cache,
        report=report,
    ).pick


def _digest(checkpoint: str | None) -> str | None:
    return sha256_file(Path(checkpoint) / CHECKPOINT_FILE) if checkpoint is not None else None


def _callbacks(config: TrainConfig, out: Path, report: Report, tracker: MlflowTracking | None) -> list[Any]:
    stopping = EarlyStoppingCallback(early_stopping_patience=config.steps.patience)
    return [stopping, _Curve(out, report), *([tracker] if tracker else [])]


class _Curve(TrainerCallback):  # type: ignore[misc]
    """Appends what the trainer logs to `curve.jsonl`, and reports progress."""

    def __init__(self, out: Path, report: Report) -> None:
        self._path = out / CURVE_FILE
        self._report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if state.is_world_process_zero and (point := points(logs)):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **point}) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._report("training", state.global_step, state.max_steps)
