"""Scoring through HTTP, against a server that answers what the test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple

import numpy as np
import pytest

from evaluation.encoders import open_service
from evaluation.service_client import ServiceClient, ServiceEncoder
from infembed.errors import BadInputError, InfEmbedError, UnavailableError
from infembed.inputs import InputType, TextInput

INFO = {
    "model_id": "tiny",
    "model_sha": "a" * 64,
    "document_fingerprint": "f" * 64,
    "fusion": "prefix",
    "dim": 2,
    "max_client_batch_size": 32,
    "another_key": 1,
}


class Answer(NamedTuple):
    """One answer of the server."""

    body: str
    status: int = 200
    retry_after: str | None = None


@contextmanager
def _server(*answers: Answer, info: str = json.dumps(INFO)) -> Iterator[tuple[str, list[object]]]:
    """Serve `/info`, then the answers in turn (the last for ever); yields the URL and the bodies that were sent."""
    left = list(answers)
    bodies: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(Answer(info))

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._send(left.pop(0) if len(left) > 1 else left[0])

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            if answer.retry_after is not None:
                self.send_header("retry-after", answer.retry_after)
            self.end_headers()
            self.wfile.write(answer.body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def _encoder(url: str, slept: list[float]) -> ServiceEncoder:
    client = ServiceClient(url, sleep=slept.append)
    return ServiceEncoder(client, client.info())


def test_queries_are_sent_with_their_instructions_and_come_back_normalised() -> None:
    with _server(Answer("[[3, 4], [0, 2]]")) as (url, bodies):
        queries = [TextInput("q", InputType.QUERY, "for a child"), TextInput("r", InputType.QUERY)]
        vectors = _encoder(url, []).encode_queries(queries)
    np.testing.assert_allclose(vectors, np.array([[0.6, 0.8], [0, 1]]), rtol=1e-6)
    assert bodies == [{"inputs": ["q", "r"], "input_type": "query", "instruction": ["for a child", None]}]


def test_documents_are_sent_as_documents_in_batches_the_service_takes() -> None:
    with _server(Answer(json.dumps([[1, 0]] * 32)), Answer("[[0, 1]]")) as (url, bodies):
        vectors = _encoder(url, []).encode_documents(["d"] * 33)
    assert vectors.shape == (33, 2)
    assert [body["inputs"] for body in bodies if isinstance(body, dict)] == [["d"] * 32, ["d"]]


def test_a_busy_service_is_waited_for_as_long_as_it_asks() -> None:
    slept: list[float] = []
    busy = [Answer("{}", 429, "3"), Answer("{}", 503, "0.5"), Answer("{}", 429), Answer("{}", 503, "soon")]
    with _server(*busy, Answer("[[1, 0]]")) as (url, _):
        assert _encoder(url, slept).encode_documents(["d"]).shape == (1, 2)
    assert slept == [3.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(("retry_after", "expected"), [("1", [1.0] * 8), ("25", [25.0, 25.0]), ("86400", [])])
def test_patience_ends(retry_after: str, expected: list[float]) -> None:
    slept: list[float] = []
    with _server(Answer("{}", 429, retry_after)) as (url, _):
        with pytest.raises(UnavailableError, match="is too busy"):
            _encoder(url, slept).encode_documents(["d"])
    assert slept == expected


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer("[[1, 0], [0, 1]]"), r"/embed answered with shape \(2, 2\), expected \(1, 2\)"),
        (Answer("[[1, 0, 0]]"), r"shape \(1, 3\), expected \(1, 2\)"),
        (Answer("[[1], [1, 2]]"), "no list of 1 vectors"),
        (Answer('{"embedding": [1, 0]}'), "no list of 1 vectors"),
        (Answer('[["a", "b"]]'), "no list of 1 vectors"),
        (Answer("[[NaN, 0]]"), "not finite"),
        (Answer("[[null, 0]]"), "not finite"),
        (Answer("[[1e60, 0]]"), "not finite"),
        (Answer("<html>"), "not JSON"),
        (Answer('{"error": "no such model"}', 400), "answered 400: .*no such model"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_one_clear_sentence(answer: Answer, message: str) -> None:
    with _server(answer) as (url, _):
        with pytest.raises(BadInputError, match=message) as refused:
            _encoder(url, []).encode_documents(["d"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("<html>welcome</html>", "is not an InF-Embed service.*not JSON"),
        ('{"status": "ok"}', "is not an InF-Embed service: its /info has model_id"),
        ("[1, 2]", "is not an InF-Embed service"),
        (json.dumps(INFO | {"dim": 0}), "is not an InF-Embed service.*dim"),
        (json.dumps(INFO | {"dim": "wide"}), "is not an InF-Embed service.*dim"),
    ],
)
def test_a_server_that_is_not_ours_is_named_as_such(info: str, message: str) -> None:
    with _server(Answer("[]"), info=info) as (url, _):
        with pytest.raises(BadInputError, match=message) as refused:
            open_service(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["localhost:8080", "file:///etc/passwd", "ftp://example.invalid", "http://", "http://[", ""]
)
def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(BadInputError, match="must begin with http"):
        open_service(url)


def test_a_port_nobody_listens_on_is_one_clear_sentence() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    with pytest.raises(InfEmbedError, match=f"http://127.0.0.1:{port} does not answer"):
        open_service(f"http://127.0.0.1:{port}")
