"""The client against answers made by hand; tests/clients runs it against a service."""

import asyncio
import base64
import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import numpy as np
import pytest

from infembed.client import AsyncClient, Client
from infembed.errors import (
    AccessError,
    BadInputError,
    DeadlineExceededError,
    EmptyInputError,
    NotFoundError,
    OverloadedError,
    ServiceFailureError,
    UnavailableError,
    UnreachableError,
)

Handler = Callable[[httpx2.Request], httpx2.Response]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds


def _vector(*values: float) -> str:
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


def _embedded(*values: float, tokens: int = 3) -> dict[str, Any]:
    return {"embedding": _vector(*values), "tokens": tokens, "truncated": tokens > 4}


def _echo(request: httpx2.Request) -> httpx2.Response:
    """Embed each text as its number."""
    texts = json.loads(request.content)["inputs"]
    return httpx2.Response(200, json=[_embedded(float(text), 0, tokens=len(text)) for text in texts])


def _client(handler: Handler, time: Time | None = None, **options: Any) -> Client:
    time = time or Time()
    transport = httpx2.MockTransport(handler)
    return Client("http://service/prefix", transport=transport, clock=time.clock, sleep=time.sleep, **options)


def _answering(*answers: httpx2.Response | Exception) -> Handler:
    waiting = list(answers)

    def handler(_: httpx2.Request) -> httpx2.Response:
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


def _busy(status: int = 429, **headers: str) -> httpx2.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=names, json={"error": "come back later", "error_type": "Overloaded"})


def _ok() -> httpx2.Response:
    return httpx2.Response(200, json=[0.5])


def test_parts_come_back_in_order_each_with_its_own_instructions() -> None:
    sent: list[dict[str, Any]] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return _echo(request)

    found = _client(handler).embed(["1", "2", "3"], instruction=["a", None, None], batch_size=2)
    np.testing.assert_array_equal(found, np.array([[1, 0], [2, 0], [3, 0]], dtype=np.float32))
    assert [body["instruction"] for body in sent] == [["a", None], [None]]
    assert {body["input_type"] for body in sent} == {"query"}


def test_each_text_s_tokens_and_whether_it_was_cut_are_told_on_request() -> None:
    found = _client(_echo).embed_with_details(["1", "20000", "3"], batch_size=2)
    np.testing.assert_array_equal(found.vectors[:, 0], [1, 20000, 3])
    assert (found.tokens, found.truncated) == ((1, 5, 1), (False, True, False))


def test_vectors_that_change_their_length_between_parts_are_a_failure_of_the_service() -> None:
    answers = (httpx2.Response(200, json=[_embedded(*values)]) for values in ((1, 0), (1, 0, 0)))
    with pytest.raises(ServiceFailureError, match="different lengths; was its model replaced"):
        _client(_answering(*answers)).embed(["1", "2"], batch_size=1)


def test_a_request_says_who_asks_and_how_long_it_waits() -> None:
    sent: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return _ok()

    _client(handler, api_key="k1", timeout_s=7).similarity("a", ["b"])
    (request,) = sent
    assert str(request.url) == "http://service/prefix/similarity"
    assert (request.headers["authorization"], request.headers["x-request-timeout-ms"]) == ("Bearer k1", "7000")


@pytest.mark.parametrize(
    ("busy", "least_s"),
    [
        (_busy(retry_after_ms="250", retry_after="9"), 0.25),
        (_busy(retry_after="2"), 2.0),
        (_busy(503, retry_after="soon"), 1.0),
        (_busy(), 1.0),
    ],
)
def test_a_busy_service_is_asked_again_when_it_said_or_a_little_later(busy: httpx2.Response, least_s: float) -> None:
    time = Time()
    _client(_answering(busy, _ok()), time).similarity("a", ["b"])
    (wait_s,) = time.waits
    assert least_s <= wait_s <= 1.25 * least_s


def test_a_date_to_come_back_at_is_understood() -> None:
    time = Time()
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    _client(_answering(_busy(retry_after=at), _ok()), time).similarity("a", ["b"])
    assert 30 < time.waits[0] <= 50


