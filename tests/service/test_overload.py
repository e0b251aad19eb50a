"""What clients on real sockets meet when the model is busy: deadlines, hang-ups, lanes, limits, shared batches."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.service.app import FaultyEncoder, listening, make_app


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


class Service:
    """A running service and its clients, each with a connection of its own."""

    def __init__(self, address: tuple[str, int], encoder: FaultyEncoder, clients: ThreadPoolExecutor) -> None:
        self._address = address
        self._clients = clients
        self.encoder = encoder

    def connect(self) -> HTTPConnection:
        return HTTPConnection(*self._address, timeout=60)

    def post(self, body: object, *, path: str = "/embed", **headers: str) -> Answer:
        connection = self.connect()
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, json.loads(response.read()))
        connection.close()
        return answer

    def send(self, body: object, **headers: str) -> "Future[Answer]":
        return self._clients.submit(self.post, body, **headers)

    def metric(self, line: str) -> float:
        connection = self.connect()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until(self, line: str, value: float) -> None:
        """Ask for a metric until it has a value."""
        ends = time.monotonic() + 20
        while (found := self.metric(line)) != value:
            assert time.monotonic() < ends, f"{line} is {found}, expected {value}"

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the model in one batch, with the next one formed, for as long as the block lasts."""
        self.encoder.batches.clear()
        self.encoder.gate.clear()
        running = []
        for n in (1, 2):
            running.append(self.send({"inputs": "bread"}))
            self.until("infembed_queue_tokens", 3 * n)
        self.until("infembed_queue_inputs", 0)
        yield
        self.encoder.gate.set()
        assert [future.result().status for future in running] == [200, 200]


@contextmanager
def _serving(path: Path, **settings: Any) -> Iterator[Service]:
    app, encoder, _ = make_app(path, **settings)
    with listening(app) as address, ThreadPoolExecutor(16) as clients:
        try:
            service = Service(address, encoder, clients)
            service.metric("any")  # answered once the model is warm
            yield service
        finally:
            encoder.gate.set()


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Service]:
    with _serving(tiny_bundle) as started:
        yield started


def test_a_request_ends_when_its_client_said_and_never_reaches_the_model(service: Service) -> None:
    with service.busy():
        answer = service.post({"inputs": "road"}, **{"x-request-timeout-ms": "50"})
        assert (answer.status, answer.body["error_type"]) == (504, "Timeout")
        service.until("infembed_queue_tokens", 6)
    assert service.encoder.batches == [[3], [3]]


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", "9" * 400])
def test_a_time_out_that_is_none_is_refused(service: Service, value: str) -> None:
    answer = service.post({"inputs": "road"}, **{"x-request-timeout-ms": value})
    assert answer.status == 422
    assert "x-request-timeout-ms" in answer.body["error"]


def test_a_client_that_hangs_up_while_it_waits_costs_the_model_nothing(service: Service) -> None:
    with service.busy():
        connection = service.connect()
        connection.request("POST", "/embed", json.dumps({"inputs": "road"}))
        service.until("infembed_queue_inputs", 1)
        connection.close()
        service.until("infembed_queue_inputs", 0)
    assert service.encoder.batches == [[3], [3]]


def test_a_storm_of_hang_ups_leaves_nothing_behind_and_never_reaches_the_model(service: Service) -> None:
    dropped = service.metric('infembed_dropped_inputs_total{reason="cancelled"}')
    with service.busy():
        whole = [service.connect() for _ in range(60)]
        for connection in whole:
            connection.request("POST", "/embed", json.dumps({"inputs": "road"}))
        halves = [service.connect() for _ in range(60)]
        for connection in halves:
            connection.putrequest("POST", "/embed")
            connection.putheader("content-length", "1000")
            connection.endheaders(b'{"inputs": "')
        service.until("infembed_queue_inputs", 60)
        for connection in (*whole, *halves):
            connection.close()
        service.until("infembed_queue_inputs", 0)
        service.until("infembed_queue_tokens", 6)
    assert service.encoder.batches == [[3], [3]]
    assert service.metric('infembed_dropped_inputs_total{reason="cancelled"}') == dropped + 60
    service.until("infembed_queue_tokens", 0)


