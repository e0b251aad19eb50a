"""One table from error to status code, and the two shapes an error body has."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from infembed import errors
from infembed.config import shown

_MOST_PROBLEMS = 5
_DEEPEST_NAME = 4
_LONGEST_NAME = 60
INTERNAL_MESSAGE = "the service failed on this request; the log has the details under its request id"


class Problem(NamedTuple):
    """What a client is told."""

    status: int
    error_type: str
    message: str
    param: str | None = None
    headers: Mapping[str, str] = {}


_TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.EmptyInputError, 400, "Empty"),
    (errors.NotFoundError, 404, "NotFound"),
    (errors.RefusedReloadError, 409, "Conflict"),
    (errors.InputTooLongError, 422, "Validation"),
    (errors.TooManyInputsError, 422, "Validation"),
    (errors.BadInputError, 400, "Validation"),
    (errors.UnavailableError, 503, "Unhealthy"),
    (errors.OverloadedError, 429, "Overloaded"),
    (errors.DeadlineExceededError, 504, "Timeout"),
    (errors.NonFiniteError, 500, "Backend"),
)
"""First match wins; anything else is our fault: 500."""

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_exceeded",
}


def problem_of(error: Exception, method: str, path: str) -> Problem:
    """Say what a client is told of an error that a request met."""
    if isinstance(error, HTTPException):
        return _http_problem(error, method, path)
    if isinstance(error, RequestValidationError):
        return _validation_problem(error.errors())
    for kind, status, error_type in _TABLE:
        if isinstance(error, kind):
            param = error.param if isinstance(error, errors.BadInputError) else None
            headers = retry_headers(error.retry_after_s) if isinstance(error, errors.OverloadedError) else {}
            return Problem(status, error_type, str(error), param, headers)
    return Problem(500, "Backend", INTERNAL_MESSAGE)


def _validation_problem(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """Say in one sentence which fields are wrong, what was found and what is expected; `faults` are pydantic's."""
    problems = []
    fields = []
    for fault in faults[:_MOST_PROBLEMS]:
        where = [str(step)[:_LONGEST_NAME] for step in fault["loc"] if step != "body"]
        if fault["type"] == "json_invalid":
            return Problem(400, "Validation", f"the body is not valid JSON: {fault['ctx']['error']}")
        name = ".".join(where[:_DEEPEST_NAME]) or "body"
        fields.append(where[0] if where else "body")
        is_no_object = fault["type"] == "model_type"  # pydantic would name the class behind it
        expected = "Input should be an object" if is_no_object else fault["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {expected} (got {shown(fault.get('input'))})")
    return Problem(422, "Validation", "; ".join(problems), fields[0])


def _http_problem(error: HTTPException, method: str, path: str) -> Problem:
    """Say what is wrong with a request that reached no handler of ours."""
    message = str(error.detail)
    if error.status_code == 404:
        message = f"there is no {path[:_LONGEST_NAME]}; GET /docs lists the routes"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{path[:_LONGEST_NAME]} takes {allowed}, not {method}; GET /docs lists the routes"
    kind = "NotFound" if error.status_code == 404 else "Validation"
    return Problem(error.status_code, kind, message, None, error.headers or {})


def body_of(problem: Problem, path: str) -> dict[str, object]:
    """Shape an error for the route: OpenAI's nesting under /v1 and /embeddings, flat elsewhere."""
    if path.startswith("/v1/") or path in {"/v1", "/embeddings"}:
        kind = _OPENAI_TYPES.get(problem.status, "server_error")
        param = "input" if problem.param == "inputs" else problem.param
        detail = {"message": problem.message, "type": kind, "param": param, "code": problem.error_type.lower()}
        return {"error": detail}
    return {"error": problem.message, "error_type": problem.error_type}


def retry_headers(seconds: float) -> dict[str, str]:
    """Say when to try again, in whole seconds for all clients and in milliseconds for those that read them."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}
