"""JSON in and out: bodies parsed by orjson, refused where they are not JSON, answers written from NumPy."""

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import orjson
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import BaseRoute

from service.answers import ErrorBody, OpenAIErrorBody
from service.callers import caller_of
from service.errors import Problem, body_of

M = TypeVar("M", bound=BaseModel)

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


class JsonRoute(APIRoute):
    """Takes JSON, with or without saying so; refuses bodies that say they are something else.

    FastAPI describes such a route. The request is read here: its own way, open to dependencies of all kinds, takes four
    times as long. The function behind the route takes a model of the body and a `CallerOf`.
    """

    @cached_property
    def answer(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        return self.get_route_handler()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make what answers a request; a route without a body is FastAPI's."""
        if not self.dependant.body_params:
            return super().get_route_handler()
        endpoint = self.dependant.call
        model = self.dependant.body_params[0].field_info.annotation
        assert endpoint is not None
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)

        async def answer(request: Request) -> Response:
            _require_json(request)
            body = await request.body()
            response: Response = await endpoint(_validated(body, model), caller_of(request))
            return response

        return answer


def table_of(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], JsonRoute]:
    """Map method and path to each route that takes a body and has no variable in its path."""
    return {
        (method, route.path): route
        for route in routes
        if isinstance(route, JsonRoute) and route.body_field and not route.param_convertors
        for method in route.methods or ()
    }


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not _JSON.fullmatch(kind):
        raise HTTPException(415, f"the body is {content_type[:100]}; send JSON with content-type: application/json")


def _validated(body: bytes, model: type[M]) -> M:
    """Read a body that must be strict JSON: no NaN, valid UTF-8, no flood of keys."""
    if not body:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        fault = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error", "input": {}}
        raise RequestValidationError([fault | {"ctx": {"error": error.msg}}]) from error
    if isinstance(content, dict) and len(content) > _MOST_KEYS:
        raise HTTPException(400, f"the body has {len(content)} keys, at most {_MOST_KEYS} are read; leave the rest out")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error


def json_response(content: object, *, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Answer with JSON; NumPy arrays are written as they are."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status_code=status, headers=dict(headers or {}), media_type="application/json")


def error_response(problem: Problem, path: str) -> Response:
    """Tell a problem in the shape of its route."""
    return json_response(body_of(problem, path), status=problem.status, headers=problem.headers)


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
