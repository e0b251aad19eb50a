"""One running service over HTTP: its description and its searches, each bounded in time, size and patience."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NamedTuple, Self

import httpx2
from pydantic import ConfigDict, ValidationError

from evaluation.canary.observations import Answer, Failure, FailureKind, Hit, Outcome, ServiceFacts
from evaluation.canary.questions import Search
from infembed import version
from infembed.api_key import authorization
from infembed.config import Config, explain
from infembed.errors import BadInputError

MOST_WAITS = 5
LONGEST_WAIT_S = 30.0
_DEFAULT_WAIT_S = 1.0
_LARGEST_BODY = 64 * 1024 * 1024
_COME_BACK = {429, 503}
_KEEP_ALIVE_S = 2.0
"""Below the 5 s after which uvicorn closes an idle connection: reused at that moment it would look like a failure."""


class _Result(Config):
    model_config = ConfigDict(extra="ignore")

    id: str
    score: float


class _SearchAnswer(Config):
    model_config = ConfigDict(extra="ignore")

    results: tuple[_Result, ...]
    collection: str


class _Reply(NamedTuple):
    """An HTTP answer read to its end."""

    response: httpx2.Response
    body: bytes
    latency_ms: float


class _TooLargeError(Exception):
    """A body beyond any sensible search answer."""


class ServiceClient:
    """Asks one service; keeps its connection, follows no redirect, waits when told to come back later."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        api_key: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        address = _checked(url)
        self.url = str(address.copy_with(userinfo=b""))
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=address,
            timeout=timeout_s,
            transport=transport,
            limits=httpx2.Limits(keepalive_expiry=_KEEP_ALIVE_S),
            headers={"user-agent": f"infembed-canary/{version()}"} | authorization(api_key),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._http.close()

    def facts(self, *, until: float) -> ServiceFacts | Failure:
        """Read `GET /info`; `until` (of the clock) bounds the waits a busy service asks for."""
        reply, n_waits = self._patient("GET", "/info", None, until)
        if isinstance(reply, Failure):
            return reply
        try:
            return ServiceFacts.model_validate_json(reply.body)
        except ValidationError as error:
            return Failure(FailureKind.BAD_ANSWER, f"this is not an InF-Embed service: {explain(error)}", n_waits)

    def search(self, search: Search, *, k: int, collection: str | None, until: float) -> Outcome:
        """Send one `POST /search`; whatever goes wrong is a Failure, never an exception."""
        asked = {"query": search.query, "instruction": search.instruction, "k": k, "collection": collection}
        body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
        reply, n_waits = self._patient("POST", "/search", body, until)
        if isinstance(reply, Failure):
            return reply
        try:
            found = _SearchAnswer.model_validate_json(reply.body)
        except ValidationError as error:
            return Failure(FailureKind.BAD_ANSWER, f"these are no search results: {explain(error)}", n_waits)
        hits = tuple(Hit(result.id, result.score) for result in found.results)
        return Answer(hits, reply.latency_ms, found.collection, n_waits)

    def _patient(self, method: str, path: str, body: bytes | None, until: float) -> tuple[_Reply | Failure, int]:
        """Send until answered otherwise than "come back later"; returns also how often that was said."""
        n_waits = 0
        while True:
            reply = self._send(method, path, body, n_waits)
            if isinstance(reply, Failure) or reply.response.status_code not in _COME_BACK:
                return (reply if isinstance(reply, Failure) else _accepted(reply, n_waits)), n_waits
            n_waits += 1
            wait_s = _wait_of(reply.response)
            if n_waits >= MOST_WAITS or wait_s > LONGEST_WAIT_S or self._clock() + wait_s > until:
                message = f"answered {_status(reply)} {n_waits} times, the last asking to wait {wait_s:.3g} s"
                return Failure(FailureKind.OVERLOADED, message, n_waits), n_waits
            self._sleep(wait_s)

    def _send(self, method: str, path: str, body: bytes | None, n_waits: int) -> _Reply | Failure:
        headers = {"content-type": "application/json"} if body is not None else {}
        started = self._clock()
        try:
            with self._http.stream(method, path, content=body, headers=headers) as response:
                content = self._read(response, started)
        except httpx2.TimeoutException:
            return Failure(FailureKind.TIMEOUT, f"no answer within {self._timeout_s:g} s", n_waits)
        except httpx2.HTTPError as error:
            return Failure(FailureKind.UNREACHABLE, f"{type(error).__name__}: {error}", n_waits)
        except _TooLargeError:
            message = f"the answer is larger than {_LARGEST_BODY:,} bytes"
            return Failure(FailureKind.BAD_ANSWER, message, n_waits)
        return _Reply(response, content, (self._clock() - started) * 1000)

    def _read(self, response: httpx2.Response, started: float) -> bytes:
        """Read the body; the client's own time-out is per read, so a trickle would pass it for ever."""
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > _LARGEST_BODY:
                raise _TooLargeError
            if self._clock() - started > self._timeout_s:
                raise httpx2.ReadTimeout("the body took too long")
        return bytes(content)


def _checked(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise BadInputError(f"{url!r} is not the address of a service: {error}") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise BadInputError(f"{url!r} is not the address of a service; give one like http://host:8080")
    return address


def _accepted(reply: _Reply, n_waits: int) -> _Reply | Failure:
    status = reply.response.status_code
    if status == httpx2.codes.OK:
        return reply
    kind = FailureKind.SERVER_ERROR if status >= 500 else FailureKind.REFUSED
    return Failure(kind, f"answered {_status(reply)}", n_waits)


def _status(reply: _Reply) -> str:
    text = reply.body[:300].decode("utf-8", errors="replace").strip()
    return f"{reply.response.status_code}" + (f" ({text})" if text else "")


def _wait_of(response: httpx2.Response) -> float:
    """Seconds that Retry-After asks for, in either of its forms."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        asked = parsedate_to_datetime(value)
    except ValueError:
        return _DEFAULT_WAIT_S
    aware = asked if asked.tzinfo else asked.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
