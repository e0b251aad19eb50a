"""Tokens: as an endpoint counts them, or as we guess them where nobody counted."""

from typing import NamedTuple

from pydantic import BaseModel, Field, ValidationError

CHARACTERS_PER_TOKEN = 4
"""About right for English."""
_MOST_TOKENS = 1_000_000_000


class Usage(NamedTuple):
    """Tokens of one or of many answers; reasoning is a part of completion, cached a part of prompt."""

    prompt: int = 0
    completion: int = 0
    reasoning: int = 0
    cached: int = 0

    def __add__(self, other: object) -> "Usage":
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class _PromptDetails(BaseModel):
    cached_tokens: int | None = Field(default=None, ge=0)


class _CompletionDetails(BaseModel):
    reasoning_tokens: int | None = Field(default=None, ge=0)


class _Tokens(BaseModel):
    prompt_tokens: int = Field(ge=0, le=_MOST_TOKENS)
    completion_tokens: int = Field(ge=0, le=_MOST_TOKENS)
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Counted(BaseModel):
    usage: _Tokens


def read_usage(body: str) -> Usage | None:
    """Return the tokens that an endpoint says it counted; None where it does not say."""
    try:
        usage = _Counted.model_validate_json(body).usage
    except ValidationError:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
        reasoning=min((completion.reasoning_tokens if completion else None) or 0, usage.completion_tokens),
        cached=min((prompt.cached_tokens if prompt else None) or 0, usage.prompt_tokens),
    )


def estimate_tokens(text: str) -> int:
    """Guess the tokens of an English text, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
