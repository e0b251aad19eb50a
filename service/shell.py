"""The outermost layer, plain ASGI: request ids, body limits, clients that hang up, request metrics.

Nothing here knows what is served.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

import orjson
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, body_of
from service.metrics import Metrics

_LONGEST_REQUEST_ID = 128
UNMATCHED_ROUTE = "unmatched"
CLIENT_GONE = 499
"""nginx's status, in metrics only, of a request whose client hung up before the answer."""


class Shell:
    """Wraps an application; adds what every request needs."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        body_timeout_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        hang_up = _HangUp()
        try:
            if _declared_length(scope) > self._max_body_bytes:
                await self._refuse(scope, send_with_id)
            else:
                await self._app(scope, self._bounded(receive, hang_up), send_with_id)
        except asyncio.CancelledError:
            if not hang_up.is_noticed:
                raise
            status = CLIENT_GONE
        finally:
            hang_up.stop()
            route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
            self._metrics.request(route, status, self._clock() - started)

    def _bounded(self, receive: Receive, hang_up: "_HangUp") -> Receive:
        """Count the bytes of a body and the time it takes, whatever its headers promised; then watch the client."""
        n_bytes = 0
        deadline: float | None = None
        is_complete = False

        async def bounded() -> Message:
            nonlocal n_bytes, deadline, is_complete
            if is_complete:
                return await receive()
            loop = asyncio.get_running_loop()
            deadline = deadline or loop.time() + self._body_timeout_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body took longer than {self._body_timeout_s:g} s to arrive") from None
            is_complete = not message.get("more_body", False)
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            if is_complete and message["type"] == "http.request":
                hang_up.watch(receive)
            return message

        return bounded

    async def _refuse(self, scope: Scope, send: Send) -> None:
        self._metrics.error("Validation")
        body = orjson.dumps(body_of(Problem(413, "Validation", self._too_large()), scope["path"]))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _too_large(self) -> str:
        return f"the body is larger than {self._max_body_bytes} bytes; send fewer inputs at a time"


class _HangUp:
    """Cancels the task of a request whose client closes the connection, so that the model never sees its work."""

    def __init__(self) -> None:
        self.is_noticed = False
        self._watcher: asyncio.Task[None] | None = None

    def watch(self, receive: Receive) -> None:
        """Watch on behalf of the current task, from the end of the body on."""
        request = asyncio.current_task()
        if request is not None and self._watcher is None:
            self._watcher = asyncio.create_task(self._wait(receive, request))

    def stop(self) -> None:
        """Watch no longer: the answer is on its way."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _wait(self, receive: Receive, request: asyncio.Task[object]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.is_noticed = True
        request.cancel()


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if 0 < len(text) <= _LONGEST_REQUEST_ID and text.isascii() and text.isprintable():
                return str(text)
    return uuid.uuid4().hex


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
