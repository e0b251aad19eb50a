"""An endpoint is asked patiently over a real socket; no test waits, the waits are written down."""

import asyncio
import email.utils
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infembed.errors import BadConfigError, InfEmbedError, UnfinishedError
from tests.training.synthesis.fault_proxy import FaultProxy, Spoilt
from tests.training.synthesis.runs import make_questions, tasks_of
from tests.training.synthesis.scripted_endpoint import ScriptedEndpoint
from training.synthesis.completion import Unusable, read_reply
from training.synthesis.draft import Draft, Stage
from training.synthesis.endpoint import Endpoint, NoAnswerError, Response, retry_after_s
from training.synthesis.questions import Question, Questions


class Patience:
    """Stands for `asyncio.sleep`; keeps what it was asked for."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits_s.append(seconds)


@pytest.fixture
def scripted() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint().serving() as endpoint:
        yield endpoint


def first_question(questions: Questions) -> Question:
    task = tasks_of(questions).tasks[0]
    draft = Draft(task.instruction_type, task.pair.query, task.pair.passage)
    return questions.make(Stage.INSTRUCTION, draft, attempt=0)


def ask(questions: Questions, patience: Patience, *, checked: bool = False) -> Response:
    question = first_question(questions)

    async def once() -> Response:
        config = questions.config
        endpoint = Endpoint.open(config.generator, config.retries, sleep=patience, jitter=lambda: 1.0)
        try:
            if checked:
                await endpoint.check()
            return await endpoint.ask(question)
        finally:
            await endpoint.close()

    return asyncio.run(once())


def spoiling(scripted: ScriptedEndpoint, kind: Spoilt) -> FaultProxy:
    return FaultProxy(scripted.url, {kind: 1000})


@pytest.mark.parametrize(
    ("kind", "waits_s"),
    [
        (Spoilt.RATE_LIMIT, [0.02 + 1.0]),  # what the endpoint asks for, and a jitter of up to the first wait
        (Spoilt.SERVER_ERROR, [1.0]),
        (Spoilt.CUT_OFF, [1.0]),
        (Spoilt.TIME_OUT, [1.0]),
        (Spoilt.TRICKLE, [1.0]),
    ],
)
def test_faults_of_transport_are_waited_out(
    scripted: ScriptedEndpoint, tmp_path: Path, kind: Spoilt, waits_s: list[float]
) -> None:
    with spoiling(scripted, kind).serving() as proxy:
        questions = make_questions(tmp_path, proxy.url, retries={"first_wait_s": 1.0}, generator={"timeout_s": 1.0})
        patience = Patience()
        response = ask(questions, patience)
    assert not isinstance(read_reply(response.body, Stage.INSTRUCTION), Unusable)
    assert patience.waits_s == pytest.approx(waits_s)
    assert proxy.spoilt[kind] == 1
    assert len(scripted.requests) == 1


def test_waits_double_up_to_the_longest_and_the_tries_end(tmp_path: Path) -> None:
    patience = Patience()
    retries = {"first_wait_s": 1.0, "longest_wait_s": 5.0, "n_tries": 5}
    with pytest.raises(NoAnswerError, match="ConnectError"):
        ask(make_questions(tmp_path, retries=retries), patience)
    assert patience.waits_s == [1.0, 2.0, 4.0, 5.0]


def scolding(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> ScriptedEndpoint:
    endpoint = ScriptedEndpoint()
    endpoint.refusal = status, body, headers or {}
    return endpoint


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (401, "invalid_api_key", BadConfigError, "HTTP 401: the key is wrong"),
        (404, "model_not_found", BadConfigError, "HTTP 404: there is no such model or path"),
        (400, "unsupported_parameter", BadConfigError, "it does not take such requests"),
        (429, "insufficient_quota", UnfinishedError, "no credit is left"),
        (402, None, UnfinishedError, "no credit is left"),
    ],
)
def test_what_no_patience_mends_is_one_sentence_at_once(
    tmp_path: Path, status: int, code: str | None, error: type[InfEmbedError], words: str
) -> None:
    with scolding(status, {"error": {"message": "said so", "code": code}}).serving() as endpoint:
        patience = Patience()
        with pytest.raises(error, match=words) as raised:
            ask(make_questions(tmp_path, endpoint.url), patience)
    assert "said so" in str(raised.value)
    assert patience.waits_s == []


def test_a_text_that_the_endpoint_will_not_have_is_an_answer_that_costs_nothing(tmp_path: Path) -> None:
    with scolding(400, {"error": {"message": "flagged", "code": "content_filter"}}).serving() as endpoint:
        response = ask(make_questions(tmp_path, endpoint.url), Patience())
    assert not response.is_paid
    assert isinstance(read_reply(response.body, Stage.INSTRUCTION), Unusable)


def test_a_retry_after_of_an_hour_ends_the_tries(tmp_path: Path) -> None:
    patience = Patience()
    with scolding(429, {"error": {"message": "daily limit"}}, {"retry-after": "3600"}).serving() as endpoint:
        with pytest.raises(NoAnswerError, match="HTTP 429"):
            ask(make_questions(tmp_path, endpoint.url), patience)
    assert patience.waits_s == []


def test_a_run_that_stops_ends_every_wait(tmp_path: Path) -> None:
    async def stop_while_waiting() -> None:
        is_waiting = asyncio.Event()

        async def wait_for_ever(_: float) -> None:
            is_waiting.set()
            await asyncio.Event().wait()

        config = questions.config
        endpoint = Endpoint.open(config.generator, config.retries, sleep=wait_for_ever)
        asking = asyncio.create_task(endpoint.ask(first_question(questions)))
        await is_waiting.wait()
        endpoint.hurry()
        try:
            await asking
        finally:
            await endpoint.close()

    with scolding(429, {"error": {"message": "slow down"}}, {"retry-after": "300"}).serving() as scripted:
        questions = make_questions(tmp_path, scripted.url)
        with pytest.raises(NoAnswerError, match="HTTP 429"):
            asyncio.run(stop_while_waiting())


def test_a_key_that_is_not_there_is_missed_before_anybody_is_asked(tmp_path: Path) -> None:
    questions = make_questions(tmp_path, generator={"api_key_env": "NO_SUCH_KEY"})
    with pytest.raises(BadConfigError, match="NO_SUCH_KEY is not set"):
        ask(questions, Patience())


def test_the_check_asks_for_no_answer(scripted: ScriptedEndpoint, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(BadConfigError, match="has no model 'writter'; it lists writer"):
        ask(make_questions(tmp_path, scripted.url, generator={"model": "writter"}), Patience(), checked=True)
    with pytest.raises(BadConfigError, match="cannot be reached"):
        ask(make_questions(tmp_path), Patience(), checked=True)
    scripted.key = "right"
    monkeypatch.setenv("SOME_KEY", "wrong")
    questions = make_questions(tmp_path, scripted.url, generator={"api_key_env": "SOME_KEY"})
    with pytest.raises(BadConfigError, match="the key is wrong") as raised:
        ask(questions, Patience(), checked=True)
    assert "api_key_env" in str(raised.value)
    assert scripted.requests == []
    monkeypatch.setenv("SOME_KEY", "right")
    ask(questions, Patience(), checked=True)


def test_retry_after_is_read_as_seconds_milliseconds_or_a_date() -> None:
    date = email.utils.formatdate(1_800_000_090, usegmt=True)
    assert retry_after_s({"retry-after": "7"}) == 7
    assert retry_after_s({"retry-after": "7", "retry-after-ms": "250"}) == 0.25
    assert retry_after_s({"retry-after": date}, now=lambda: 1_800_000_000.0) == 90
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"retry-after": "nan"}) is None
    assert retry_after_s({"retry-after": "-3"}) == 0
    assert retry_after_s({}) is None
