"""Who sends a request, and how long it may take: what the pipeline needs to know besides the texts."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

_LONGEST_TIMEOUT_MS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Caller:
    """`client` has a rate limit of its own; `timeout_s` counts from the arrival of the whole request, None: default."""

    client: str | None = None
    timeout_s: float | None = None


async def _caller(
    request: Request,
    x_request_timeout_ms: Annotated[
        Annotated[int, Field(ge=1, le=_LONGEST_TIMEOUT_MS)] | SkipJsonSchema[None],
        Header(description="Time the request may take, at most INFEMBED_REQUEST_TIMEOUT_S; then it is a 504."),
    ] = None,
) -> Caller:
    """Identify a client by `request.state.client`, where authentication wrote it, or else by its address.

    Async though it waits for nothing: FastAPI would hand a plain function to a thread, for every request.
    """
    client = getattr(request.state, "client", None) or (request.client.host if request.client else None)
    return Caller(client, None if x_request_timeout_ms is None else x_request_timeout_ms / 1000)


CallerOf = Annotated[Caller, Depends(_caller)]
