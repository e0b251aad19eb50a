"""Whole runs over a real socket: what is kept, what is rejected and why, and what stops a run."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infembed.errors import BadConfigError, ConflictError, InfEmbedError, UnfinishedError
from tests.training.synthesis.fault_proxy import OF_TRANSPORT, FaultProxy, Spoilt
from tests.training.synthesis.runs import files_of, make_questions, stored_bodies, tasks_of
from tests.training.synthesis.scripted_endpoint import ScriptedEndpoint, judge, write
from training.corpus.files import read_corpus
from training.synthesis.answers import open_answers
from training.synthesis.assemble import REJECTED_FILE, assemble
from training.synthesis.draft import Stage
from training.synthesis.endpoint import Endpoint
from training.synthesis.estimate import estimate
from training.synthesis.questions import Questions
from training.synthesis.report import SynthesisReport, report_text
from training.synthesis.run import Asked, Run


async def no_wait(_: float) -> None:
    await asyncio.sleep(0)


def run(questions: Questions) -> tuple[SynthesisReport, Asked]:
    tasks = tasks_of(questions)
    config = questions.config

    async def ask() -> Asked:
        generator = Endpoint.open(config.generator, config.retries, sleep=no_wait, jitter=lambda: 1.0)
        judging = Endpoint.open(config.judge, config.retries, sleep=no_wait, jitter=lambda: 1.0)
        asking = Run(questions, store, generator=generator, judge=judging)
        try:
            await asking.ask_all(tasks.tasks, lambda *_: None)
        finally:
            await generator.close()
            await judging.close()
        return asking.asked

    with open_answers(config.answers) as store:
        asked = asyncio.run(ask())
        return assemble(tasks, questions, store.get), asked


def rejected(questions: Questions) -> list[dict[str, Any]]:
    lines = (questions.config.out / REJECTED_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_pairs_become_rows_and_every_answer_is_paid_once(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        questions = make_questions(tmp_path, endpoint.url, n_pairs=12)
        report, asked = run(questions)
    assert asked.n_requests == len(endpoint.requests) == 12 * len(Stage)
    assert report.n_kept + len(rejected(questions)) == 12
    rows = list(read_corpus(questions.config.out).rows)
    assert len(rows) == report.n_kept > 0
    assert {row.source for row in rows} == {"synthetic"}
    assert all(len(row.pairs()) == 3 for row in rows)
    for line in rejected(questions):
        assert [finding["reason"] for finding in line["findings"]] == ["plausible"]
        assert line["scores"]["plausible"] == 2
    assert report.criteria["plausible"].n_failed == 12 - report.n_kept  # type: ignore[index]


def test_costs_are_the_endpoints_tokens_at_the_prices_of_the_config(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        report, asked = run(
            make_questions(tmp_path, endpoint.url, n_pairs=6, judge={"price": {"prompt": 10, "completion": 0}})
        )
    told = [json.loads(body)["usage"] for body in stored_bodies(tmp_path / "answers.sqlite")]
    assert sum(stage.prompt_tokens for stage in report.stages.values()) == sum(usage["prompt_tokens"] for usage in told)
    assert report.stages[Stage.JUDGE].reasoning_tokens == 6 * 7
    assert report.stages[Stage.JUDGE].usd == pytest.approx(report.stages[Stage.JUDGE].prompt_tokens * 10 / 1e6)
    generator = report.stages[Stage.INSTRUCTION]
    assert generator.usd == pytest.approx((generator.prompt_tokens + 4 * generator.completion_tokens) / 1e6)
    assert report.usd == pytest.approx(asked.usd, abs=1e-6)
    assert report.usd_per_kept_row == pytest.approx(report.usd / report.n_kept, abs=1e-6)


def test_a_second_run_asks_nobody_and_writes_the_same_bytes(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        first = make_questions(tmp_path, endpoint.url)
        run(first)
        n_requests = len(endpoint.requests)
        second = make_questions(tmp_path, endpoint.url, out=str(tmp_path / "again"), concurrency=1)
        _, asked = run(second)
    assert (asked.n_requests, asked.n_from_store, len(endpoint.requests)) == (0, n_requests, n_requests)
    assert files_of(first.config.out) == files_of(second.config.out)


CONTENT = [kind for kind in Spoilt if kind not in OF_TRANSPORT]


@pytest.mark.parametrize("kind", CONTENT)
def test_an_endpoint_that_always_lies_costs_rows_and_not_the_run(tmp_path: Path, kind: Spoilt) -> None:
    with ScriptedEndpoint().serving() as endpoint, FaultProxy(endpoint.url, {kind: 1000}).serving() as proxy:
        questions = make_questions(tmp_path, proxy.url, n_pairs=3)
        report, _ = run(questions)
    assert report.n_kept == 0
    assert report.usd_per_kept_row is None
    ((reason, n),) = report.rejected_by.items()
    assert n == 3
    assert report.stages[Stage.INSTRUCTION].unusable == {reason: 6}  # two attempts each
    assert endpoint.requests == []
    assert "no row was kept" in report_text(report)


@pytest.mark.slow
def test_half_of_all_answers_spoiled_in_every_way_still_ends_with_rows(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        shares: dict[Spoilt, int] = {kind: 60 for kind in Spoilt if kind not in {Spoilt.TIME_OUT, Spoilt.TRICKLE}}
        with FaultProxy(endpoint.url, shares).serving() as proxy:
            questions = make_questions(tmp_path, proxy.url, n_pairs=30, retries={"n_attempts": 4})
            report, asked = run(questions)
    assert set(proxy.spoilt) == set(shares)
    assert asked.n_retries == sum(proxy.spoilt[kind] for kind in OF_TRANSPORT)
    assert report.n_kept > 10
    assert sum(sum(stage.unusable.values()) for stage in report.stages.values()) == sum(
        proxy.spoilt[kind] for kind in CONTENT
    )
    assert sum(stage.n_estimated for stage in report.stages.values()) == proxy.spoilt[Spoilt.NOT_A_COMPLETION]


def replacing(wanted: str, content: Callable[[dict[str, Any]], str]) -> ScriptedEndpoint:
    return ScriptedEndpoint(lambda stage, request: content(request) if stage == wanted else write(stage, request))


@pytest.mark.parametrize("criterion", ["plausible", "violating", "answerable", "positive", "not_lexical"])
def test_each_criterion_rejects_by_itself(tmp_path: Path, criterion: str) -> None:
    with replacing("judge", lambda request: judge(request, **{criterion: 3})).serving() as endpoint:
        report, _ = run(make_questions(tmp_path, endpoint.url))
    assert report.rejected_by == {criterion: 4}
    assert report.criteria[criterion].scores == {1: 0, 2: 0, 3: 4, 4: 0, 5: 0}  # type: ignore[index]


def test_documents_that_the_judge_puts_elsewhere_fail_the_match(tmp_path: Path) -> None:
    def muddle(request: dict[str, Any]) -> str:
        judged = json.loads(judge(request))
        return json.dumps({**judged, "best_for_wish_2": judged["best_for_wish_3"], "best_for_wish_3": "none"})

    with replacing("judge", muddle).serving() as endpoint:
        questions = make_questions(tmp_path, endpoint.url)
        report, _ = run(questions)
    assert report.rejected_by == {"match": 4}
    assert "meant" in rejected(questions)[0]["findings"][0]["detail"]


def test_a_type_that_does_not_fit_and_a_copied_document_never_reach_the_judge(tmp_path: Path) -> None:
    def unfit(_: dict[str, Any]) -> str:
        return json.dumps({"met_by": "no place matters here", "fits": False, "instruction": ""})

    with replacing("instruction", unfit).serving() as endpoint:
        report, _ = run(make_questions(tmp_path, endpoint.url))
    assert report.rejected_by == {"type_does_not_fit": 4}
    assert set(endpoint.stages) == {"instruction"}

    def copy(request: dict[str, Any]) -> str:
        passage = request["messages"][-1]["content"].split("<passage_for_a>")[1].split("</passage_for_a>")[0]
        return json.dumps({"plan": "copy", "document": f"{passage} And so on."})

    with replacing("hard_negative_2", copy).serving() as endpoint:
        changes = {"out": str(tmp_path / "copied"), "answers": str(tmp_path / "copied.sqlite")}
        report, _ = run(make_questions(tmp_path, endpoint.url, **changes))
    assert report.rejected_by == {"copied": 4}
    assert "judge" not in endpoint.stages


def test_the_budget_stops_the_run_before_it_is_passed_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        poor = make_questions(tmp_path, endpoint.url, n_pairs=10, budget_usd=0.02)
        with pytest.raises(UnfinishedError, match=r"the budget of \$0\.02 is spent.*answers are kept"):
            run(poor)
        assert not poor.config.out.exists()
        with open_answers(poor.config.answers) as store:
            assert 0.018 < store.spent_usd() <= 0.02
            assert len(store) == len(endpoint.requests)
        report, _ = run(make_questions(tmp_path, endpoint.url, budget_usd=10.0))
    assert len(endpoint.requests) == 10 * len(Stage)
    assert report.n_pairs == 10


def test_an_endpoint_that_is_down_stops_the_run_and_keeps_what_is_there(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        only_writing: dict[str, Any] = {"generator": {"base_url": endpoint.url}, "n_pairs": 8}
        questions = make_questions(tmp_path, **only_writing, retries={"stop_after_failures": 3, "n_tries": 2})
        with pytest.raises(UnfinishedError, match="gave no answer to 3 questions in a row.*see to the endpoint"):
            run(questions)
        n_requests = len(endpoint.requests)
        assert len(stored_bodies(questions.config.answers)) == n_requests
        assert not questions.config.out.exists()
        report, _ = run(make_questions(tmp_path, endpoint.url))
    assert report.n_pairs == 8
    assert len(endpoint.requests) == 8 * len(Stage)


def test_questions_without_an_answer_cost_their_rows_and_are_asked_again_by_the_next_run(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        with FaultProxy(endpoint.url, {Spoilt.SERVER_ERROR: 100}).serving() as proxy:
            questions = make_questions(tmp_path, proxy.url, n_pairs=12, retries={"n_tries": 1})
            report, asked = run(questions)
            n_spoilt = proxy.spoilt[Spoilt.SERVER_ERROR]
            assert report.rejected_by["no_answer"] == n_spoilt > 0
            assert asked.unanswered == {"HTTP 500": n_spoilt}
            again, _ = run(make_questions(tmp_path, proxy.url, retries={"n_tries": 2}, out=str(tmp_path / "again")))
    assert "no_answer" not in again.rejected_by


def test_a_wrong_key_in_the_middle_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "old")
    with ScriptedEndpoint(key="old").serving() as endpoint:

        def change_the_locks(request: dict[str, Any]) -> str:
            endpoint.key = "new"
            return write("query_poisoning", request)

        endpoint.answer = lambda stage, request: (
            change_the_locks(request) if stage == "query_poisoning" else write(stage, request)
        )
        keyed = {"api_key_env": "SOME_KEY"}
        questions = make_questions(tmp_path, endpoint.url, generator=keyed, judge=keyed)
        with pytest.raises(BadConfigError, match="HTTP 401: the key is wrong"):
            run(questions)
    assert len(stored_bodies(questions.config.answers)) == len(endpoint.requests)


def test_the_estimate_asks_nobody_counts_what_is_kept_and_is_near_the_truth(tmp_path: Path) -> None:
    with ScriptedEndpoint().serving() as endpoint:
        questions = make_questions(tmp_path, endpoint.url, n_pairs=5)
        before = estimate(tasks_of(questions), questions, lambda _: None)
        assert endpoint.requests == []
        report, _ = run(questions)
    with open_answers(questions.config.answers) as store:
        after = estimate(tasks_of(questions), questions, store.get)
    assert (before.n_requests, after.n_requests, after.usd) == (5 * len(Stage), 0, 0.0)
    assert before.stages[Stage.INSTRUCTION].prompt_tokens == pytest.approx(
        report.stages[Stage.INSTRUCTION].prompt_tokens, rel=0.05
    )
    assert report.usd < before.usd_at_most


def test_two_runs_may_not_use_one_file_of_answers(tmp_path: Path) -> None:
    with open_answers(tmp_path / "answers.sqlite"):
        with pytest.raises(ConflictError, match="another run is using"):
            with open_answers(tmp_path / "answers.sqlite"):
                pass


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_text("these are no answers, but a text long enough to be no database")
    with pytest.raises(InfEmbedError, match="cannot be used as a file of answers"):
        with open_answers(tmp_path / "answers.sqlite"):
            pass
