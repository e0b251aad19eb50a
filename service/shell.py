"""The outermost layer, plain ASGI: request ids, body limits, clients that hang up, request metrics.

Nothing here knows what is served.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable

import orjson
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, body_of, problem_of
from service.metrics import Metrics

_log = logging.getLogger(__name__)
_LONGEST_REQUEST_ID = 128
_MOST_DISCARDED = 8
_SHUTTING_DOWN = Problem(
    503,
    "Unhealthy",
    "the service shut down before this was done; send it to another instance",
    None,
    {"retry-after": "1"},
)
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
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        hang_up = _HangUp()
        try:
            if _declared_length(scope) > self._max_body_bytes:
                await self._discard(receive)
                await self._answer(scope, send_with_id, Problem(413, "Validation", self._too_large()))
            else:
                await self._app(scope, self._bounded(receive, hang_up), send_with_id)
        except asyncio.CancelledError:
            if not hang_up.is_noticed and not has_begun:
                await self._answer(scope, send_with_id, _SHUTTING_DOWN)
        except Exception as error:  # noqa: BLE001 - the outermost layer: nothing above knows the request
            _log.error("request_id=%s failed", request_id, exc_info=error)
            if not has_begun:
                await self._answer(scope, send_with_id, problem_of(error))
        finally:
            hang_up.stop()
            route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
            self._metrics.request(route, CLIENT_GONE if hang_up.is_noticed else status, self._clock() - started)

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
            if message["type"] == "http.disconnect":
                hang_up.is_noticed = True
                raise asyncio.CancelledError
            is_complete = not message.get("more_body", False)
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            if is_complete:
                hang_up.watch(receive)
            return message

        return bounded

    async def _answer(self, scope: Scope, send: Send, problem: Problem) -> None:
        self._metrics.error(problem.error_type)
        body = orjson.dumps(body_of(problem, scope["path"]))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _discard(self, receive: Receive) -> None:
        """Read a refused body to its end, within bounds: a client that is still writing would miss the answer."""
        n_bytes = 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while n_bytes < _MOST_DISCARDED * self._max_body_bytes:
                    message = await receive()
                    n_bytes += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return

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
