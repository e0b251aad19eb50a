"""`infembed evaluate` and `infembed gate` as their users meet them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from evaluation import cli
from evaluation.encoders import ScoredModel
from evaluation.evaluate import Suites, cost_queries, evaluate, find_suites
from evaluation.gate import Decision, Verdict, decide
from evaluation.report import Measure, ModelIdentity, ModelKind, load_report, save_report
from evaluation.suites.catalogue import DEFAULT, find_suite
from evaluation.suites.layout import Suite
from infembed.cli import UNUSABLE, main
from infembed.errors import BadConfigError, MissingArtefactError
from infembed.inputs import Fusion
from tests.evaluation.pictured import ObedientEncoder, scored, small_suite
from tests.evaluation.served import serving
from tests.tiny import make_tiny_bundle

SUITE = "facets"


class Entry(NamedTuple):
    """An entry point as `importlib.metadata` gives it."""

    name: str
    command: Callable[..., None]

    def load(self) -> Callable[..., None]:
        return self.command


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def _find(name: str, *, data: Path | None) -> Suite:
    return small_suite(n_topics=12) if name == SUITE else find_suite(name, data=data)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `infembed` in an empty directory with our two commands; returns its exit code and what it printed."""
    entries = [Entry("evaluate", cli.evaluate), Entry("gate", cli.gate)]
    monkeypatch.setattr("infembed.cli.entry_points", lambda **_: entries)
    monkeypatch.setattr("evaluation.evaluate.find_suite", _find)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("INFEMBED_DATA", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def invoke(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["infembed", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return invoke


class Reports(NamedTuple):
    """Files of reports and a policy."""

    champion: Path
    better: Path
    policy: Path

    def gate(self, candidate: Path) -> tuple[str | Path, ...]:
        return ("gate", "--champion", self.champion, "--candidate", candidate, "--policy", self.policy)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    directory = tmp_path_factory.mktemp("reports")
    suites = [small_suite(n_topics=30)]
    champion = scored(ObedientEncoder(0.2), suites, name="champion")
    made = {"champion": champion, "better": scored(ObedientEncoder(0.6), suites, name="better")}
    for name, report in made.items():
        save_report(report, directory / f"{name}.json")
    (directory / "policy.toml").write_text('goal = "improve"\n')
    champion_path, better = (directory / f"{name}.json" for name in made)
    return Reports(champion_path, better, directory / "policy.toml")


def test_evaluate_writes_a_report_and_a_page_and_prints_a_table(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run("evaluate", "--bundle", tiny_bundle, "--suite", SUITE, "--out", out)
    assert ended.code == 0
    report = load_report(out / "report.json")
    assert [scores.suite for scores in report.suites] == ["facets"]
    assert report.summary is not None
    mean = report.summary.macro[Measure.P_MRR].mean * 100
    assert all(word in ended.out for word in ("facets", "p-MRR", "lift", f"{mean:.1f}", str(out / "report.json")))
    assert (out / "report.html").read_text().startswith("<!doctype html>")


def test_a_second_evaluation_encodes_nothing(
    run: Run, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ("evaluate", "--bundle", tiny_bundle, "--suite", SUITE, "--out")
    assert run(*arguments, tmp_path / "first").code == 0

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr("infembed.encoder.OnnxEncoder.encode", refuse)
    assert run(*arguments, tmp_path / "second").code == 0
    first, second = (load_report(tmp_path / name / "report.json") for name in ("first", "second"))
    assert second.model_copy(update={"created_at": first.created_at}) == first


def test_json_is_one_object_with_the_facts(run: Run, tiny_bundle: Path) -> None:
    ended = run("evaluate", "--bundle", tiny_bundle, "--suite", SUITE, "--json")
    facts = json.loads(ended.out)
    assert facts["model"]["kind"] == "bundle"
    assert Path(facts["report"]).is_file()
    assert Path(facts["page"]).is_file()
    assert facts["report"].startswith(".cache/reports/")
    assert set(facts["summary"]["macro"]["p-MRR"]) == {"mean", "low", "high", "n_topics"}


def test_without_instructions_nothing_moves_and_the_model_has_another_digest(run: Run, tiny_bundle: Path) -> None:
    arguments = ("evaluate", "--bundle", tiny_bundle, "--suite", SUITE, "--json")
    hearing, deaf = (json.loads(run(*arguments, *more).out) for more in ((), ("--without-instructions",)))
    assert deaf["model"]["fusion"] == "none"
    assert deaf["model"]["digest"] != hearing["model"]["digest"]
    for measure in ("p-MRR", "shuffled p-MRR", "preserve-MRR", "instruction lift"):
        assert deaf["summary"]["macro"][measure]["mean"] == 0
    plain = "plain nDCG@10"
    assert deaf["summary"]["macro"]["nDCG@10"] == deaf["summary"]["macro"][plain] == hearing["summary"]["macro"][plain]


def test_a_narrower_width_is_scored_and_named_as_one(run: Run, tiny_bundle: Path) -> None:
    arguments = ("evaluate", "--bundle", tiny_bundle, "--suite", SUITE)
    whole, cut = (json.loads(run(*arguments, "--json", *more).out) for more in ((), ("--dimensions", 8)))
    assert (whole["model"].get("dimensions"), cut["model"]["dimensions"]) == (None, 8)
    assert cut["model"]["digest"] != whole["model"]["digest"]
    assert cut["model"]["document_fingerprint"] != whole["model"]["document_fingerprint"]
    assert cut["summary"] != whole["summary"]
    assert "-8d-" in cut["report"]
    assert "cut to 8 dimensions" in Path(cut["page"]).read_text(encoding="utf-8")
    deaf = json.loads(run(*arguments, "--json", "--dimensions", 8, "--without-instructions").out)
    assert deaf["model"]["digest"] not in {whole["model"]["digest"], cut["model"]["digest"]}
    assert deaf["summary"]["macro"]["p-MRR"]["mean"] == 0
    assert ", 8 dimensions, digest" in run(*arguments, "--dimensions", 8).out
    ended = run(*arguments, "--dimensions", 32)
    assert ended.code == UNUSABLE
    assert "dimensions is 32, the model's vectors have 32; give 2 to 31" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    "sources", [(), ("--bundle", "b", "--url", "http://x"), ("--checkpoint", "c", "--bundle", "b")]
)
def test_exactly_one_model_is_asked_for(run: Run, sources: tuple[str, ...]) -> None:
    ended = run("evaluate", *sources)
    assert ended.code == UNUSABLE
    assert "exactly one of --bundle, --url, --checkpoint" in " ".join(ended.err.split())


def test_evaluate_says_what_is_wrong_in_one_line(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--bundle", tmp_path / "none"), "no bundle at"),
        (("--bundle", tiny_bundle, "--suite", "[nope]"), "no suite '[nope]'"),
        (("--bundle", tiny_bundle, "--suite", "medquad"), "medquad is built from public data"),
        (("--url", "localhost"), "must begin with http"),
    ):
        ended = run("evaluate", *arguments)
        assert (ended.code, len(ended.err.splitlines())) == (UNUSABLE, 1), ended
        assert message in ended.err


def test_default_suites_without_data_are_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small_suite(n_topics=10)

    def find(name: str, *, data: Path | None) -> Suite:
        if name != "condaqa":
            raise MissingArtefactError(f"no {data}/{name}")
        return suite

    monkeypatch.setattr("evaluation.evaluate.find_suite", find)
    found = find_suites([], data=tmp_path)
    assert found.found == [suite]
    assert found.left_out == {name: f"no {tmp_path}/{name}" for name in DEFAULT if name != "condaqa"}
    with pytest.raises(MissingArtefactError):
        find_suites(["medquad"], data=tmp_path)


def test_a_broken_default_suite_is_an_error_and_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, *, data: Path | None) -> Suite:
        raise BadConfigError("broken")

    monkeypatch.setattr("evaluation.evaluate.find_suite", find)
    with pytest.raises(BadConfigError):
        find_suites([], data=None)


def test_what_a_service_answers_never_comes_from_the_cache(tmp_path: Path) -> None:
    suites = Suites([small_suite(n_topics=10)], {})
    identity = ModelIdentity(name="m", digest="d", document_fingerprint="f" * 64)
    for kind, n_runs in ((ModelKind.BUNDLE, 1), (ModelKind.URL, 2)):
        encoder = ObedientEncoder(0.2)
        model = ScoredModel(identity.model_copy(update={"kind": kind}), encoder)
        for _ in range(2):
            evaluate(model, suites, cache=tmp_path)
        assert len(encoder.encoded) == n_runs * len(suites.found[0].documents)


def test_costs_are_measured_on_queries_of_every_suite_in_turn() -> None:
    first, second = small_suite(name="one", n_topics=2), small_suite(name="two", n_topics=100)
    queries = cost_queries([first, second])
    assert len(queries) == 200
    assert [query.instruction for query in queries[:3]] == ["alpha beta", "alpha beta", "beta"]


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.INCONCLUSIVE, 2)])
def test_the_gate_exits_with_its_verdict(
    run: Run, reports: Reports, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int
) -> None:
    def decided(*judged: Any) -> Decision:
        return decide(*judged).model_copy(update={"verdict": verdict})

    monkeypatch.setattr("evaluation.contest.decide", decided)
    ended = run(*reports.gate(reports.better))
    assert ended.code == code
    assert verdict in ended.out


