import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from evaluation.canary.client import LONGEST_WAIT_S, MOST_WAITS, ServiceClient
from evaluation.canary.observations import Answer, Failure, FailureKind, Hit, Outcome, ServiceFacts
from evaluation.canary.questions import Search
from infembed.errors import BadInputError
from tests.evaluation.canary.observed import facts

RESULTS = {
    "results": [{"id": "d1", "score": 0.5, "text": "bread", "metadata": {}}],
    "collection": "demo",
    "truncated": False,
}


class Clock:
    """Time that passes by sleeping only; a tick of it per reading where wanted."""

    def __init__(self, *, tick_s: float = 0.0) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self._tick_s = tick_s

    def __call__(self) -> float:
        self.now += self._tick_s
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def _client(
    handler: Callable[[httpx2.Request], httpx2.Response], clock: Clock, url: str = "http://service"
) -> ServiceClient:
    transport = httpx2.MockTransport(handler)
    return ServiceClient(url, timeout_s=5, transport=transport, clock=clock, sleep=clock.sleep)


def _search(*answers: httpx2.Response | Exception, clock: Clock | None = None, until: float = 1000) -> Outcome:
    waiting = iter(answers)

    def handler(_: httpx2.Request) -> httpx2.Response:
        found = next(waiting)
        if isinstance(found, Exception):
            raise found
        return found

    with _client(handler, clock or Clock()) as client:
        return client.search(Search("bread", None), k=3, collection=None, until=until)


def _busy(retry_after: str | None, *, status: int = 429) -> httpx2.Response:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return httpx2.Response(status, headers=headers, json={"error": "busy", "error_type": "Overloaded"})


def test_a_search_is_sent_as_the_service_reads_it() -> None:
    sent: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=RESULTS)

    with _client(handler, Clock(), "http://service/prefix") as client:
        client.search(Search("bread", None), k=3, collection=None, until=1000)
        client.search(Search("bread", "cheap"), k=3, collection="demo", until=1000)
    assert [str(request.url) for request in sent] == ["http://service/prefix/search"] * 2
    assert sent[0].headers["content-type"] == "application/json"
    assert [json.loads(request.content) for request in sent] == [
        {"query": "bread", "k": 3},
        {"query": "bread", "instruction": "cheap", "k": 3, "collection": "demo"},
    ]


def test_an_answer_carries_documents_scores_and_the_time_of_the_request() -> None:
    found = _search(httpx2.Response(200, json=RESULTS), clock=Clock(tick_s=0.002))
    assert isinstance(found, Answer)
    assert (found.hits, found.collection) == ((Hit("d1", 0.5),), "demo")
    assert found.latency_ms == pytest.approx(4)


def test_a_busy_service_is_asked_again_when_it_said() -> None:
    clock = Clock()
    found = _search(_busy("7"), _busy("2", status=503), httpx2.Response(200, json=RESULTS), clock=clock)
    assert clock.slept == [7, 2]
    assert isinstance(found, Answer)
    assert (found.n_waits, found.latency_ms) == (2, 0)


def test_retry_after_may_be_a_date() -> None:
    clock = Clock()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    _search(_busy(date), httpx2.Response(200, json=RESULTS), clock=clock)
    assert 10 < clock.slept[0] <= 20


@pytest.mark.parametrize("retry_after", [None, "", "soon", "nan", "-5"])
def test_without_a_readable_retry_after_a_second_is_waited(retry_after: str | None) -> None:
    clock = Clock()
    _search(_busy(retry_after), httpx2.Response(200, json=RESULTS), clock=clock)
    assert clock.slept == [1]


def test_a_service_that_stays_busy_is_overloaded() -> None:
    clock = Clock()
    found = _search(*[_busy("1")] * MOST_WAITS, clock=clock)
    assert isinstance(found, Failure)
    assert (found.kind, found.n_waits, len(clock.slept)) == (FailureKind.OVERLOADED, MOST_WAITS, MOST_WAITS - 1)


