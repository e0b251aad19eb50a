"""The training loop: transformers' `Trainer` (docs/decisions/0007), with pairs instead of padded tensors.

batch of a step -> tokens -> unit vectors -> loss; every so often a dev score and a checkpoint to go on from.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from evaluation.suites.layout import Suite
from infembed.artefacts import write_atomically
from infembed.errors import NonFiniteError, StorageError
from infembed.inputs import TextInput
from training.arguments import BEST, training_arguments
from training.checkpoint import restore, save_checkpoint
from training.config import TrainConfig
from training.corpus.rows import AnchoredPair
from training.dev import score_dev
from training.encoder import TorchEncoder
from training.frozen_documents import FrozenDocuments
from training.mixture import Mixture
from training.model import Encoded, InfEmbed, query_inputs
from training.objective import batch_loss
from training.pairs import PairBatch, PickMined, make_batch, none_mined
from training.run_directory import STATE_FILE, WEIGHTS, checkpoint_of
from training.teacher import Teacher

_BATCH = "batch"


class Batches(Dataset[PairBatch]):
    """The batch of every step, this rank's share of it; a pure function of the seed and the step."""

    def __init__(
        self,
        mixture: Mixture,
        config: TrainConfig,
        *,
        rank: int = 0,
        n_ranks: int = 1,
        mined: PickMined = none_mined,
    ) -> None:
        self._mixture = mixture
        self._config = config
        self._mined = mined
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
        return make_batch(own, share=share, seed=step, with_instructions=loss.with_instructions, mined=self._mined)

    @cached_property
    def drawn(self) -> tuple[AnchoredPair, ...]:
        """Every pair of every step, each once."""
        return tuple(dict.fromkeys(pair for step in range(len(self)) for pair in self[step].pairs))


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
        encoder: TorchEncoder,
        frozen: FrozenDocuments | None,
        mined: PickMined,
        teacher: Teacher | None,
        made_from: dict[str, Any],
        callbacks: list[Any],
        arguments: TrainingArguments | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments or training_arguments(config, out),
            callbacks=[*callbacks, _Points()],
            train_dataset=Batches(mixture, config),
            eval_dataset=Batches(mixture, config),  # it asks for one; `evaluate` scores the dev suite
        )
        self.remove_callback(PrinterCallback)
        self._config = config
        self._out = out
        self._mixture = mixture
        self._dev = dev
        self._encoder = encoder
        self._frozen = frozen
        self._mined = mined
        self._teacher = teacher
        self._made_from = made_from
        self._losses: list[Tensor] = []
        self.can_return_loss = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        batches = Batches(
            self._mixture,
            self._config,
            rank=self.args.process_index,
            n_ranks=self.args.world_size,
            mined=self._mined,
        )
        return DataLoader(batches, batch_size=1, shuffle=False, collate_fn=_unpack)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, PairBatch], return_outputs: bool = False, **_: Any
    ) -> Tensor:
        batch = inputs[_BATCH]
        weight = self._config.loss.plain_weight
        plain = list(dict.fromkeys((pair.query, None) for pair in batch.pairs)) if weight else []
        encoded = self._encode(model, batch, plain)
        n_own = len(batch.queries)
        own = encoded._replace(queries_QD=encoded.queries_QD[:n_own])
        loss = batch_loss(batch, own, self._config.loss, self._taught(batch))
        if plain:
            loss = loss + weight * self._moved(encoded.queries_QD[n_own:], plain)
        if not torch.isfinite(loss):
            raise NonFiniteError(self._write_offenders(batch, "loss"))
        self._losses.append(loss.detach())
        return loss

    def training_step(self, model: nn.Module, inputs: dict[str, PairBatch], *more: Any, **options: Any) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, *more, **options)
        if not self._has_finite_gradients():
            raise NonFiniteError(self._write_offenders(inputs[_BATCH], "gradient"))
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the mean loss since the last point as it is; the trainer would round it to four digits."""
        if "loss" in logs and self._losses:
            mean: Tensor = self.accelerator.reduce(torch.stack(self._losses).mean(), reduction="mean")
            logs = {**logs, "loss": float(mean)}
            self._losses.clear()
        super().log(logs, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the dev suite; the trainer keeps the checkpoint with the best `combined`."""
        score = score_dev(self._dev, self._encoder)
        metrics = {f"eval_{name}": value for name, value in score._asdict().items()} | {f"eval_{BEST}": score.combined}
        self.log(metrics)
        control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control: TrainerControl = control
        return metrics

    def _encode(self, model: nn.Module, batch: PairBatch, plain: Sequence[tuple[str, str | None]]) -> Encoded:
        """Encode the batch's queries, then those of `plain`, and its documents, in one call of the wrapped model."""
        own = self._model
        queries = own.tokenize(query_inputs([*batch.queries, *plain]))
        documents = [] if self._frozen else own.tokenize([TextInput(text) for text in batch.documents])
        steps = self._config.steps
        encoded: Encoded = model(queries, documents, chunk_tokens=steps.chunk_tokens, recomputes=steps.recomputes)
        if self._frozen is None:
            return encoded
        return encoded._replace(documents_ND=self._frozen[batch.documents].to(encoded.queries_QD.device))

    def _taught(self, batch: PairBatch) -> Encoded | None:
        if self._teacher is None:
            return None
        with self.accelerator.autocast():
            return self._teacher.encode(batch, chunk_tokens=self._config.steps.chunk_tokens)

    def _moved(self, found_QD: Tensor, plain: Sequence[tuple[str, str | None]]) -> Tensor:
        """Return how far plain queries have moved from the base model's vectors of them: 1 - cosine, the mean."""
        tokens = self._model.tokenize(query_inputs(plain))
        base = self._model.encode_base_queries(tokens, chunk_tokens=self._config.steps.chunk_tokens)
        return 1 - (found_QD * base).sum(dim=1).mean()

    def _has_finite_gradients(self) -> bool:
        """Look before the optimizer does: one NaN would spoil every weight.

        With fp16 it is the scaler's to skip such steps, as long as it can still scale the loss down.
        """
        scaler = self.accelerator.scaler
        if scaler is not None and scaler.get_scale() > 1:
            return True
        gradients = [parameter.grad for parameter in self._model.parameters() if parameter.grad is not None]
        return bool(torch.isfinite(nn.utils.get_total_norm(gradients)))

    @property
    def _model(self) -> InfEmbed:
        assert isinstance(self.model, InfEmbed), "the trainer was made with one"
        return self.model

    def _write_offenders(self, batch: PairBatch, what: str) -> str:
        step = self.state.global_step + 1
        rank = f"-rank-{self.args.process_index}" if self.args.world_size > 1 else ""
        path = self._out / f"not-finite-step-{step}{rank}.jsonl"
        lines = [json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in batch.pairs]
        write_atomically(path, "".join(lines).encode())
        return (
            f"the {what} of step {step} is not a finite number; its {len(batch.pairs)} pairs are in {path}. Lower "
            "learning_rate, or train in fp32 or bf16, and start again in another --out"
        )

    # -- checkpoints: what transformers would write does not know of towers and factors ----------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            self._model,
            directory / WEIGHTS,
            name=self._config.name,
            made_from=self._made_from,
            dimensions=self._config.loss.dimensions,
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        with _writing(output_dir):
            super()._save_optimizer_and_scheduler(output_dir)

    def _save_rng_state(self, output_dir: str) -> None:
        with _writing(output_dir):
            super()._save_rng_state(output_dir)

    def _rotate_checkpoints(self, use_mtime: bool = False, output_dir: str | None = None) -> None:
        """Remove all but the best and the last; their steps say which is older, file times may not."""
        super()._rotate_checkpoints(use_mtime=False, output_dir=output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore(self._model, Path(resume_from_checkpoint) / WEIGHTS)

    def _load_best_model(self) -> None:
        if best := self.state.best_global_step:
            restore(self._model, checkpoint_of(self._out, best) / WEIGHTS)

    def load_best_of(self, checkpoint: Path) -> None:
        """Take the best weights of a run that was over at `checkpoint` and was killed before it said so."""
        self.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
        self._load_best_model()


class _Points(TrainerCallback):  # type: ignore[misc]
    """Makes every checkpoint a point of the curve and of dev, the last one too, so that a resumed run has the same."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.best_global_step:  # the run may have been moved since
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        if control.should_evaluate:
            control.should_log = True
        return control


@contextmanager
def _writing(directory: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch words a full disk in its own way
        raise StorageError(
            f"{directory} cannot be written: {' '.join(str(error).split())[:300]}; free some space, and the same "
            "command goes on from the last whole checkpoint"
        ) from error


def _unpack(batches: list[PairBatch]) -> dict[str, PairBatch]:
    (batch,) = batches
    return {_BATCH: batch}