def test_the_gate_writes_its_decision_and_a_page(run: Run, reports: Reports, tmp_path: Path) -> None:
    out = tmp_path / "new" / "decision.json"
    ended = run(*reports.gate(reports.better), "--out", out)
    decision = Decision.model_validate_json(out.read_bytes())
    assert ended.code == decision.verdict.exit_code
    assert all(check.name in ended.out for check in decision.checks)
    assert sorted(path.name for path in out.parent.iterdir()) == ["decision.html", "decision.json"]
    assert "better" in out.with_suffix(".html").read_text()


def test_the_gate_speaks_json(run: Run, reports: Reports) -> None:
    ended = run(*reports.gate(reports.champion), "--json")
    facts = json.loads(ended.out)
    assert ended.code == Verdict(facts["verdict"]).exit_code != 0
    assert facts["files"] == []
    assert facts["reasons"]


def _other_suite(reports: Reports, directory: Path) -> Path:
    report = scored(ObedientEncoder(0.6), [small_suite(name="other", n_topics=12)], name="m")
    save_report(report, directory / "other.json")
    return directory / "other.json"


def _other_digest(reports: Reports, directory: Path) -> Path:
    report = load_report(reports.better)
    changed = report.suites[0].model_copy(update={"digest": "0" * 64})
    save_report(report.model_copy(update={"suites": (changed,)}), directory / "changed.json")
    return directory / "changed.json"


