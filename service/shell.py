"""The outermost layer, plain ASGI: request ids, body limits, clients that hang up, and what is told of each request.

Nothing here knows what is served.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.batching import Lane
from service.errors import Problem, body_of, problem_of, retry_headers
from service.headers import LANE_HEADER, Header, secured
from service.metrics import Metrics

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_MOST_DISCARDED = 8
_SHUTTING_DOWN = Problem(
    503,
    "Unhealthy",
    "the service shut down before this was done; send it to another instance",
    None,
    retry_headers(1.0),
)
UNMATCHED_ROUTE = "unmatched"
CLIENT_GONE = 499
"""nginx's status, in metrics only, of a request whose client hung up before the answer."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What observers are told of a request; `began_s` is when its answer began, `seconds` when it ended."""

    scope: Scope
    request_id: str
    status: int
    started_at: float
    began_s: float
    seconds: float
    answer_headers: Sequence[Header]
    body: bytes

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def route(self) -> str:
        """The route's template, never the path as sent: that may hold anything."""
        return str(getattr(self.scope.get("route"), "path", UNMATCHED_ROUTE))

    @property
    def key(self) -> str | None:
        """The name of the API key."""
        found: str | None = self.scope["state"].get("client")
        return found

    @property
    def trace_id(self) -> str | None:
        found: str | None = self.scope["state"].get("trace_id")
        return found

    @property
    def lane(self) -> Lane | None:
        """The lane its texts waited in; None where none was embedded."""
        found = self.answer_header(LANE_HEADER.encode())
        return None if found is None else Lane(found)

    def answer_header(self, name: bytes) -> str | None:
        """Return a header of the answer."""
        return next((value.decode("latin-1") for key, value in self.answer_headers if key == name), None)


Observer = Callable[[Finished], None]


class Shell:
    """Wraps an application; adds what every request needs."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        body_timeout_s: float,
        observers: Sequence[Observer] = (),
        keeps_body: bool = False,
        is_draining: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._observers = observers
        self._keeps_body = keeps_body
        self._is_draining = is_draining
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.time()
        started = self._clock()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id, self._clock, is_last=self._is_draining())
        hang_up = _HangUp()
        body = bytearray()
        try:
            await self._serve(scope, receive, answer, hang_up, body)
        finally:
            hang_up.stop()
            finished = Finished(
                scope,
                request_id,
                status=CLIENT_GONE if hang_up.is_noticed else answer.status,
                started_at=started_at,
                began_s=(answer.began_at or self._clock()) - started,
                seconds=self._clock() - started,
                answer_headers=answer.headers,
                body=bytes(body),
            )
            self._metrics.request(finished.route, finished.status, finished.seconds, lane=finished.lane)
            for observe in self._observers:
                observe(finished)

    async def _serve(
        self, scope: Scope, receive: Receive, answer: "_Answer", hang_up: "_HangUp", body: bytearray
    ) -> None:
        """Run the application; whatever it does, the client gets an answer."""
        problem: Problem | None = None
        try:
            if _declared_length(scope) > self._max_body_bytes:
                await self._discard(receive)
                problem = Problem(413, "Validation", self._too_large())
            else:
                await self._app(scope, self._bounded(receive, hang_up, body), answer)
        except asyncio.CancelledError:
            problem = None if hang_up.is_noticed else _SHUTTING_DOWN
        except HTTPException as error:
            problem = problem_of(error, scope["method"], scope["path"])
        except Exception as error:  # noqa: BLE001 - the outermost layer: nothing above knows the request
            fields = {"request_id": scope["state"]["request_id"]}
            _log.error("a request failed", exc_info=error, extra={"fields": fields})
            problem = problem_of(error, scope["method"], scope["path"])
        if problem is not None and answer.began_at is None:
            await self._answer(scope, answer, problem)

    def _bounded(self, receive: Receive, hang_up: "_HangUp", body: bytearray) -> Receive:
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
            if self._keeps_body:
                body.extend(message.get("body", b""))
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


class _Answer:
    """Sends an answer with the headers that all have, and remembers what was sent."""

    def __init__(self, send: Send, request_id: str, clock: Callable[[], float], *, is_last: bool) -> None:
        self._send = send
        self._clock = clock
        self._added: list[Header] = [(b"x-request-id", request_id.encode())]
        if is_last:
            self._added.append((b"connection", b"close"))
        self.status = 500
        self.began_at: float | None = None
        self.headers: list[Header] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began_at = self._clock()
            self.status = message["status"]
            message["headers"] = self.headers = [*secured(message.get("headers", ())), *self._added]
        await self._send(message)


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
            if _REQUEST_ID.fullmatch(text):
                return str(text)
    return f"{random.getrandbits(128):032x}"


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
