"""JSON in and out: bodies parsed by orjson, refused where they are not JSON, answers written from NumPy."""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson
from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from service.answers import ErrorBody, OpenAIErrorBody

_DESCRIPTIONS = {
    400: "The request is not valid",
    401: "An API key is needed and there is none, or an unknown one",
    403: "The API key lacks the scope, or the page that calls has no right to",
    404: "There is no such thing",
    408: "The body took too long to arrive",
    409: "The new model or index cannot be served; nothing was changed",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A field has a wrong type or value",
    429: "Too much is waiting; try again after Retry-After",
    500: "The model failed",
    503: "Loading or shutting down; try again after Retry-After, or another instance",
    504: "The request waited too long",
}
_RETRY_HEADERS = {
    "retry-after": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "retry-after-ms": {
        "description": "The same in milliseconds, as OpenAI's clients read it.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
}
_HEADERS: Mapping[int, Mapping[str, object]] = {
    401: {"www-authenticate": {"description": "How to authenticate.", "required": True, "schema": {"type": "string"}}},
    429: _RETRY_HEADERS,
    503: _RETRY_HEADERS,
}
"""Headers that come with every answer of a status, whichever layer gives it."""

_JSON = re.compile(r"application/(json|[\w.-]+\+json)")
_MOST_KEYS = 256


class JsonRequest(Request):
    """A request whose body must be strict JSON: no NaN, valid UTF-8, no flood of keys."""

    async def json(self) -> Any:
        content = orjson.loads(await self.body())
        if isinstance(content, dict) and len(content) > _MOST_KEYS:
            raise HTTPException(
                400, f"the body has {len(content)} keys, at most {_MOST_KEYS} are read; leave the rest out"
            )
        return content


class JsonRoute(APIRoute):
    """Takes JSON, with or without saying so; refuses bodies that say they are something else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            content_type = request.headers.get("content-type", "")
            kind = content_type.partition(";")[0].strip().lower()
            if kind and not _JSON.fullmatch(kind):
                raise HTTPException(
                    415, f"the body is {content_type[:100]}; send JSON with content-type: application/json"
                )
            headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
            scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
            return await handle(JsonRequest(scope, request.receive))

        return handle_json


def json_response(content: object, *, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Answer with JSON; NumPy arrays are written as they are."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status_code=status, headers=dict(headers or {}), media_type="application/json")


def documented(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """Describe the error answers of a route for OpenAPI."""
    model = OpenAIErrorBody if openai else ErrorBody
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        described[status] = {"model": model, "description": _DESCRIPTIONS[status]}
        if status in _HEADERS:
            described[status]["headers"] = _HEADERS[status]
    return described


WORK_ERRORS = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504)
"""What a route that runs the model may answer besides 200."""
READ_ERRORS = (401, 403, 500, 503)
"""What any other route may answer besides 200."""