def _not_a_report(reports: Reports, directory: Path) -> Path:
    (directory / "text.json").write_text("{}")
    return directory / "text.json"


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (lambda _, directory: directory / "none", "does not exist; give a bundle"),
        (_not_a_report, "text.json"),
        (_other_suite, "not scored on suite"),
        (_other_digest, "has digest"),
    ],
)
def test_what_cannot_be_judged_is_not_a_fail(
    run: Run, reports: Reports, tmp_path: Path, candidate: Callable[[Reports, Path], Path], message: str
) -> None:
    ended = run(*reports.gate(candidate(reports, tmp_path)))
    assert (ended.code, len(ended.err.splitlines())) == (3, 1), ended
    assert message in ended.err


@pytest.mark.parametrize("policy", ["ndcg_margin = 0", "unknown = 1", "goal = ", None])
def test_a_policy_that_cannot_be_is_not_a_fail(run: Run, reports: Reports, tmp_path: Path, policy: str | None) -> None:
    path = tmp_path / "policy.toml"
    if policy is not None:
        path.write_text(policy)
    ended = run("gate", "--champion", reports.champion, "--candidate", reports.better, "--policy", path)
    assert ended.code == 3
    assert "policy.toml" in ended.err


@pytest.mark.parametrize("more", [("--suit", "x"), ("extra",), ("--suite", "medquad"), ("--out", "decision.html")])
def test_wrong_options_are_not_inconclusive(run: Run, reports: Reports, more: tuple[str, ...]) -> None:
    assert run(*reports.gate(reports.better), *more).code == 3


