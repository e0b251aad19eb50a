"""An OpenAI-compatible endpoint over a real socket whose answers follow from the question alone."""

import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, dict[str, Any]], str]
"""From the stage and the request to the content of the answer."""

MODELS = ("writer", "judge")
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "joist", "knoll", "ledge")


def write(stage: str, request: dict[str, Any]) -> str:
    """Answer as a model does that does its work; one row in four is judged implausible."""
    digest = hashlib.sha256(json.dumps(request["messages"]).encode()).digest()
    words = [f"{WORDS[byte % len(WORDS)]}{number}{byte}" for number, byte in enumerate(digest)]
    match stage:
        case "instruction":
            return json.dumps({"met_by": "it is", "fits": True, "instruction": " ".join(words[:6])})
        case "instruction_poisoning":
            return json.dumps({"broken_by": "it is", "instruction": " ".join(words[:7])})
        case "query_poisoning":
            return json.dumps({"difference": "it is", "query": " ".join(words[:4])})
        case "hard_negative_1":
            return json.dumps({"plan": "so", "document": " ".join(["first", *words])})
        case "hard_negative_2":
            return json.dumps({"plan": "so", "document": " ".join(["second", *words])})
        case "judge":
            return judge(request, plausible=2 if digest[0] % 4 == 0 else 5)
    raise AssertionError(stage)


def judge(request: dict[str, Any], **scores: int) -> str:
    """Match every document as it was written, and score 5 but where told otherwise."""
    shown = dict(re.findall(r'<document letter="(.)">(\w+)', request["messages"][-1]["content"]))
    of_wish = {{"first": 2, "second": 3}.get(word, 1): letter for letter, word in shown.items()}
    criteria = ("plausible", "violating", "answerable", "positive", "not_lexical")
    scored = {criterion: {"reason": "seen", "score": scores.get(criterion, 5)} for criterion in criteria}
    return json.dumps({f"best_for_wish_{wish}": of_wish[wish] for wish in (1, 2, 3)} | scored)


class ScriptedEndpoint:
    """Serves chat completions and the list of models; counts what it was asked."""

    def __init__(self, answer: Answer = write, *, key: str | None = None) -> None:
        self.answer = answer
        self.key = key
        self.requests: list[dict[str, Any]] = []
        self.finish_reason = "stop"
        self.refusal: tuple[int, dict[str, Any], dict[str, str]] | None = None
        self._numbers = itertools.count()
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def stages(self) -> list[str]:
        """The stages that were asked for, in order."""
        return [stage_of(request) for request in self.requests]

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        content = self.answer(stage_of(request), request)
        n_prompt = len(json.dumps(request)) // 4
        usage = {
            "prompt_tokens": n_prompt,
            "completion_tokens": len(content) // 4,
            "completion_tokens_details": {"reasoning_tokens": 7 if stage_of(request) == "judge" else 0},
        }
        with self.lock:
            number = next(self._numbers)
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": self.finish_reason}
        return {"id": f"scripted-{number}", "choices": [choice], "usage": usage}

    @contextmanager
    def serving(self) -> Iterator["ScriptedEndpoint"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, endpoint: ScriptedEndpoint, *arguments: Any) -> None:
        self._endpoint = endpoint
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self._is_let_in():
            self._send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._is_let_in():
            return
        if self._endpoint.refusal is not None:
            self._send(*self._endpoint.refusal)
            return
        if request["model"] not in MODELS:
            self._send(404, {"error": {"message": f"no model {request['model']}", "code": "model_not_found"}})
            return
        with self._endpoint.lock:
            self._endpoint.requests.append(request)
        self._send(200, self._endpoint.reply(request))

    def _is_let_in(self) -> bool:
        if self._endpoint.key is None or self.headers["authorization"] == f"Bearer {self._endpoint.key}":
            return True
        self._send(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
        return False

    def _send(self, status: int, body: dict[str, Any], headers: Mapping[str, str] = {}) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def stage_of(request: dict[str, Any]) -> str:
    """Read the stage out of the request's schema."""
    return str(request["response_format"]["json_schema"]["name"])
