import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.shell import CLIENT_GONE, Shell


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
