"""Who sends a request, and how long it may take: what the pipeline needs to know besides the texts."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema

_LONGEST_TIMEOUT_MS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Caller:
    """`client` has a rate limit of its own; `timeout_s` counts from the arrival of the whole request, None: default."""

    client: str | None = None
    timeout_s: float | None = None


_TimeoutMs = Annotated[int, Field(ge=1, le=_LONGEST_TIMEOUT_MS)]
_timeout_ms = TypeAdapter(_TimeoutMs)
_TIMEOUT_HEADER = "x-request-timeout-ms"


def caller_of(request: Request) -> Caller:
    """Identify a client by `request.state.client`, where authentication wrote it, or else by its address."""
    client = getattr(request.state, "client", None) or (request.client.host if request.client else None)
    sent = request.headers.get(_TIMEOUT_HEADER)
    if sent is None:
        return Caller(client)
    try:
        return Caller(client, _timeout_ms.validate_python(sent) / 1000)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise RequestValidationError([{**fault, "loc": ("header", _TIMEOUT_HEADER)} for fault in faults]) from error


async def _described(
    request: Request,
    x_request_timeout_ms: Annotated[
        _TimeoutMs | SkipJsonSchema[None],
        Header(description="Time the request may take, at most INFEMBED_REQUEST_TIMEOUT_S; then it is a 504."),
    ] = None,
) -> Caller:
    """Tell FastAPI's description of the header; `JsonRoute` reads it with `caller_of`."""
    del x_request_timeout_ms
    return caller_of(request)


CallerOf = Annotated[Caller, Depends(_described)]