_TOO_MUCH = "bread " * 60
_WORK = {
    "/": {"inputs": _TOO_MUCH},
    "/embed": {"inputs": _TOO_MUCH},
    "/similarity": {"inputs": {"source_sentence": _TOO_MUCH, "sentences": [_TOO_MUCH]}},
    "/search": {"query": _TOO_MUCH},
    "/v1/embeddings": {"input": _TOO_MUCH},
    "/embeddings": {"input": _TOO_MUCH},
}


def test_every_route_refuses_in_its_own_words_and_says_when_to_come_back(tiny_bundle: Path) -> None:
    with _serving(tiny_bundle, max_queued_tokens=64) as service:
        with service.busy():
            waiting = service.send({"inputs": _TOO_MUCH})
            service.until("infembed_queue_inputs", 1)
            refused = {path: service.post(body, path=path) for path, body in _WORK.items()}
        assert waiting.result().status == 200
    assert {answer.status for answer in refused.values()} == {429}
    for answer in refused.values():
        assert int(answer.headers["retry-after"]) >= 1
        assert int(answer.headers["retry-after-ms"]) >= 100
        assert answer.headers["content-type"] == "application/json"
    flat = {path: answer.body for path, answer in refused.items() if "v1" not in path and path != "/embeddings"}
    assert all(body["error_type"] == "Overloaded" and "try again later" in body["error"] for body in flat.values())
    nested = {path: answer.body["error"] for path, answer in refused.items() if path not in flat}
    assert all(error["type"] == "rate_limit_exceeded" and error["code"] == "overloaded" for error in nested.values())


def test_queries_with_different_instructions_share_a_batch(service: Service) -> None:
    with service.busy():
        sent = [
            service.send({"inputs": "bread", "instruction": why}) for why in ("for a child", "no yeast", "no yeast")
        ]
        sent.append(service.send({"inputs": "bread", "input_type": "query"}))
        service.until("infembed_queue_inputs", 4)
    assert [future.result().status for future in sent] == [200] * 4
    assert service.encoder.batches == [[3], [3], [3, 3, 3, 3]]


def test_a_repeated_instruction_gives_the_same_vector_and_is_computed_once(service: Service) -> None:
    hits = service.metric('infembed_instruction_cache_requests_total{outcome="hit"}')
    body = {"inputs": "bread", "instruction": "for an expert with an oven"}
    assert service.post(body).body == service.post(body).body
    assert service.metric('infembed_instruction_cache_requests_total{outcome="hit"}') == hits + 1


def test_a_single_query_overtakes_an_ingestion(tiny_bundle: Path) -> None:
    with _serving(tiny_bundle, max_batch_tokens=64) as service:
        with service.busy():
            bulk = service.send({"inputs": ["bread " * 40] * 20})
            service.until("infembed_queue_inputs", 20)
            single = service.send({"inputs": "road"})
            service.until("infembed_queue_inputs", 21)
        assert (single.result().status, bulk.result().status) == (200, 200)
        assert service.encoder.batches == [[3], [3], [3], *[[42]] * 20]


def test_an_ingestion_that_is_too_large_is_refused_while_single_queries_are_taken(tiny_bundle: Path) -> None:
    with _serving(tiny_bundle, max_bulk_tokens=64, max_queued_tokens=64) as service:
        with service.busy():
            waiting = service.send({"inputs": ["bread " * 40] * 20})
            service.until("infembed_queue_inputs", 20)
            refused = service.post({"inputs": ["road"] * 20})
            single = service.send({"inputs": "road"})
            service.until("infembed_queue_inputs", 21)
        assert (refused.status, refused.body["error_type"]) == (429, "Overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 100
        assert (single.result().status, waiting.result().status) == (200, 200)
        assert service.metric('infembed_refused_requests_total{lane="bulk"}') == 1


def test_a_client_beyond_its_rate_is_told_when_to_come_back(tiny_bundle: Path) -> None:
    with _serving(tiny_bundle, client_tokens_per_s=1) as service:
        assert service.post({"inputs": "bread bread bread bread bread bread bread bread bread bread"}).status == 200
        refused = service.post({"inputs": "bread"})
        assert (refused.status, refused.body["error_type"]) == (429, "Overloaded")
        assert "1 tokens a second" in refused.body["error"]
        assert int(refused.headers["retry-after-ms"]) > 0
        assert service.metric("infembed_rate_limited_requests_total") == 1
