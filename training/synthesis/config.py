"""What a synthesis run needs: two models, where the pairs are, what counts as good, and what it may cost."""

from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Self

from pydantic import Field, JsonValue, field_validator, model_validator

from infembed.config import Config
from training.corpus.rows import InstructionType
from training.synthesis.criteria import Bounds, Criterion
from training.synthesis.usage import Usage

RESERVED = frozenset({"model", "messages", "response_format", "seed", "stream", "n"})


class StructuredOutput(StrEnum):
    """How an endpoint is told to answer in JSON; without a schema of its own it is told in words."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT_WITH_SCHEMA = "json_object_with_schema"
    JSON_OBJECT = "json_object"
    WORDS = "words"


class TokenLimit(StrEnum):
    """The name an endpoint gives to the bound on an answer's tokens."""

    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    MAX_TOKENS = "max_tokens"


class Price(Config):
    """US dollars for a million tokens; reasoning tokens are paid as completion."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached_prompt: float | None = Field(default=None, ge=0, description="None: cached tokens cost what others cost")

    def of(self, usage: Usage) -> float:
        """Return the price of some tokens in US dollars."""
        cached_price = self.prompt if self.cached_prompt is None else self.cached_prompt
        prompt = (usage.prompt - usage.cached) * self.prompt + usage.cached * cached_price
        return (prompt + usage.completion * self.completion) / 1e6


class EndpointConfig(Config):
    """One language model behind an OpenAI-compatible endpoint."""

    base_url: str = Field(pattern=r"^https?://")
    model: str = Field(min_length=1)
    api_key_env: str | None = Field(
        default=None, min_length=1, description="environment variable that holds the key; None sends none"
    )
    price: Price = Field(description="per million tokens; zeros for a model of your own")
    structured_output: StructuredOutput = StructuredOutput.JSON_SCHEMA
    token_limit: TokenLimit = TokenLimit.MAX_COMPLETION_TOKENS
    max_tokens: int = Field(ge=16, description="raised, fewer answers are cut off and the worst case costs more")
    expected_reasoning_tokens: int = Field(default=0, ge=0, description="for estimates only")
    seed: int | None = Field(default=None, description="raised by one for each further attempt at an answer")
    parameters: dict[str, JsonValue] = Field(
        default_factory=dict, description="sent as they are: temperature, reasoning_effort, ..."
    )
    check_model: bool = Field(default=True, description="False where the endpoint serves models that it does not list")
    timeout_s: float = Field(default=120.0, gt=0, description="for one whole answer, however slowly it trickles in")

    @field_validator("parameters")
    @classmethod
    def _leave_ours_alone(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        taken = sorted(RESERVED.intersection(value) | set(TokenLimit).intersection(value))
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be set here; the run or another key of this table sets it")
        return value


class Retries(Config):
    """How patiently an endpoint is asked again: after 429, 5xx, time-outs and lost connections."""

    n_tries: int = Field(default=8, ge=1, description="requests for one answer, the first included")
    first_wait_s: float = Field(default=1.0, gt=0, description="upper end of the first random wait; doubles each time")
    longest_wait_s: float = Field(default=60.0, gt=0)
    longest_retry_after_s: float = Field(default=600.0, gt=0, description="a longer Retry-After ends the tries")
    n_attempts: int = Field(default=2, ge=1, description="answers bought for one question until one is usable")
    stop_after_failures: int = Field(
        default=10, ge=1, description="questions in a row without any answer that end the run: the endpoint is down"
    )


def _default_minimum() -> dict[Criterion, int]:
    return dict.fromkeys(Criterion, 4)


class SynthesisConfig(Config):
    """A run of the pipeline; relative paths are taken from the working directory."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="the corpus's name, and the rows' `source`")
    license: str = Field(min_length=1, description="of the rows: what the passages and the models' terms allow")
    pairs: Path
    out: Path
    answers: Path = Field(description="SQLite file that keeps every answer; runs that share it never pay twice")
    generator: EndpointConfig
    judge: EndpointConfig
    budget_usd: float | None = Field(
        default=None, gt=0, description="what all answers in `answers` may cost together; None is no bound"
    )
    concurrency: int = Field(default=16, ge=1, le=1024, description="pairs worked on at once, one request each")
    n_examples: int = Field(
        default=2, ge=0, le=12, description="worked examples in a generator's prompt, the first of the requested type"
    )
    prompts: Path | None = Field(default=None, description="directory of prompts of your own; None takes ours")
    instruction_types: tuple[InstructionType, ...] = Field(
        default=tuple(kind for kind in InstructionType if kind is not InstructionType.PLAIN),
        min_length=1,
        description="types asked for; a third of the pairs get exclusion or negation where both or one are among them",
    )
    seed: int = Field(default=0, description="deals other types to the pairs")
    minimum: dict[Criterion, int] = Field(
        default_factory=_default_minimum, description="the judge's lowest score, 1 to 5, with which a row is kept"
    )
    bounds: Bounds = Bounds()
    retries: Retries = Retries()

    @model_validator(mode="after")
    def _keeps_files_apart(self) -> Self:
        paths = {"pairs": self.pairs, "out": self.out, "answers": self.answers}
        for one, other in combinations(paths, 2):
            if paths[one].resolve() == paths[other].resolve():
                raise ValueError(f"{one} and {other} are both {paths[one]}; each needs a place of its own")
        return self

    @field_validator("instruction_types")
    @classmethod
    def _are_types_of_instructions(cls, value: tuple[InstructionType, ...]) -> tuple[InstructionType, ...]:
        if InstructionType.PLAIN in value:
            raise ValueError("`plain` marks rows without an instruction; nothing is generated for them")
        if len(set(value)) < len(value):
            raise ValueError("names a type twice")
        return value

    @field_validator("minimum")
    @classmethod
    def _covers_every_criterion(cls, value: dict[Criterion, int]) -> dict[Criterion, int]:
        if any(not 1 <= score <= 5 for score in value.values()):
            raise ValueError("scores go from 1 to 5")
        return _default_minimum() | value
