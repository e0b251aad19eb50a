"""When a service says "later": how long to wait, when to give up, and what an error answer means."""

import json
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar

from infembed.client.operations import Operation, Reply, Request
from infembed.errors import (
    AccessError,
    BadInputError,
    DeadlineExceededError,
    EmptyInputError,
    InfEmbedError,
    NotFoundError,
    OverloadedError,
    ServiceFailureError,
    UnavailableError,
)

T = TypeVar("T")
_DEFAULT_WAIT_S = 1.0
_SHOWN_CHARACTERS = 300


class Send(NamedTuple):
    """Send a request, and wait no longer for its answer."""

    request: Request
    timeout_s: float


class Wait(NamedTuple):
    """Do nothing for some time; the answer to it is None."""

    seconds: float


Steps = Generator[Send | Wait, Reply | None, T]


@dataclass(frozen=True)
class Patience:
    """`timeout_s` bounds each request with its waits; `spread()` in [0, 1) keeps clients from coming all at once."""

    timeout_s: float
    clock: Callable[[], float]
    spread: Callable[[], float]

    def steps(self, operation: Operation[T]) -> Steps[T]:
        """Turn an operation into what a client must do, one step after the other; the result is the operation's."""
        try:
            request = next(operation)
            while True:
                request = operation.send((yield from self._answer(request)))
        except StopIteration as done:
            result: T = done.value
            return result

    def _answer(self, request: Request) -> Steps[Reply]:
        deadline = self.clock() + self.timeout_s
        left_s = self.timeout_s
        while True:
            reply = yield Send(request, left_s)
            assert reply is not None
            if reply.status == 200:
                return reply
            error = error_of(reply)
            if not isinstance(error, OverloadedError):
                raise error
            wait_s = error.retry_after_s * (1 + self.spread() / 4)
            if self.clock() + wait_s >= deadline:
                raise error
            yield Wait(wait_s)
            left_s = deadline - self.clock()
            if left_s <= 0:
                raise error


def error_of(reply: Reply) -> InfEmbedError:
    """Turn an answer that is none into the exception the service meant, with its own sentence."""
    sentence, kind = _told(reply)
    if reply.status == 503:
        return UnavailableError(sentence, retry_after_s=retry_after_s(reply))
    if reply.status == 429:
        return OverloadedError(sentence, retry_after_s=retry_after_s(reply))
    if reply.status == 504:
        return DeadlineExceededError(sentence)
    if reply.status in {401, 403}:
        return AccessError(sentence)
    if reply.status == 404:
        return NotFoundError(sentence)
    if 400 <= reply.status < 500:
        return EmptyInputError(sentence) if kind == "Empty" else BadInputError(sentence)
    request_id = reply.headers.get("x-request-id", "none")
    return ServiceFailureError(f"the service answered {reply.status}: {sentence} (request id {request_id})")


def retry_after_s(reply: Reply) -> float:
    """Read `retry-after-ms`, else `retry-after` in either of its forms; a second where neither says anything useful."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = reply.headers.get(name, "").strip()
        if value.isascii() and value.isdigit():
            return int(value[:12]) * unit
    try:
        asked = parsedate_to_datetime(reply.headers.get("retry-after", ""))
    except ValueError:
        return _DEFAULT_WAIT_S
    aware = asked if asked.tzinfo else asked.replace(tzinfo=UTC)
    seconds = (aware - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else _DEFAULT_WAIT_S


def _told(reply: Reply) -> tuple[str, str | None]:
    """Return the sentence and the kind of an error body; a proxy's page is shown by its beginning."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        return body["error"], body.get("error_type")
    text = reply.body[:_SHOWN_CHARACTERS].decode("utf-8", errors="replace").strip()
    return text or f"status {reply.status} without a word", None
