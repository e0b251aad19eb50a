"""Our configuration as arguments of transformers' `Trainer`."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from infembed.errors import BadConfigError
from training.config import Arithmetic, StepsConfig, TrainConfig
from training.run_directory import CHECKPOINTS

BEST = "combined"
"""The dev score that decides which checkpoint is kept."""


def training_arguments(config: TrainConfig, out: Path) -> TrainingArguments:
    """Translate a configuration into transformers' arguments; joins the other ranks where torchrun started several."""
    steps = config.steps
    has_gpu = torch.accelerator.is_available()
    if steps.precision is Arithmetic.FP16 and not has_gpu:
        raise BadConfigError("precision fp16 needs a GPU and there is none here; choose bf16 or fp32")
    arguments = _arguments(config, steps, out, has_gpu=has_gpu)
    if steps.rows_per_step < arguments.world_size:
        raise BadConfigError(
            f"steps.rows_per_step = {steps.rows_per_step} leaves some of {arguments.world_size} processes without a "
            "row; raise it, or start fewer"
        )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are torchrun's; never DataParallel
    return arguments


def _arguments(config: TrainConfig, steps: StepsConfig, out: Path, *, has_gpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=steps.max_steps,
        per_device_train_batch_size=1,
        learning_rate=steps.learning_rate,
        lr_scheduler_type=steps.schedule,
        warmup_steps=round(steps.warmup_share * steps.max_steps),
        weight_decay=steps.weight_decay,
        max_grad_norm=steps.max_gradient_norm,
        use_cpu=not has_gpu,
        bf16=steps.precision is Arithmetic.BF16,
        fp16=steps.precision is Arithmetic.FP16,
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
        restore_callback_states_from_checkpoint=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        label_names=[],
    )
