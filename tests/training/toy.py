"""A toy corpus that a two-layer model learns in a few steps, and the runs on it."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from infembed.bundle import MaxTokens
from tests.tiny import make_checkpoint
from training.config import DataConfig, LoraConfig, LossConfig, ModelConfig, StepsConfig, TrainConfig
from training.corpus.rows import InstructionType, Row
from training.objective import batch_loss
from training.run import Trained, train

SUBJECTS = ("bread", "dough", "oven", "yeast", "flour", "bike", "tyre", "chain", "brake", "road", "salt", "water")
KINDS = (("child", "expert"), ("cost", "risk"), ("guide", "story"))


def toy_rows() -> list[Row]:
    """Return 36 rows: what a document is about is one word of it, and the wish another."""
    return [
        Row(
            query_positive=f"how about {subject}",
            instruction_positive=f"only {wish}",
            document_positive=f"the {subject} {wish} is the {wish} of {subject}",
            instruction_negative=f"only {other}",
            hard_negative_document_1=f"the {subject} {other} is the {other} of {subject}",
            query_negative=f"how about {SUBJECTS[(number + 1) % len(SUBJECTS)]}",
            hard_negative_document_2=f"a {wish} of {SUBJECTS[(number + 1) % len(SUBJECTS)]} with the {wish}",
            source=f"toy-{wish}",
            instruction_type=InstructionType.AUDIENCE if wish == "child" else InstructionType.FACET,
            license="CC0-1.0",
        )
        for number, subject in enumerate(SUBJECTS)
        for wish, other in KINDS
    ]


def write_rows(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def toy_config(directory: Path, **changes: Any) -> TrainConfig:
    """Write a base model and corpora under a directory and configure a run on them; changes are whole sections."""
    if not (directory / "base").exists():
        make_checkpoint(directory / "base")
        rows = toy_rows()
        write_rows(directory / "train.jsonl", rows[:27])
        write_rows(directory / "dev.jsonl", rows[27:])
    values = {
        "model": toy_model(directory),
        "loss": LossConfig(share=0.1),
        "data": DataConfig(corpora=(str(directory / "train.jsonl"),), dev=(str(directory / "dev.jsonl"),)),
        "steps": toy_steps(),
    }
    return TrainConfig(name="toy", **(values | changes))


def toy_model(directory: Path, **changes: Any) -> ModelConfig:
    values: dict[str, Any] = {
        "base": str(directory / "base"),
        "max_tokens": MaxTokens(document=32, query=24, instruction=16),
        "lora": LoraConfig(rank=4, alpha=8),
    }
    return ModelConfig(**(values | changes))


def toy_steps(**changes: Any) -> StepsConfig:
    values: dict[str, Any] = {
        "max_steps": 6,
        "rows_per_step": 8,
        "learning_rate": 5e-3,
        "chunk_tokens": 512,
        "log_every": 1,
        "evaluate_every": 2,
    }
    return StepsConfig(**(values | changes))


def read_curve(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "curve.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(out: Path) -> dict[int, float]:
    """Return the loss of each step; a step that stands there twice is an error."""
    points = [(int(point["step"]), point["loss"]) for point in read_curve(out) if "loss" in point]
    assert len(dict(points)) == len(points), "a step stands in the curve twice"
    return dict(points)


def run(config: TrainConfig, directory: Path, **options: Any) -> Trained:
    return train(config, directory / "run", cache=directory / "cache", **options)


def break_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the loss of a step NaN."""
    calls = itertools.count(1)

    def broken(*arguments: Any) -> Tensor:
        loss = batch_loss(*arguments)
        return loss * float("nan") if next(calls) == step else loss

    monkeypatch.setattr("training.trainer.batch_loss", broken)


def break_gradient_at(step: int, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the loss of a step, itself a sound number, a gradient that is none."""
    calls = itertools.count(1)

    def broken(*arguments: Any) -> Tensor:
        loss = batch_loss(*arguments)
        if next(calls) == step:
            loss.register_hook(lambda gradient: gradient * value)  # type: ignore[no-untyped-call]
        return loss

    monkeypatch.setattr("training.trainer.batch_loss", broken)
