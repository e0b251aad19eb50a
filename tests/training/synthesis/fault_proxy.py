"""A proxy in front of an OpenAI-compatible endpoint that spoils some answers; also used by benchmarks.

Whether and how a question is spoiled follows from its text, not from the order of arrival, so that two runs meet the
same faults. Faults of transport hit a question the first time only; faults of content are answers like others: whoever
keeps them is not asked again. The endpoint behind is not asked when an answer is spoiled.
"""

import hashlib
import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Spoilt(StrEnum):
    """What the proxy does in place of passing on."""

    RATE_LIMIT = "429 with Retry-After"
    SERVER_ERROR = "500"
    TIME_OUT = "time-out"
    TRICKLE = "body that never ends"
    CUT_OFF = "body cut off"
    NOT_A_COMPLETION = "200 that is no completion"
    NOT_JSON = "content that is no JSON"
    WRONG_SCHEMA = "content of another schema"
    TRUNCATED = "finish_reason length"
    EMPTY = "empty content"
    REFUSAL = "refusal"


OF_TRANSPORT = frozenset({Spoilt.RATE_LIMIT, Spoilt.SERVER_ERROR, Spoilt.TIME_OUT, Spoilt.TRICKLE, Spoilt.CUT_OFF})


class Delivery(NamedTuple):
    """An answer with status 200 that left for the client: the digest of the question, and the body."""

    question: str
    body: str


class FaultProxy:
    """Spoils as many of a thousand questions as `per_mille` says for each kind."""

    def __init__(self, upstream: str, per_mille: Mapping[Spoilt, int], *, port: int = 0) -> None:
        self.deliveries: list[Delivery] = []
        self.numbers = itertools.count()
        self.spoilt: Counter[Spoilt] = Counter()
        self.upstream = urlsplit(upstream)
        self._per_mille = dict(per_mille)
        self._seen: Counter[str] = Counter()
        self.lock = threading.Condition()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.upstream.path}"

    @contextmanager
    def serving(self) -> Iterator["FaultProxy"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def wait_for_deliveries(self, n: int, *, timeout_s: float = 600.0) -> None:
        """Return once `n` answers have been delivered."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.deliveries) >= n, timeout_s), len(self.deliveries)

    def lost(self, stored: set[str]) -> list[Delivery]:
        """Return the deliveries that are not kept: on their way when the client died."""
        return [delivery for delivery in self.deliveries if delivery.body not in stored]

    def bought_twice(self, stored: set[str]) -> list[str]:
        """Return the questions that were asked again after an answer that is kept."""
        kept: set[str] = set()
        again = []
        for question, body in self.deliveries:
            if question in kept:
                again.append(question)
            if body in stored:
                kept.add(question)
        return again

    def choose(self, question: str) -> Spoilt | None:
        with self.lock:
            self._seen[question] += 1
            n_seen = self._seen[question]
        drawn = int(question[:8], 16) % 1000
        for kind, share in self._per_mille.items():
            if drawn < share:
                if kind in OF_TRANSPORT and n_seen > 1:
                    return None
                with self.lock:
                    self.spoilt[kind] += 1
                return kind
            drawn -= share
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultProxy, *arguments: Any) -> None:
        self._proxy = proxy
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._send(*self._ask_upstream(None))

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"]))
        question = hashlib.sha256(asked).hexdigest()
        match self._proxy.choose(question):
            case None:
                status, data = self._ask_upstream(asked)
                if status == 200:
                    self._deliver(question, data)
                else:
                    self._send(status, data)
            case Spoilt.RATE_LIMIT:
                self._send(429, _error("slow down"), {"retry-after": "1", "retry-after-ms": "20"})
            case Spoilt.SERVER_ERROR:
                self._send(500, _error("out of order"))
            case Spoilt.TIME_OUT:
                self._proxy.closing.wait(60)
                self.close_connection = True
            case Spoilt.TRICKLE:
                self._trickle()
            case Spoilt.CUT_OFF:
                self._send_half(_completion("never heard to the end"))
            case kind:
                self._deliver(question, _spoil(kind, next(self._proxy.numbers)))

    def _ask_upstream(self, asked: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._proxy.upstream.netloc, timeout=600)
        path = self._proxy.upstream.path.rstrip("/") + self.path.removeprefix(self._proxy.upstream.path.rstrip("/"))
        headers = {"content-type": "application/json"}
        if "authorization" in self.headers:
            headers["authorization"] = self.headers["authorization"]
        try:
            connection.request(self.command, path, asked, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _deliver(self, question: str, data: bytes) -> None:
        with self._proxy.lock:
            self._proxy.deliveries.append(Delivery(question, data.decode()))
            self._proxy.lock.notify_all()
        self._send(200, data)

    def _send(self, status: int, data: bytes, headers: Mapping[str, str] = {}) -> None:
        self._head(status, len(data), headers)
        self.wfile.write(data)

    def _send_half(self, data: bytes) -> None:
        self._head(200, len(data), {})
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def _trickle(self) -> None:
        """Send a byte now and then: silence never lasts long enough for a client that waits for silence."""
        self._head(200, 1_000_000, {})
        while not self._proxy.closing.wait(0.1):
            self.wfile.write(b" ")

    def _head(self, status: int, size: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the client died, or lost its patience
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


def _spoil(kind: Spoilt, number: int) -> bytes:
    identity = str(number)
    match kind:
        case Spoilt.NOT_A_COMPLETION:
            return f"<html><body>The gateway is not as good as it should be at this hour</body></html>{number}".encode()
        case Spoilt.NOT_JSON:
            return _completion("Sure! Here is your JSON:", identity)
        case Spoilt.WRONG_SCHEMA:
            return _completion('{"answer": 42}', identity)
        case Spoilt.TRUNCATED:
            return _completion('{"instruction": "only tho', identity, finish_reason="length")
        case Spoilt.EMPTY:
            return _completion("", identity)
        case Spoilt.REFUSAL:
            return _completion(None, identity, refusal="I cannot help with that.")
        case _:
            raise AssertionError(kind)


def _completion(content: str | None, identity: str = "none", *, finish_reason: str = "stop", **message: str) -> bytes:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return json.dumps({"id": f"spoilt-{identity}", "choices": [choice], "usage": usage}).encode()


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "code": None}}).encode()
