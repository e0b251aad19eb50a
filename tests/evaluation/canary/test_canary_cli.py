"""`infembed canary` as its user meets it: refusals in one sentence, verdicts about real services."""

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from evaluation.canary.cli import canary
from evaluation.canary.decision import CanaryDecision
from evaluation.gate import Verdict
from infembed.cli import UNUSABLE, CommandGroup
from infembed.inputs import Fusion
from tests.evaluation.canary.services import Running, build_words, serving, write_queries
from tests.tiny import make_tiny_bundle

NOWHERE = "http://127.0.0.1:9"
POLICY = """
fewest_queries = 20
fewest_probes = 10
latency_p50_ratio = 100.0
latency_p95_ratio = 100.0
"""


def _invoke(arguments: list[str]) -> Result:
    """Run the command as a part of `infembed`."""
    app = typer.Typer(cls=CommandGroup)
    app.callback()(lambda: None)
    app.command()(canary)
    return CliRunner().invoke(app, ["canary", *arguments])


def _run(stable: str, candidate: str, queries: Path, *more: str | Path) -> Result:
    arguments = ["--stable", stable, "--candidate", candidate, "--queries", str(queries), *map(str, more)]
    return _invoke(arguments)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    return write_queries(tmp_path / "queries.jsonl")


def _refusal(result: Result) -> str:
    """The one line of a refusal, which no verdict's exit code may announce."""
    assert result.exit_code == UNUSABLE
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_malformed_line_of_the_queries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"query": "a"}\n{"text": "b"}\n')
    line = _refusal(_run(NOWHERE, NOWHERE, path))
    assert "queries.jsonl line 2: query: Field required" in line
    assert 'expected one JSON object with "query"' in line


def test_an_empty_file_of_queries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.touch()
    assert "holds no query" in _refusal(_run(NOWHERE, NOWHERE, path))


@pytest.mark.parametrize("position", [0, 1])
def test_an_address_that_is_none_is_refused(queries: Path, position: int) -> None:
    urls = [NOWHERE, NOWHERE]
    urls[position] = "localhost:8080"
    assert "give one like http://host:8080" in _refusal(_run(urls[0], urls[1], queries))


def test_a_decision_of_the_gate_that_is_not_there_is_refused(queries: Path, tmp_path: Path) -> None:
    line = _refusal(_run(NOWHERE, NOWHERE, queries, "--decision", tmp_path / "decision.json"))
    assert "make one with `infembed gate`" in line


def test_a_policy_with_an_unknown_key_is_refused(queries: Path, policy: Path) -> None:
    policy.write_text("overlap_flor = 0.5\n")
    assert "overlap_flor" in _refusal(_run(NOWHERE, NOWHERE, queries, "--policy", policy))


def test_a_policy_that_is_no_file_is_refused(queries: Path, tmp_path: Path) -> None:
    assert "Is a directory" in _refusal(_run(NOWHERE, NOWHERE, queries, "--policy", tmp_path))


def test_a_place_that_cannot_be_written_is_refused(queries: Path) -> None:
    assert str(queries) in _refusal(_run(NOWHERE, NOWHERE, queries, "--out", queries / "decision.json"))


@pytest.mark.parametrize(
    "more", [["--k", "0"], ["--k", "many"], ["--rate", "nan"], ["--rate", "0"], ["--unknown"], ["surplus"]]
)
def test_a_usage_error_does_not_look_like_a_verdict(queries: Path, more: list[str]) -> None:
    assert _run(NOWHERE, NOWHERE, queries, *more).exit_code == UNUSABLE
    assert _invoke(more).exit_code == UNUSABLE


def test_help_says_what_the_exit_codes_mean() -> None:
    result = _invoke(["--help"])
    assert result.exit_code == 0
    assert "1 FAIL" in result.stdout


def test_without_a_stable_service_nothing_is_known(queries: Path) -> None:
    result = _run(NOWHERE, NOWHERE, queries)
    assert result.exit_code == Verdict.INCONCLUSIVE.exit_code
    assert f"the stable service at {NOWHERE} did not answer" in result.stdout


def test_a_canary_job_needs_no_model_runtime() -> None:
    modules = ", ".join(f"evaluation.canary.{name}" for name in ("cli", "client", "judging", "run", "show"))
    code = f"import sys, {modules}; print(*({{'torch', 'onnxruntime', 'mteb', 'faiss', 'fastapi'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


class _Fleet:
    """Services started once for all tests of this module, by name."""

    def __init__(self, directory: Path, started: ExitStack) -> None:
        self._directory = directory
        self._started = started
        self._bundle = make_tiny_bundle(directory / "base")
        self._collections = build_words(directory / "base-words", self._bundle)
        self.stable = self.start_again()

    def start_again(self) -> Running:
        return self._started.enter_context(serving(self._bundle, self._collections))

    def start_concat(self) -> Running:
        """The same weights and index with another fusion."""
        bundle = make_tiny_bundle(self._directory / "concat", fusion=Fusion.CONCAT)
        return self._started.enter_context(serving(bundle, self._collections))

    def start_stranger(self) -> Running:
        """Other weights with an index of their own that lacks a third of the documents."""
        bundle = make_tiny_bundle(self._directory / "other", seed=1)
        collections = build_words(self._directory / "other-words", bundle, n=40)
        return self._started.enter_context(serving(bundle, collections))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Fleet]:
    with ExitStack() as started:
        yield _Fleet(tmp_path_factory.mktemp("fleet"), started)