def test_a_wait_beyond_the_time_out_is_not_begun() -> None:
    time = Time()
    client = _client(_answering(_busy(retry_after="4"), _busy(503, retry_after="30")), time, timeout_s=20)
    with pytest.raises(UnavailableError, match="come back later") as found:
        client.similarity("a", ["b"])
    assert (len(time.waits), found.value.retry_after_s) == (1, 30)


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "Validation", BadInputError),
        (400, "Empty", EmptyInputError),
        (401, "Unauthorized", AccessError),
        (403, "Forbidden", AccessError),
        (404, "NotFound", NotFoundError),
        (413, "Validation", BadInputError),
        (422, "Validation", BadInputError),
        (500, "Backend", ServiceFailureError),
        (504, "Timeout", DeadlineExceededError),
    ],
)
def test_an_error_is_an_exception_with_the_services_sentence(status: int, kind: str, error: type[Exception]) -> None:
    answer = httpx2.Response(
        status, json={"error": "what is wrong", "error_type": kind}, headers={"x-request-id": "r1"}
    )
    with pytest.raises(error, match="what is wrong") as found:
        _client(_answering(answer)).similarity("a", ["b"])
    assert type(found.value) is error
    assert ("request id r1" in str(found.value)) == (status == 500)


def test_a_page_of_a_proxy_is_shown_by_its_beginning() -> None:
    with pytest.raises(ServiceFailureError, match="answered 502: <html>Bad Gateway") as found:
        _client(_answering(httpx2.Response(502, text="<html>Bad Gateway" + "x" * 5000))).info()
    assert len(str(found.value)) < 400


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx2.ConnectError("refused"), UnreachableError),
        (httpx2.RemoteProtocolError("gone"), UnreachableError),
        (httpx2.ReadTimeout("slow"), DeadlineExceededError),
    ],
)
def test_a_connection_that_fails_names_the_address(failure: Exception, error: type[Exception]) -> None:
    with pytest.raises(error, match="http://service/prefix"):
        _client(_answering(failure)).similarity("a", ["b"])


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b"{}",
        b"[]",
        json.dumps([_vector(1), _vector(1)]).encode(),
        json.dumps([_embedded(1), _embedded(1, 2)]).encode(),
        json.dumps([_embedded(1)] * 2).replace(_vector(1), "AAA").encode(),
    ],
)
def test_an_answer_that_holds_no_vectors_is_a_failure_of_the_service(answer: bytes) -> None:
    with pytest.raises(ServiceFailureError, match="/embed answered"):
        _client(_answering(httpx2.Response(200, content=answer))).embed(["a", "b"])


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ([], {}, "texts is empty"),
        (["a"], {"batch_size": 0}, "batch_size is 0"),
        (["a"], {"instruction": ["b", "c"]}, "instruction has 2 entries for 1 texts"),
    ],
)
def test_what_cannot_be_sent_is_refused_before(texts: list[str], options: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        _client(_answering()).embed(texts, **options)


@pytest.mark.parametrize("url", ["service:8080", "ftp://service", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInputError, match="is not the address of a service"):
        Client(url)


def test_the_asynchronous_client_waits_and_gives_up_alike() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def ask(*answers: httpx2.Response) -> Any:
        transport = httpx2.MockTransport(_answering(*answers))
        async with AsyncClient("http://service", transport=transport, timeout_s=10, sleep=sleep) as client:
            return await client.similarity("a", ["b"])

    np.testing.assert_array_equal(asyncio.run(ask(_busy(retry_after="3"), _ok())), np.array([0.5], dtype=np.float32))
    assert len(waits) == 1
    with pytest.raises(OverloadedError, match="come back later"):
        asyncio.run(ask(_busy(retry_after="11")))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_methods_show_their_own_parameters_and_documentation(kind: type[Client] | type[AsyncClient]) -> None:
    shown = inspect.signature(kind("http://service").similarity)
    assert list(shown.parameters) == ["source", "sentences"]
    assert "float32" in str(shown.return_annotation)
    assert "batch_size" in (kind.embed.__doc__ or "")
