"""The log tells operators what happened, and nothing of what was asked."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.keys import Scope, StoredKey, hash_key, new_key
from service.logs import LineFormatter, announce
from service.settings import Settings
from tests.service.app import make_client

SECRET_TEXT = "zanzibarquery"
SECRET_INSTRUCTION = "plughinstruction"


@contextmanager
def _captured(*, as_json: bool = True, with_texts: bool = False, level: int = logging.DEBUG) -> Iterator[io.StringIO]:
    """Collect what the service would write, of every logger."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(as_json=as_json, with_texts=with_texts))
    handler.addFilter(lambda record: record.name != "httpx2")  # the client of the test lives in the same process
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _requests(stream: io.StringIO) -> list[dict[str, Any]]:
    return [line for line in _lines(stream) if line["logger"] == "infembed.request"]


def test_a_request_is_one_line_of_fields(tiny_bundle: Path) -> None:
    key = new_key()
    client, _, _ = make_client(tiny_bundle, keys={"me": StoredKey(scopes=(Scope.EMBED,), hash=hash_key(key))})
    headers = {"authorization": f"Bearer {key}", "x-request-id": "r-1"}
    with client, _captured() as stream:
        client.post("/embed", json={"inputs": ["bread", "oven"]}, headers=headers)
        client.post("/embed", json={"inputs": ["bread"]})
    first, second = _requests(stream)
    assert first.pop("ms") > 0
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "infembed.request",
        "event": "request",
        "method": "POST",
        "route": "/embed",
        "status": 200,
        "request_id": "r-1",
        "tokens": 6,
        "key": "me",
    }
    assert (second["status"], "key" in second, len(second["request_id"])) == (401, False, 32)


def test_health_checks_fill_no_log(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client, _captured(level=logging.INFO) as stream:
        for path in ("/health", "/ready", "/metrics", "/info"):
            client.get(path)
    assert [line["route"] for line in _requests(stream)] == ["/info"]


@pytest.mark.parametrize("sent", ["a b", "a\tb", "a" * 129, "<b>", 'a"b', "é", ""])
def test_a_request_id_that_is_not_well_formed_is_replaced(tiny_bundle: Path, sent: str) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        found = client.get("/health", headers={b"x-request-id": sent.encode("latin-1")})
    assert len(found.headers["x-request-id"]) == 32


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_that_was_asked_or_is_secret_appears_in_logs_errors_or_info(tiny_bundle: Path, as_json: bool) -> None:
    """A session with every kind of failure; then all output is searched for texts, keys, hashes and vectors."""
    key, unknown = new_key(), new_key()
    stored = hash_key(key)
    scopes = (Scope.EMBED, Scope.SEARCH)
    client, encoder, _ = make_client(
        tiny_bundle, keys={"me": StoredKey(scopes=scopes, hash=stored)}, max_body_bytes=20_000
    )
    mine = {"authorization": f"Bearer {key}"}
    query = {"query": SECRET_TEXT, "instruction": SECRET_INSTRUCTION, "explain": True}
    with client, _captured(as_json=as_json) as stream:
        vector = client.post("/embed", json={"inputs": SECRET_TEXT}, headers=mine).json()[0]
        answers = [
            client.post("/embed", json={"inputs": SECRET_TEXT}, headers={"authorization": f"Bearer {unknown}"}),
            client.post("/embed", json={"inputs": SECRET_TEXT}, headers={"authorization": unknown}),
            client.post("/admin/reload", headers=mine),
            client.get(f"/{key}", headers=mine),
            client.get(f"/info?api_key={key}&q={SECRET_TEXT}", headers=mine),
            client.get("/metrics", headers=mine),
            client.get("/openapi.json"),
            client.get("/docs"),
            client.post("/embed", content=f'{{"inputs": "{SECRET_TEXT}"'.encode(), headers=mine),
            client.post("/embed", json={"inputs": SECRET_TEXT * 2000}, headers=mine),
        ]
        client.post("/search", json=query, headers=mine)
        client.post("/embed", json={"inputs": "a", SECRET_TEXT: 1}, headers=mine)
        for fault in (RuntimeError(f"{SECRET_TEXT} {key}"), float("nan")):
            encoder.fault = fault
            answers.append(client.post("/search", json=query, headers=mine))
        logging.getLogger("httpx").info("a library logs %s", key)
    log = stream.getvalue()
    everything = log + "".join(answer.text + str(answer.headers) for answer in answers if f"/{key}" != answer.url.path)
    digest = stored.rpartition(":")[2]
    for secret in (unknown, digest, SECRET_INSTRUCTION):
        assert secret not in everything
    assert key not in log
    assert SECRET_TEXT not in log
    assert SECRET_TEXT not in everything
    assert not any(str(value)[:9] in log for value in vector)
    assert "RuntimeError" in log


def test_a_failure_says_where_it_happened_but_not_what_it_quotes() -> None:
    def fail(error: Exception) -> dict[str, Any]:
        with _captured() as stream:
            try:
                raise error
            except Exception as caught:
                logging.getLogger("test").error("failed", exc_info=caught)
        (line,) = _lines(stream)
        return line

    quoting = fail(ValueError(SECRET_TEXT))
    assert quoting["error"] == "ValueError"
    assert "INFEMBED_LOG_TEXTS" in quoting["error_message"]
    assert "test_logs.py" in quoting["frames"][0]
    assert fail(OSError(28, "No space left on device"))["error_message"] == "[Errno 28] No space left on device"


def test_texts_are_logged_only_where_asked_for_and_the_start_says_so(tiny_bundle: Path) -> None:
    client, encoder, _ = make_client(tiny_bundle, log_texts=True)
    with client, _captured(with_texts=True) as stream:
        announce(Settings(log_texts=True))
        client.post("/embed", json={"inputs": SECRET_TEXT})
        encoder.fault = RuntimeError(SECRET_TEXT)
        client.post("/embed", json={"inputs": "bread"})
    start = [line["event"] for line in _lines(stream) if line["logger"] == "service.logs"]
    assert any("request bodies are written to this log" in event for event in start)
    assert SECRET_TEXT in _requests(stream)[0]["body"]
    assert any(line.get("error_message") == SECRET_TEXT for line in _lines(stream))


def test_the_start_says_whether_keys_are_needed() -> None:
    with _captured() as stream:
        announce(Settings())
        announce(Settings(keys={"me": StoredKey(hash=hash_key("k"))}))
    without, with_keys = _lines(stream)
    assert (without["level"], without["host"]) == ("warning", "127.0.0.1")
    assert "no API keys are configured" in without["event"]
    assert (with_keys["level"], with_keys["keys"]) == ("info", ["me"])


def test_a_line_of_text_stays_one_line() -> None:
    with _captured(as_json=False) as stream:
        logging.getLogger("test").warning("two\nlines", extra={"fields": {"a": "b c", "n": 1, "d": "e"}})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith('WARNING test two\\nlines a="b c" n=1 d=e')