def _decision(result: Result) -> CanaryDecision:
    assert "Traceback" not in result.output
    assert result.exit_code in {0, 1, 2}, result.output
    decision = CanaryDecision.model_validate_json(result.stdout)
    assert result.exit_code == decision.verdict.exit_code
    return decision


@pytest.mark.slow
def test_a_second_service_with_the_same_bundle_and_index_passes(
    fleet: _Fleet, queries: Path, policy: Path, tmp_path: Path
) -> None:
    twin = fleet.start_again()
    out = tmp_path / "new" / "decision.json"
    result = _run(fleet.stable.url, twin.url, queries, "--policy", policy, "--rate", "100", "--out", out, "--json")
    decision = _decision(result)
    assert decision.verdict is Verdict.PASS, decision.reasons
    assert CanaryDecision.model_validate_json(out.read_text()) == decision
    values = {check.name: check.value for check in decision.checks}
    assert (values["overlap"], values["rank correlation"], values["score drift"], values["errors"]) == (1, 1, 0, 0)
    assert values["live p-MRR"] == 0
    assert decision.stable.p_mrr == decision.candidate.p_mrr
    assert decision.stable.model_sha == decision.candidate.model_sha
    assert decision.stable.n_searches == 30 + 2 * 10
    assert "the same generation" in decision.checks[0].reason


@pytest.mark.slow
def test_another_fusion_is_judged_on_the_same_index(fleet: _Fleet, queries: Path, policy: Path) -> None:
    other = fleet.start_concat()
    decision = _decision(_run(fleet.stable.url, other.url, queries, "--policy", policy, "--rate", "100", "--json"))
    assert decision.stable.model_sha != decision.candidate.model_sha
    assert decision.stable.document_fingerprint == decision.candidate.document_fingerprint
    overlap = next(check for check in decision.checks if check.name == "overlap")
    assert overlap.value is not None
    assert 0.3 < overlap.value < 1


@pytest.mark.slow
def test_a_stranger_with_a_smaller_index_fails_and_the_table_says_why(
    fleet: _Fleet, queries: Path, policy: Path
) -> None:
    stranger = fleet.start_stranger()
    result = _run(fleet.stable.url, stranger.url, queries, "--policy", policy, "--rate", "100")
    assert result.exit_code == Verdict.FAIL.exit_code
    assert "60 documents in stable and 40 in the candidate" in result.stdout
    assert "another document fingerprint" in result.stdout
    assert re.search(r"verdict: *FAIL", result.stdout)


@pytest.mark.slow
def test_a_collection_of_neither_service_is_a_usage_error(fleet: _Fleet, queries: Path) -> None:
    result = _run(fleet.stable.url, fleet.stable.url, queries, "--collection", "none")
    assert "no collection 'none'; there is words" in _refusal(result)


@pytest.mark.slow
def test_a_candidate_that_is_down_at_the_start_fails(fleet: _Fleet, queries: Path) -> None:
    result = _run(fleet.stable.url, NOWHERE, queries)
    assert result.exit_code == Verdict.FAIL.exit_code
    assert f"the candidate service at {NOWHERE} did not answer" in result.stdout


@pytest.mark.slow
def test_a_candidate_killed_during_the_run_fails_with_reasons(fleet: _Fleet, policy: Path, tmp_path: Path) -> None:
    victim = fleet.start_again()
    many = write_queries(tmp_path / "many.jsonl", n_shadows=45)
    killer = threading.Thread(target=_kill_after, args=(victim, 15), daemon=True)
    killer.start()
    result = _run(fleet.stable.url, victim.url, many, "--policy", policy, "--rate", "20", "--json")
    decision = _decision(result)
    assert decision.verdict is Verdict.FAIL
    assert any("the candidate failed too often in a row" in reason for reason in decision.reasons)
    assert any("the candidate service was gone at the end" in reason for reason in decision.reasons)
    assert decision.n_asked < decision.n_questions
    assert decision.stable.failures == {}


def _kill_after(victim: Running, n_searches: int) -> None:
    """Watch the victim's own count of searches, and kill it without warning."""
    count = re.compile(r'infembed_requests_total\{[^}]*route="/search"[^}]*\} (\d+)')
    patience = threading.Event()
    while not patience.wait(0.02):
        with urllib.request.urlopen(f"{victim.url}/metrics", timeout=10) as response:
            found = count.search(response.read().decode())
        if found and int(found[1]) >= n_searches:
            victim.process.kill()
            return


def test_the_json_output_is_one_object_and_nothing_else(queries: Path) -> None:
    result = _run(NOWHERE, NOWHERE, queries, "--json")
    assert json.loads(result.stdout)["verdict"] == "INCONCLUSIVE"
