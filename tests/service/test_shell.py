import asyncio
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.shell import CLIENT_GONE, Shell


class Answers(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    metrics: bytes


def _scope() -> Scope:
    return {"type": "http", "method": "POST", "path": "/embed", "headers": []}


def _shell(app: ASGIApp, metrics: Metrics) -> Shell:
    return Shell(app, metrics=metrics, max_body_bytes=1024, body_timeout_s=5)


def test_work_of_a_client_that_hangs_up_is_cancelled() -> None:
    seen: list[str] = []
    messages: list[Message] = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def receive() -> Message:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def send(message: Message) -> None:
        seen.append(message["type"])

    metrics = Metrics()
    asyncio.run(_shell(app, metrics)(_scope(), receive, send))
    assert seen == ["cancelled"]
    assert f'status="{CLIENT_GONE}"'.encode() in metrics.render()


def test_a_client_that_stays_gets_its_answer() -> None:
    sent: list[str] = []
    messages: list[Message] = [{"type": "http.request", "body": b"{}"}]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    metrics = Metrics()
    asyncio.run(_shell(app, metrics)(_scope(), receive, send))
    assert sent == ["http.response.start", "http.response.body"]
    assert b'status="200"' in metrics.render()


def _answers(app: ASGIApp, messages: list[Message], *, headers: list[tuple[bytes, bytes]] | None = None) -> Answers:
    """Run a shell around an application; returns status, headers, body and metrics."""
    sent: list[Message] = []

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    metrics = Metrics()
    asyncio.run(_shell(app, metrics)({**_scope(), "headers": headers or []}, receive, send))
    if not sent:
        return Answers(0, {}, b"", metrics.render())
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answers(sent[0]["status"], names, sent[1]["body"], metrics.render())


async def _reading_app(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def test_an_unexpected_failure_is_a_500_that_names_its_request() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    found = _answers(app, [], headers=[(b"x-request-id", b"r7")])
    assert (found.status, found.headers["x-request-id"]) == (500, "r7")
    assert b"secret" not in found.body
    assert b"request id" in found.body


def test_work_cut_off_by_a_shutdown_is_a_503_and_no_traceback() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    found = _answers(app, [])
    assert (found.status, found.headers["retry-after"]) == (503, "1")
    assert b'"error_type":"Unhealthy"' in found.body


def test_a_client_that_goes_away_within_its_body_is_no_error() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    found = _answers(_reading_app, messages)
    assert found.status == 0
    assert f'status="{CLIENT_GONE}"'.encode() in found.metrics
    assert b'error_type="Validation"' not in found.metrics


def test_a_body_too_large_is_read_to_its_end_before_the_answer() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x" * 1000, "more_body": i < 4} for i in range(5)]
    found = _answers(_reading_app, messages, headers=[(b"content-length", b"5000")])
    assert (found.status, messages) == (413, [])


def test_what_raises_before_the_application_keeps_its_status() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(413, "too large")

    found = _answers(app, [])
    assert (found.status, found.headers["connection"]) == (413, "close")


def test_answers_of_a_draining_service_close_their_connections() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    shell = Shell(_reading_app, metrics=Metrics(), max_body_bytes=1024, body_timeout_s=5, is_draining=lambda: True)
    asyncio.run(shell(_scope(), receive, send))
    assert (b"connection", b"close") in sent[0]["headers"]
