"""A training run from its configuration to a model: `infembed train`."""

import json
import logging
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from transformers import EarlyStoppingCallback, set_seed
from transformers.trainer_callback import TrainerCallback

from evaluation.suites.layout import Suite
from evaluation.vector_cache import digest_of
from infembed.artefacts import sha256_file
from infembed.config import shown
from infembed.errors import BadConfigError, NonFiniteError
from infembed.inputs import InputType, TextInput
from infembed.progress import Report
from training.arguments import training_arguments
from training.checkpoint import CHECKPOINT_FILE, go_on_from, save_checkpoint
from training.config import TrainConfig
from training.corpus.mini import Part
from training.dev import DevScore, choose_rows, dev_suite, score_dev
from training.encoder import TorchEncoder
from training.frozen_documents import FrozenDocuments, encode_frozen
from training.lora import round_factors
from training.mixture import Mixture, load_rows, make_mixture
from training.model import InfEmbed, open_model
from training.run_directory import CURVE_FILE, MODEL, claim, is_over, last_checkpoint, require_free
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
    _require_instructions_fit(model, data.mixture)
    model.to(arguments.device)
    with arguments.main_process_first(local=False):
        resume = claim(out, config) if arguments.process_index == 0 else last_checkpoint(out)
        frozen = _frozen_documents(model, data, config, cache, report)
    encoder = TorchEncoder(model, frozen=frozen)
    before = score_dev(data.dev, encoder)
    made_from: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "start": sha256_file(Path(config.start_from) / CHECKPOINT_FILE) if config.start_from else None,
        "corpora": digest_of([row.model_dump_json() for row in data.mixture.rows]),
        "rows": data.mixture.counts(),
    }
    callbacks: list[Any] = [EarlyStoppingCallback(early_stopping_patience=config.steps.patience), _Curve(out, report)]
    tracker = MlflowTracking(tracking, config, out) if tracking is not None else None
    trainer = PairTrainer(
        model,
        config,
        out=out,
        mixture=data.mixture,
        dev=data.dev,
        encoder=encoder,
        frozen=frozen,
        made_from=made_from,
        callbacks=[*callbacks, tracker] if tracker else callbacks,
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
        save_checkpoint(model, out / MODEL, name=config.name, made_from=made_from | {"dev": result})
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
    chosen = choose_rows(load_rows(config.data.dev, Part.DEV).rows, most_of_each_source=config.data.dev_rows)
    if not any(row.instruction_negative for row in chosen):
        raise BadConfigError(
            f"dev ({', '.join(config.data.dev)}) has {len(chosen)} rows and none with instruction_negative, so p-MRR "
            "cannot be measured; add a corpus that has some"
        )
    return _Data(mixture, dev_suite(chosen), {name: len(found) for name, found in loaded.quarantined.items()})


def _require_instructions_fit(model: InfEmbed, mixture: Mixture) -> None:
    """Refuse instructions that would be cut: half a wish is another wish."""
    texts = list(dict.fromkeys(p.instruction for row in mixture.rows for p in row.pairs() if p.instruction))
    tokenized = model.tokenize([TextInput("a", InputType.QUERY, text) for text in texts])
    cut = [text for text, item in zip(texts, tokenized, strict=True) if item.is_truncated]
    if cut:
        raise BadConfigError(
            f"{len(cut):,} of {len(texts):,} instructions have more than max_tokens.instruction = "
            f"{model.config.max_tokens.instruction} tokens, such as {shown(cut[0])}; raise it, or take these rows out"
        )


def _frozen_documents(
    model: InfEmbed, data: _Data, config: TrainConfig, cache: Path, report: Report
) -> FrozenDocuments | None:
    if not config.model.tower.keeps_documents:
        return None
    wanted = chain(_documents(Batches(data.mixture, config)), data.dev.documents.values())
    return encode_frozen(model, wanted, cache=cache, report=report)


def _documents(batches: Batches) -> Iterable[str]:
    for step in range(len(batches)):
        yield from batches[step].documents


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
