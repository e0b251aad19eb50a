"""`infembed train` as it is typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infembed.cli import make_app
from tests.training.toy import break_at, toy_config
from training.config import TrainConfig
from training.corpus.mini import Part, read_mini

CONFIGS = Path(__file__).parents[2] / "configs"


def toml(config: TrainConfig) -> str:
    """Write what the toy configuration says as a file would."""
    model, steps = config.model, config.steps
    return f"""
name = "toy"
[model]
base = "{model.base}"
max_tokens = {{document = 32, query = 24, instruction = 16}}
[model.lora]
rank = 4
alpha = 8
[data]
corpora = ["{config.data.corpora[0]}"]
dev = ["{config.data.dev[0]}"]
[steps]
max_steps = 50
rows_per_step = {steps.rows_per_step}
log_every = 1
"""


def invoke(tmp_path: Path, *options: str) -> Any:
    (tmp_path / "toy.toml").write_text(toml(toy_config(tmp_path)), encoding="utf-8")
    out = ["--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    return CliRunner().invoke(make_app(), ["train", str(tmp_path / "toy.toml"), *out, *options])


@pytest.mark.slow
def test_command_prints_one_json_object_and_stops_where_it_is_told(tmp_path: Path) -> None:
    result = invoke(tmp_path, "--max-steps", "2", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["n_steps"] == 2
    assert facts["model"] == str(tmp_path / "run" / "model")
    assert set(facts["after"]) == {"p_mrr", "pairwise", "ndcg", "plain_ndcg"}
    assert "training: 2 of 2 steps" in result.stderr
    assert (tmp_path / "mlflow.db").is_file()


@pytest.mark.slow
def test_command_says_what_came_of_dev(tmp_path: Path) -> None:
    result = invoke(tmp_path, "--max-steps", "2")
    assert result.exit_code == 0, result.output
    assert "2 steps, best at step" in result.stdout
    assert "dev p_mrr" in result.stdout
    assert "'loss'" not in result.stdout


@pytest.mark.slow
def test_command_ends_with_3_where_the_loss_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_at(1, monkeypatch)
    result = invoke(tmp_path, "--max-steps", "2")
    assert result.exit_code == 3
    assert "is not a finite number" in " ".join(result.output.split())


def test_impossible_configuration_is_one_sentence(tmp_path: Path) -> None:
    text = toml(toy_config(tmp_path)) + "[loss]\nterms = ['P', 'I']\nwith_instructions = false\n"
    (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(make_app(), ["train", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "run")])
    assert result.exit_code == 3
    assert "term I contrasts instructions" in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("train-*.toml")), ids=lambda path: path.stem)
def test_every_run_of_the_repository_is_one_that_can_be_asked_for(path: Path) -> None:
    config = TrainConfig.from_toml(path)
    parts = {source for source in config.data.shares if source.endswith("inf-ir-mini")}
    assert parts <= {row.source for row in read_mini(Part.TRAIN)}  # a share of a source that is not there is refused
