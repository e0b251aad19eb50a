"""`infembed corpus synthesize` as its users meet it, killed processes included."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infembed.cli import UNUSABLE
from tests.command_line import Command, Ended
from tests.training.synthesis.fault_proxy import FaultProxy, Spoilt
from tests.training.synthesis.runs import files_of, settings, stored_bodies, write_pairs, write_toml
from tests.training.synthesis.scripted_endpoint import ScriptedEndpoint
from training.corpus.files import QUARANTINE_FILE, verify_corpus
from training.synthesis.assemble import REJECTED_FILE, REPORT_FILE, REPORT_TEXT_FILE
from training.synthesis.config import SynthesisConfig
from training.synthesis.draft import Stage

ROOT = Path(__file__).parents[3]
NOBODY = "http://127.0.0.1:1/v1"


Call = Callable[..., Ended]


@pytest.fixture
def call(run: Command) -> Call:
    def invoke(values: dict[str, Any], *options: str) -> Ended:
        config = write_toml(Path(values["out"]).parent / "synthesis.toml", values)
        return run("corpus", "synthesize", config, *options)

    return invoke


def refusal(ended: Ended) -> str:
    assert ended.code == UNUSABLE, ended
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in ended.err
    return line


def start(config: Path) -> "subprocess.Popen[str]":
    """Start the real command in a process of its own."""
    command = [sys.executable, "-c", "from infembed.cli import main; main()", "corpus", "synthesize", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def test_a_run_ends_with_a_corpus_a_report_and_what_it_did(call: Call, tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        values = settings(tmp_path, endpoint.url, n_pairs=8)
        ended = call(values)
    assert (ended.code, ended.err) == (0, "")
    out = Path(values["out"])
    verify_corpus(out)
    assert {REPORT_FILE, REPORT_TEXT_FILE, REJECTED_FILE, QUARANTINE_FILE} <= {path.name for path in out.iterdir()}
    assert (out / REPORT_TEXT_FILE).read_text() in ended.out
    assert f"this run: {8 * len(Stage)} requests and 0 retries" in ended.out
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["made_from"]["prompts"]["judge"].startswith("judge@1:")
    assert str(tmp_path) not in json.dumps(manifest["made_from"])


def test_json_holds_the_same_facts(call: Call, tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        values = settings(tmp_path, endpoint.url)
        facts = json.loads(call(values, "--json").out)
    assert facts["this_run"]["n_requests"] == 4 * len(Stage)
    assert facts["n_pairs"] == 4
    assert facts["stages"] == json.loads((Path(values["out"]) / REPORT_FILE).read_text())["stages"]


def test_a_dry_run_needs_no_key_and_asks_nobody(call: Call, tmp_path: Path) -> None:
    values = settings(tmp_path, NOBODY, generator={"api_key_env": "NO_SUCH_KEY"}, budget_usd=0.001)
    ended = call(values, "--dry-run")
    assert ended.code == 0
    assert f"4 pairs: about {4 * len(Stage)} requests and $0." in ended.out
    assert "the budget of $0.00 would end before the pairs do" in ended.out
    assert json.loads(call(values, "--dry-run", "--json").out)["n_requests"] == 4 * len(Stage)
    assert not Path(values["answers"]).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temprature": 1}, "temprature: Extra inputs are not permitted"),
        ({"generator": {"api_key_env": "NO_SUCH_KEY"}}, "NO_SUCH_KEY is not set"),
        ({"judge": {"model": "jugde"}}, "cannot be reached"),
        ({"pairs": "nowhere.jsonl"}, "no pairs at nowhere.jsonl"),
        ({"minimum": {"plausible": 6}}, "scores go from 1 to 5"),
        ({"minimum": {"beautiful": 3}}, "minimum.beautiful"),
        ({"instruction_types": ["plain"]}, "nothing is generated for them"),
        ({"generator": {"parameters": {"max_tokens": 5}}}, "max_tokens cannot be set here"),
        ({"bounds": {"fewest_query_words": 9, "most_query_words": 8}}, "is above most_query_words"),
        ({"generator": {"base_url": "localhost:8000"}}, "generator.base_url"),
    ],
)
def test_settings_that_cannot_work_are_one_sentence(
    call: Call, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(call(settings(tmp_path, NOBODY, **changes)))


def test_a_wrong_model_or_key_is_found_before_anything_is_paid(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "wrong")
    with ScriptedEndpoint().serving() as endpoint:
        misspelt = call(settings(tmp_path, endpoint.url, judge={"model": "jugde"}))
        assert "has no model 'jugde'; it lists judge" in refusal(misspelt)
        endpoint.key = "right"
        keyed = settings(tmp_path, endpoint.url, generator={"api_key_env": "SOME_KEY"})
        assert "HTTP 401: the key is wrong" in refusal(call(keyed))
    assert endpoint.requests == []


def test_an_output_that_exists_is_refused_before_anything_is_paid(call: Call, tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        values = settings(tmp_path, endpoint.url)
        Path(values["out"]).mkdir()
        assert "exists already" in refusal(call(values))
    assert endpoint.requests == []


def test_a_spent_budget_is_said_and_leaves_no_corpus(call: Call, tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        values = settings(tmp_path, endpoint.url, budget_usd=0.02)
        line = refusal(call(values))
    assert "the budget of $0.02 is spent" in line
    assert "run the same command again" in line
    assert not Path(values["out"]).exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp-")] == []


def test_what_a_budget_has_paid_for_can_be_had_without_asking_anybody(call: Call, tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        values = settings(tmp_path, endpoint.url, n_pairs=12, concurrency=2, budget_usd=0.05)
        assert "--finished" in refusal(call(values))
        n_requests = len(endpoint.requests)
        facts = json.loads(call(values, "--finished", "--json").out)
        whole = {**values, "budget_usd": 1.0, "out": str(tmp_path / "whole")}
        assert json.loads(call(whole, "--json").out)["n_pairs"] == 12
    assert 0 < facts["n_pairs"] < 12
    assert facts["n_pairs"] + facts["n_left_out"] == 12
    assert "no_answer" not in facts["rejected_by"]
    assert facts["this_run"]["n_requests"] == 0 < n_requests


def test_a_corpus_without_rows_is_a_problem_that_the_exit_code_tells(call: Call, tmp_path: Path) -> None:
    with ScriptedEndpoint(lambda *_: "no JSON at all").serving() as endpoint:
        values = settings(tmp_path, endpoint.url)
        ended = call(values)
    assert ended.code == 1
    assert "0 of 4 pairs kept" in ended.out
    verify_corpus(Path(values["out"]))


@pytest.mark.parametrize("name", ["synthesis.toml", "synthesis-local.toml"])
def test_the_example_settings_and_pairs_are_usable(run: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(ROOT)
    config = SynthesisConfig.from_toml(Path("configs") / name)
    assert config.pairs.is_file()
    ended = run("corpus", "synthesize", f"configs/{name}", "--dry-run")
    assert ended.code == 0
    assert "50 pairs: about 300 requests" in ended.out


SPOILT: dict[Spoilt, int] = {kind: 25 for kind in Spoilt if kind is not Spoilt.TIME_OUT}


@pytest.mark.slow
def test_killed_again_and_again_nothing_stored_is_paid_twice_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.jsonl", 24)
    with ScriptedEndpoint().serving() as endpoint, FaultProxy(endpoint.url, SPOILT).serving() as proxy:
        values = settings(tmp_path, proxy.url)
        config = write_toml(tmp_path / "killed.toml", values)
        answers = Path(values["answers"])
        for n_deliveries in (10, 45, 90):
            with start(config) as process:
                proxy.wait_for_deliveries(n_deliveries)
                process.kill()
            assert process.returncode == -signal.SIGKILL
            assert not Path(values["out"]).exists()
        with start(config) as process:
            output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "24 pairs kept" in output
        stored = stored_bodies(answers)
        lost = proxy.lost(stored)
        assert proxy.bought_twice(stored) == []
        assert len(proxy.deliveries) == len(stored) + len(lost)
        assert len(lost) <= 3 * values["concurrency"]

        calm = {**values, "out": str(tmp_path / "calm"), "answers": str(tmp_path / "calm.sqlite")}
        with start(write_toml(tmp_path / "calm.toml", calm)) as process:
            _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert files_of(Path(values["out"])) == files_of(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_answers_arrive_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    write_pairs(tmp_path / "pairs.jsonl", 40)
    with ScriptedEndpoint().serving() as endpoint, FaultProxy(endpoint.url, {}).serving() as proxy:
        values = settings(tmp_path, proxy.url)
        with start(write_toml(tmp_path / "stopped.toml", values)) as process:
            proxy.wait_for_deliveries(20)
            process.send_signal(number)
            _, errors = process.communicate()
        assert process.returncode == UNUSABLE
        assert "stopped by a signal; run the same command again" in errors
        assert proxy.lost(stored_bodies(Path(values["answers"]))) == []
        assert len(proxy.deliveries) < 40 * len(Stage)
