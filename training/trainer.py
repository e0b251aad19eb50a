"""The training loop: transformers' `Trainer` (docs/decisions/0007), with pairs instead of padded tensors.

batch of a step -> tokens -> unit vectors -> loss; every so often a dev score and a checkpoint to go on from.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerControl, TrainingArguments

from evaluation.suites.layout import Suite
from infembed.bundle import Tower
from infembed.errors import NonFiniteError
from infembed.inputs import TextInput
from training.checkpoint import CHECKPOINT_FILE, restore, save_checkpoint
from training.config import Precision, StepsConfig, TrainConfig
from training.dev import DevScore, score_dev
from training.encoder import TorchEncoder
from training.frozen_documents import FrozenDocuments
from training.mixture import Mixture
from training.model import Encoded, InfEmbed, query_inputs
from training.objective import batch_loss
from training.pairs import PairBatch, make_batch

BEST = "combined"
_BATCH = "batch"
WEIGHTS = "weights"
"""Directory of the model inside a checkpoint of the trainer."""


class Batches(Dataset[PairBatch]):
    """The batch of every step, this rank's share of it; a pure function of the seed and the step."""

    def __init__(self, mixture: Mixture, config: TrainConfig, *, rank: int = 0, n_ranks: int = 1) -> None:
        self._mixture = mixture
        self._config = config
        self._rank = rank
        self._n_ranks = n_ranks

    def __len__(self) -> int:
        return self._config.steps.max_steps

    def __getitem__(self, step: int) -> PairBatch:
        if step >= len(self):
            raise IndexError(step)
        rows = self._mixture.draw(step, self._config.steps.rows_per_step)
        loss = self._config.loss
        share = loss.share if loss.uses_variants else 0.0
        own = rows[self._rank :: self._n_ranks]
        return make_batch(own, share=share, seed=step, with_instructions=loss.with_instructions)


class PairTrainer(Trainer):  # type: ignore[misc]
    """Trains an `InfEmbed` on batches of pairs; `frozen` are the documents' vectors where their tower is frozen."""

    def __init__(
        self,
        model: InfEmbed,
        config: TrainConfig,
        *,
        out: Path,
        mixture: Mixture,
        dev: Suite,
        frozen: FrozenDocuments | None,
        made_from: dict[str, Any],
        callbacks: list[Any],
        on_score: Callable[[int, DevScore], None] = lambda _step, _score: None,
    ) -> None:
        super().__init__(
            model=model,
            args=training_arguments(config, out),
            callbacks=callbacks,
            train_dataset=Batches(mixture, config),
            eval_dataset=Batches(mixture, config),  # it asks for one; `evaluate` scores the dev suite
        )
        self._config = config
        self._mixture = mixture
        self._dev = dev
        self._encoder = TorchEncoder(model)
        self._frozen = frozen
        self._made_from = made_from
        self._on_score = on_score
        self.can_return_loss = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        batches = Batches(self._mixture, self._config, rank=self.args.process_index, n_ranks=self.args.world_size)
        return DataLoader(batches, batch_size=1, shuffle=False, collate_fn=_unpack)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, PairBatch], return_outputs: bool = False, **_: Any
    ) -> Tensor:
        batch = inputs[_BATCH]
        loss = batch_loss(batch, self._encode(model, batch), self._config.loss)
        if self._config.loss.plain_weight:
            loss = loss + self._config.loss.plain_weight * self._plain_loss(model, batch)
        if not torch.isfinite(loss):
            raise NonFiniteError(self._write_offenders(batch))
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the dev suite; the trainer keeps the checkpoint with the best `combined`."""
        score = score_dev(self._dev, self._encoder)
        metrics = {f"eval_{name}": value for name, value in score._asdict().items()} | {f"eval_{BEST}": score.combined}
        self.log(metrics)
        self._on_score(self.state.global_step, score)
        control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control: TrainerControl = control
        return metrics

    def _encode(self, model: nn.Module, batch: PairBatch) -> Encoded:
        own = self._model
        queries = own.tokenize(query_inputs(batch.queries))
        documents = [] if self._frozen else own.tokenize([TextInput(text) for text in batch.documents])
        steps = self._config.steps
        encoded: Encoded = model(queries, documents, chunk_tokens=steps.chunk_tokens, recomputes=steps.recomputes)
        if self._frozen is None:
            return encoded
        return encoded._replace(documents_ND=self._frozen[batch.documents].to(encoded.queries_QD.device))

    def _plain_loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        """Return how far the batch's queries, without instructions, have moved from the base model's: 1 - cosine."""
        plain = list(dict.fromkeys((pair.query, None) for pair in batch.pairs))
        tokens = self._model.tokenize(query_inputs(plain))
        steps = self._config.steps
        found: Encoded = model(tokens, [], chunk_tokens=steps.chunk_tokens, recomputes=steps.recomputes)
        base = self._model.encode_base_queries(tokens, chunk_tokens=steps.chunk_tokens)
        return 1 - (found.queries_QD * base).sum(dim=1).mean()

    @property
    def _model(self) -> InfEmbed:
        assert isinstance(self.model, InfEmbed), "the trainer was made with one"
        return self.model

    def _write_offenders(self, batch: PairBatch) -> str:
        path = Path(self.args.output_dir) / f"not-finite-step-{self.state.global_step}.jsonl"
        lines = [json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in batch.pairs]
        path.write_text("".join(lines), encoding="utf-8")
        return (
            f"the loss of step {self.state.global_step} is not a finite number; its {len(batch.pairs)} pairs are in "
            f"{path}. Lower learning_rate, or train in fp32 or bf16"
        )

    # -- checkpoints: what transformers would write does not know of towers and factors ----------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self._model, directory / WEIGHTS, name=self._config.name, made_from=self._made_from)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore(self._model, Path(resume_from_checkpoint) / WEIGHTS)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if best is not None and (Path(best) / WEIGHTS / CHECKPOINT_FILE).is_file():
            restore(self._model, Path(best) / WEIGHTS)


def training_arguments(config: TrainConfig, out: Path) -> TrainingArguments:
    """Translate a configuration into transformers' arguments."""
    steps: StepsConfig = config.steps
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps.max_steps,
        per_device_train_batch_size=1,
        learning_rate=steps.learning_rate,
        lr_scheduler_type=steps.schedule,
        warmup_steps=round(steps.warmup_share * steps.max_steps),
        weight_decay=steps.weight_decay,
        max_grad_norm=steps.max_gradient_norm,
        use_cpu=not torch.cuda.is_available(),
        bf16=steps.precision is Precision.BF16,
        fp16=steps.precision is Precision.FP16,
        seed=config.seed,
        logging_steps=steps.log_every,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=steps.evaluate_every,
        save_strategy="steps",
        save_steps=steps.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=BEST,
        greater_is_better=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=config.model.tower is Tower.FROZEN,
        label_names=[],
    )


def _unpack(batches: list[PairBatch]) -> dict[str, PairBatch]:
    (batch,) = batches
    return {_BATCH: batch}
