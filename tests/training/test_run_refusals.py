"""Runs that are refused before the first step, in one sentence, with nothing written."""

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from infembed.bundle import Tower
from infembed.errors import BadConfigError, ConflictError
from infembed.inputs import Fusion
from tests.training.toy import SUBJECTS, run, toy_config, toy_model, toy_rows, toy_steps, write_rows
from training.config import Arithmetic, DataConfig, LossConfig, TrainConfig
from training.corpus.rows import InstructionType, Row
from training.losses import Term
from training.run_directory import claim
from training.tracking import Tracking


@pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 works on this machine")
def test_fp16_without_a_gpu_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(precision=Arithmetic.FP16))
    with pytest.raises(BadConfigError, match="precision fp16 needs a GPU .*; choose bf16 or fp32"):
        run(config, tmp_path)
    assert not (tmp_path / "run").exists()


PLAIN_ROWS = [
    Row(
        query_positive=f"how about {subject}",
        document_positive=f"the {subject} of bread",
        query_negative=f"why {subject}",
        hard_negative_document_2=f"{subject} is a risk",
        source="plain",
        instruction_type=InstructionType.PLAIN,
        license="CC0-1.0",
    )
    for subject in SUBJECTS
]


@pytest.mark.parametrize(
    ("tower", "terms", "wants"), [(Tower.STEERED, (Term.P,), "tower steered"), (Tower.FROZEN, (Term.I,), "term I")]
)
def test_rows_without_any_instruction_are_refused_where_instructions_are_all_that_is_learned(
    tmp_path: Path, tower: Tower, terms: tuple[Term, ...], wants: str
) -> None:
    toy_config(tmp_path)
    write_rows(tmp_path / "train.jsonl", PLAIN_ROWS)
    config = toy_config(tmp_path, model=toy_model(tmp_path, tower=tower), loss=LossConfig(terms=terms))
    with pytest.raises(BadConfigError, match=f"{wants} learns from instructions, and none of the 12 rows has one"):
        run(config, tmp_path)
    assert not (tmp_path / "run").exists()


def test_dev_rows_are_not_trained_on_under_another_name(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    write_rows(tmp_path / "dev.jsonl", toy_rows()[25:])
    with pytest.raises(BadConfigError, match=r"2 of 11 rows of dev are rows of data.corpora as well; take them out"):
        run(config, tmp_path)


def test_dev_whose_documents_stay_right_under_the_other_instruction_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    row = toy_rows()[30]
    wishes = {"instruction_positive": row.instruction_negative, "instruction_negative": row.instruction_positive}
    write_rows(tmp_path / "dev.jsonl", [row, row.model_copy(update=wishes)])
    with pytest.raises(BadConfigError, match=r"has 2 rows and none with an instruction_negative that withdraws its"):
        run(config, tmp_path)


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=1))
    with claim(tmp_path / "run", config), pytest.raises(ConflictError, match="another process trains in .*/run; wait"):
        run(config, tmp_path)
    assert run(config, tmp_path).n_steps == 1


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_that_numpy_does_not_take_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        TrainConfig(name="toy", seed=seed)


def test_place_that_cannot_track_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="runs cannot be tracked at ftp://nowhere: .*; start the server, or give"):
        run(toy_config(tmp_path), tmp_path, tracking=Tracking("ftp://nowhere"))
    assert not (tmp_path / "run").exists()


def test_more_processes_than_rows_in_a_step_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingArguments, "world_size", 9)
    with pytest.raises(BadConfigError, match="rows_per_step = 8 leaves some of 9 processes without a row; raise it"):
        run(toy_config(tmp_path), tmp_path)
    assert not (tmp_path / "run").exists()


def test_finished_run_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=1))
    run(config, tmp_path)
    with pytest.raises(BadConfigError, match="holds a finished run; choose another --out, or remove it"):
        run(config, tmp_path)


def test_directory_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(toy_config(tmp_path, steps=toy_steps(max_steps=1)), tmp_path)
    with pytest.raises(BadConfigError, match="was begun with another configuration; choose another --out"):
        run(toy_config(tmp_path, steps=toy_steps(max_steps=2)), tmp_path)


def test_long_instructions_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    rows = toy_rows()[:27]
    rows[3] = rows[3].model_copy(update={"instruction_positive": "only child " * 10})
    write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(BadConfigError, match=r"1 of 7 instructions have more than max_tokens.instruction = 16 tokens"):
        run(config, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("terms", "n", "of"),
    [((Term.P,), 2, 57), ((Term.P, Term.I), 1, 11)],
    ids=["its own instructions", "any instruction"],
)
def test_concat_refuses_queries_that_leave_their_instruction_no_room(
    tmp_path: Path, terms: tuple[Term, ...], n: int, of: int
) -> None:
    """Query and instruction share one sequence there, and its end, the instruction, is what would be lost."""
    toy_config(tmp_path)
    rows = toy_rows()[:27]
    rows[0] = rows[0].model_copy(update={"query_positive": "how about bread " * 13})
    write_rows(tmp_path / "train.jsonl", rows)
    model = toy_model(tmp_path, fusion=Fusion.CONCAT)
    config = toy_config(tmp_path, model=model, loss=LossConfig(terms=terms, share=0.1 if Term.I in terms else 0.05))
    match = (
        rf"{n} of {of} queries with an instruction that they may get have more than max_tokens.query \+ "
        r"max_tokens.instruction = 40 tokens, such as .how about bread"
    )
    with pytest.raises(BadConfigError, match=match):
        run(config, tmp_path)
    assert not (tmp_path / "run").exists()


def test_unreadable_rows_are_counted(tmp_path: Path) -> None:
    config = toy_config(tmp_path, steps=toy_steps(max_steps=1))
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("no row\n")
    assert run(config, tmp_path).n_left_out == {str(tmp_path / "train.jsonl"): 1}


def test_dev_without_instructed_rows_is_refused(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    gone = dict.fromkeys(("instruction_negative", "hard_negative_document_1"))
    write_rows(tmp_path / "dev.jsonl", [row.model_copy(update=gone) for row in toy_rows()])
    with pytest.raises(BadConfigError, match=r"36 rows and none with an instruction_negative that .* p-MRR cannot be"):
        run(config, tmp_path)


def test_rows_of_dev_may_not_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="corpora and dev both name rows.jsonl; dev must be rows that training never"):
        DataConfig(corpora=("rows.jsonl",), dev=("rows.jsonl",))
