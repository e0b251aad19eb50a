"""The two clients: thin shells that run the steps of an operation over HTTP."""

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast, get_args

import httpx2

from infembed import version
from infembed.api_key import authorization
from infembed.client import operations
from infembed.client.operations import Operation, Reply
from infembed.client.patience import Patience, Send
from infembed.errors import BadInputError, DeadlineExceededError, UnreachableError

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_KEEP_ALIVE_S = 2.0
"""Below the 5 s after which uvicorn closes an idle connection: reused at that moment it would look like a failure."""


def _blocking(operation: Callable[P, Operation[T]]) -> Callable[Concatenate["Client", P], T]:
    @wraps(operation)
    def run(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(operation(*args, **kwargs))

    return _described(run, operation)


def _awaited(operation: Callable[P, Operation[T]]) -> Callable[Concatenate["AsyncClient", P], Awaitable[T]]:
    @wraps(operation)
    async def run(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._run(operation(*args, **kwargs))

    return _described(run, operation)


def _described(method: F, operation: Callable[..., Operation[Any]]) -> F:
    """Make `help` and notebooks show the operation's parameters and result as the method's own."""
    own = inspect.signature(operation)
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    result = get_args(own.return_annotation)[-1]
    shown = own.replace(parameters=[client, *own.parameters.values()], return_annotation=result)
    vars(method)["__signature__"] = shown
    return method


class Client:
    """Asks one service. Errors are those of `infembed.errors`, with the service's own sentence.

    `timeout_s` bounds each request together with the waits that a busy service (429, 503) asks for. Keeps its
    connections, follows no redirect, may be shared by threads; close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._patience = Patience(timeout_s, clock, random.random)
        self._sleep = sleep
        self._http = httpx2.Client(transport=transport, **_options(url, api_key))

    embed = _blocking(operations.embed)
    embed_with_details = _blocking(operations.embed_with_details)
    search = _blocking(operations.search)
    similarity = _blocking(operations.similarity)
    tokenize = _blocking(operations.tokenize)
    info = _blocking(operations.info)
    collections = _blocking(operations.collections)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _run(self, operation: Operation[T]) -> T:
        steps = self._patience.steps(operation)
        reply: Reply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                return cast("T", done.value)
            if isinstance(step, Send):
                with _plain_failures(step, self._http.base_url):
                    reply = _reply(self._http.send(_built(self._http, step)))
            else:
                self._sleep(step.seconds)
                reply = None


class AsyncClient:
    """`Client` for an event loop: the same methods, awaited."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._patience = Patience(timeout_s, clock, random.random)
        self._sleep = sleep
        self._http = httpx2.AsyncClient(transport=transport, **_options(url, api_key))

    embed = _awaited(operations.embed)
    embed_with_details = _awaited(operations.embed_with_details)
    search = _awaited(operations.search)
    similarity = _awaited(operations.similarity)
    tokenize = _awaited(operations.tokenize)
    info = _awaited(operations.info)
    collections = _awaited(operations.collections)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, operation: Operation[T]) -> T:
        steps = self._patience.steps(operation)
        reply: Reply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                return cast("T", done.value)
            if isinstance(step, Send):
                with _plain_failures(step, self._http.base_url):
                    reply = _reply(await self._http.send(_built(self._http, step)))
            else:
                await self._sleep(step.seconds)
                reply = None


def _options(url: str, api_key: str | None) -> dict[str, Any]:
    headers = {"user-agent": f"infembed/{version()}", "accept": "application/json"} | authorization(api_key)
    return {"base_url": _address(url), "headers": headers, "limits": httpx2.Limits(keepalive_expiry=_KEEP_ALIVE_S)}


def _address(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise BadInputError(f"{url!r} is not the address of a service: {error}", param="url") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise BadInputError(f"{url!r} is not the address of a service; give one like http://host:8080", param="url")
    return address


def _built(http: httpx2.Client | httpx2.AsyncClient, step: Send) -> httpx2.Request:
    content = step.request.content
    headers = {"x-request-timeout-ms": str(max(1, int(step.timeout_s * 1000)))}
    if content is not None:
        headers["content-type"] = "application/json"
    method = "GET" if content is None else "POST"
    return http.build_request(method, step.request.path, content=content, headers=headers, timeout=step.timeout_s)


def _reply(response: httpx2.Response) -> Reply:
    return Reply(response.status_code, response.headers, response.content)


@contextmanager
def _plain_failures(step: Send, url: httpx2.URL) -> Iterator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise DeadlineExceededError(f"{url} did not answer within {step.timeout_s:.3g} s") from error
    except httpx2.HTTPError as error:
        raise UnreachableError(f"{url} does not answer ({type(error).__name__}: {error}); is it running?") from error
