"""Rules of the API that JSON Schema cannot say: generated cases that are meant to be valid are made to keep them.

Cases that are meant to be wrong stay as they are. schemathesis loads this module by name (SCHEMATHESIS_HOOKS).
"""

from collections.abc import Callable
from typing import Any

import schemathesis

from infembed.inputs import has_words
from tests.fuzz.site import COLLECTION, DIM, MODEL

_PATIENT_MS = 60_000
_MOST_RESULTS = 500
_SHORT = 8
"""Characters that fit the tiny model's shortest limit, where a request refuses to be cut."""


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: "schemathesis.Case[Any]") -> "schemathesis.Case[Any]":
    """Keep the rules; a short deadline is kept in no case, since the 504 it asks for is no failure."""
    _be_patient(case.headers)
    is_meant_valid = case.meta is not None and case.meta.generation.mode.is_positive
    rule = _RULES.get(case.operation.path)
    if is_meant_valid and rule is not None and isinstance(case.body, dict):
        rule(case.body)
    if is_meant_valid and case.operation.path == "/v1/models/{name}" and len(case.path_parameters["name"]) % 2:
        case.path_parameters["name"] = MODEL
    return case


def _be_patient(headers: Any) -> None:
    value = str((headers or {}).get("x-request-timeout-ms", ""))
    if value.isdecimal() and 0 < int(value) < _PATIENT_MS:
        headers["x-request-timeout-ms"] = str(int(value) + _PATIENT_MS)


def _embedding(field: str) -> Callable[[dict[str, Any]], None]:
    def keep(body: dict[str, Any]) -> None:
        refuses_to_cut = body.get("truncate") in {False, "none"}
        length = _SHORT if refuses_to_cut else None
        body[field] = _worded(body[field], length)
        instruction = body.get("instruction")
        if isinstance(instruction, list):
            n_texts = 1 if isinstance(body[field], str) else len(body[field])
            instruction = [instruction[i % len(instruction)] if instruction else None for i in range(n_texts)]
        if instruction is not None:
            body["instruction"] = _cut(instruction, length)
            body.pop("input_type", None)
        if body.get("dimensions"):
            body["dimensions"] = DIM

    return keep


def _comparing(body: dict[str, Any]) -> None:
    length = _SHORT if (body.get("parameters") or {}).get("truncate") is False else None
    body["inputs"] = {name: _worded(value, length) for name, value in body["inputs"].items()}


def _searching(body: dict[str, Any]) -> None:
    body["query"] = _worded(body["query"])
    for name in ("k", "offset"):
        if name in body:
            body[name] = body[name] if body[name] <= _MOST_RESULTS else 1 + body[name] % _MOST_RESULTS
    if body.get("collection") is not None:
        body["collection"] = COLLECTION


def _worded(texts: Any, length: int | None = None) -> Any:
    """Give texts without a visible character a word."""
    if isinstance(texts, list):
        return [_worded(text, length) for text in texts]
    text = texts[:length]
    return text if has_words(text) else "bread"


def _cut(texts: Any, length: int | None) -> Any:
    if isinstance(texts, list):
        return [_cut(text, length) for text in texts]
    return texts if texts is None else texts[:length]


_RULES: dict[str, Callable[[dict[str, Any]], None]] = {
    "/": _embedding("inputs"),
    "/embed": _embedding("inputs"),
    "/embeddings": _embedding("input"),
    "/v1/embeddings": _embedding("input"),
    "/similarity": _comparing,
    "/search": _searching,
}