def test_missing_options_are_not_inconclusive(run: Run) -> None:
    assert run("gate").code == 3
    assert run("gate", "--help").code == 0


def test_a_report_against_a_bundle_is_refused(run: Run, reports: Reports, tiny_bundle: Path) -> None:
    ended = run(*reports.gate(tiny_bundle))
    assert ended.code == 3
    assert "give two bundles" in ended.err


def test_a_crash_is_not_a_fail(run: Run, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("evaluation.contest.decide", crash)
    ended = run(*reports.gate(reports.better))
    assert ended.code == 3
    assert "a bug" in ended.err


@pytest.mark.slow
def test_two_bundles_are_scored_and_timed_in_one_run(
    run: Run, tiny_bundle: Path, reports: Reports, tmp_path: Path
) -> None:
    concat = make_tiny_bundle(tmp_path / "concat", fusion=Fusion.CONCAT)
    out = tmp_path / "decision.json"
    bundles = ("gate", "--champion", tiny_bundle, "--candidate", concat, "--policy", reports.policy)
    ended = run(*bundles, "--suite", SUITE, "--out", out, "--json")
    decision = Decision.model_validate_json(out.read_bytes())
    assert ended.code == decision.verdict.exit_code
    assert {"latency", "memory", "batch invariance"} <= {check.name for check in decision.checks}
    made = [load_report(out.with_name(f"decision.{role}.json")) for role in ("champion", "candidate")]
    assert [report.model.digest for report in made] == [decision.champion_digest, decision.candidate_digest]
    assert all(report.serving is not None for report in made)
    again = run(
        "gate",
        "--champion",
        out.with_name("decision.champion.json"),
        "--candidate",
        out.with_name("decision.candidate.json"),
        "--policy",
        reports.policy,
        "--json",
    )
    assert json.loads(again.out)["checks"] == json.loads(ended.out)["checks"]


@pytest.mark.slow
def test_every_way_to_the_same_model_gives_the_same_scores(run: Run, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path, fusion=Fusion.CONCAT)
    checkpoint = tmp_path / "checkpoint"
    with serving(bundle) as url:
        sources = {"bundle": bundle, "url": url, "checkpoint": checkpoint, "sentence-transformers": checkpoint}
        made = {
            kind: json.loads(run("evaluate", f"--{kind}", source, "--suite", SUITE, "--json").out)
            for kind, source in sources.items()
        }
        cut = [
            json.loads(run("evaluate", f"--{kind}", sources[kind], "--suite", SUITE, "--dimensions", 8, "--json").out)
            for kind in ("bundle", "url")
        ]
    assert cut[0]["model"]["digest"] == cut[1]["model"]["digest"] != made["bundle"]["model"]["digest"]
    assert cut[0]["summary"]["macro"]["p-MRR"]["mean"] == pytest.approx(cut[1]["summary"]["macro"]["p-MRR"]["mean"])
    for kind, facts in made.items():
        assert facts["model"]["kind"] == kind
        for measure, found in made["bundle"]["summary"]["macro"].items():
            assert facts["summary"]["macro"][measure]["mean"] == pytest.approx(found["mean"], abs=1e-4), (kind, measure)
