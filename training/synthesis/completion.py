"""What an endpoint's answer really is: pure functions from the stored bytes of a response to a reply, or to a fault.

Endpoints lie: a body that is no JSON, no choices, an empty text, an answer cut off at the token limit, a refusal, prose
around the object, a wrong schema. Each is a fault of one answer and gets a name.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from infembed.config import explain, shown
from training.synthesis.draft import Stage
from training.synthesis.schemas import SCHEMAS, Reply


class Fault(StrEnum):
    """Why an answer cannot be used."""

    MALFORMED = "malformed_response"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    NOT_JSON = "not_json"
    WRONG_SCHEMA = "wrong_schema"
    NO_ANSWER = "no_answer"


class Unusable(NamedTuple):
    """A fault and what was seen."""

    fault: Fault
    detail: str


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Error(BaseModel):
    message: str = "no reason given"
    code: str | int | None = None


class _Body(BaseModel):
    choices: list[_Choice] = []
    error: _Error | None = None


def read_reply(body: str, stage: Stage) -> Reply | Unusable:
    """Return the reply in the body of a chat completion, or why there is none."""
    text = _text(body)
    if isinstance(text, Unusable):
        return text
    text = _unfenced(text)
    try:
        return SCHEMAS[stage].model_validate_json(text)
    except ValidationError as error:
        is_syntax = any(item["type"] == "json_invalid" for item in error.errors(include_url=False))
        if is_syntax:
            return Unusable(Fault.NOT_JSON, f"expected a JSON object, got {shown(text)}")
        return Unusable(Fault.WRONG_SCHEMA, explain(error))


def _text(body: str) -> str | Unusable:
    try:
        parsed = _Body.model_validate_json(body)
    except ValidationError:
        return Unusable(Fault.MALFORMED, f"expected a chat completion, got {shown(body)}")
    if not parsed.choices:
        if parsed.error is not None:
            return Unusable(Fault.REFUSED, f"the endpoint says: {shown(parsed.error.message)}")
        return Unusable(Fault.MALFORMED, "a chat completion without choices")
    choice = parsed.choices[0]
    if choice.message.refusal:
        return Unusable(Fault.REFUSED, shown(choice.message.refusal))
    if choice.finish_reason == "content_filter":
        return Unusable(Fault.REFUSED, "stopped by the endpoint's content filter")
    if choice.finish_reason == "length":
        return Unusable(Fault.TRUNCATED, "reached the token limit; raise max_tokens if this is frequent")
    if not (choice.message.content or "").strip():
        return Unusable(Fault.EMPTY, "an empty answer")
    return choice.message.content or ""


def _unfenced(text: str) -> str:
    """Take the object out of a Markdown fence, which models without structured output like to put around it."""
    found = _FENCED.fullmatch(text.strip())
    return found[1] if found else text


_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