@pytest.mark.parametrize(("wait", "until"), [(str(int(LONGEST_WAIT_S) + 1), 1000), ("20", 110)])
def test_a_wait_beyond_patience_or_the_time_limit_is_not_cut_short_but_given_up(wait: str, until: float) -> None:
    clock = Clock()
    found = _search(_busy(wait), clock=clock, until=until)
    assert isinstance(found, Failure)
    assert (found.kind, clock.slept) == (FailureKind.OVERLOADED, [])


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (httpx2.Response(500, json={"error": "the model failed"}), FailureKind.SERVER_ERROR, "the model failed"),
        (httpx2.Response(504), FailureKind.SERVER_ERROR, "504"),
        (httpx2.Response(404, json={"error": "no collection 'x'"}), FailureKind.REFUSED, "no collection 'x'"),
        (httpx2.Response(307, headers={"location": "http://else/search"}), FailureKind.REFUSED, "307"),
        (httpx2.Response(200, text="<html>"), FailureKind.BAD_ANSWER, "no search results"),
        (httpx2.Response(200, json={"results": []}), FailureKind.BAD_ANSWER, "collection"),
        (
            httpx2.Response(200, text='{"results": [{"id": "a", "score": NaN}], "collection": "c"}'),
            FailureKind.BAD_ANSWER,
            "finite",
        ),
        (httpx2.ConnectError("connection refused"), FailureKind.UNREACHABLE, "connection refused"),
        (httpx2.RemoteProtocolError("server disconnected"), FailureKind.UNREACHABLE, "server disconnected"),
        (httpx2.ReadTimeout("slow"), FailureKind.TIMEOUT, "within 5 s"),
        (httpx2.ConnectTimeout("slow"), FailureKind.TIMEOUT, "within 5 s"),
    ],
)
def test_whatever_goes_wrong_is_a_failure_of_its_kind(
    answer: httpx2.Response | Exception, kind: FailureKind, words: str
) -> None:
    found = _search(answer)
    assert isinstance(found, Failure)
    assert found.kind is kind
    assert words in found.message


def test_a_body_that_trickles_in_is_a_time_out() -> None:
    clock = Clock()

    class Trickle(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                clock.now += 1
                yield b" "

    found = _search(httpx2.Response(200, stream=Trickle()), clock=clock)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.TIMEOUT


def test_an_endless_body_is_cut_off() -> None:
    class Endless(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" " * 16 * 1024 * 1024

    found = _search(httpx2.Response(200, stream=Endless()))
    assert isinstance(found, Failure)
    assert (found.kind, "larger than" in found.message) == (FailureKind.BAD_ANSWER, True)


def test_the_facts_of_a_service_are_read_and_others_left_alone() -> None:
    described = facts().model_dump() | {"fusion": "prefix"}
    with _client(lambda _: httpx2.Response(200, json=described), Clock()) as client:
        assert client.facts(until=1000) == facts()


def test_another_kind_of_service_is_told_apart() -> None:
    with _client(lambda _: httpx2.Response(200, json={"model_id": "tei"}), Clock()) as client:
        found = client.facts(until=1000)
    assert not isinstance(found, ServiceFacts)
    assert "not an InF-Embed service" in found.message


@pytest.mark.parametrize("url", ["ftp://host", "host:8080", "localhost", "", "http://", "/search", "http://host:port"])
def test_what_is_no_address_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(BadInputError, match="is not the address of a service"):
        ServiceClient(url, timeout_s=1)


def test_a_password_in_the_address_is_used_and_not_shown() -> None:
    sent: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=RESULTS)

    with _client(handler, Clock(), "http://me:secret@service") as client:
        client.search(Search("bread", None), k=3, collection=None, until=1000)
        assert "secret" not in client.url
    assert sent[0].headers["authorization"].startswith("Basic ")


def test_a_key_goes_with_every_request_and_into_no_message() -> None:
    seen = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("authorization"))
        return httpx2.Response(401)

    with ServiceClient(
        "http://service", timeout_s=1, api_key="secret", transport=httpx2.MockTransport(refuse)
    ) as client:
        failures = [client.facts(until=1e9), client.search(Search("bread", None), k=3, collection=None, until=1e9)]
    assert seen == ["Bearer secret", "Bearer secret"]
    assert "secret" not in str(failures)


def test_a_key_that_fits_no_header_is_refused_and_not_shown() -> None:
    with pytest.raises(BadInputError, match="the API key has characters that no key has") as refused:
        ServiceClient("http://service", timeout_s=1, api_key="se\ncret")
    assert "cret" not in str(refused.value)
