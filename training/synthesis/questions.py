"""A question is the exact request that a stage sends, and the key under which its answer is kept."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from pydantic import JsonValue

from training.synthesis.config import EndpointConfig, Price, StructuredOutput, SynthesisConfig
from training.synthesis.draft import Draft, Stage
from training.synthesis.prompts import Message, Prompts
from training.synthesis.schemas import json_schema
from training.synthesis.usage import Usage, estimate_tokens


@dataclass(frozen=True)
class Question:
    """A stage's request for a draft; `attempt` counts from 0 the answers that were bought for it."""

    stage: Stage
    prompt_id: str
    attempt: int
    request: dict[str, JsonValue]
    """The body of the request. Its parts are digested, so whatever changes an answer changes the key."""
    max_tokens: int
    price: Price

    @cached_property
    def key(self) -> str:
        """Digest model, prompt version, rendered messages and parameters; where the endpoint lives is left out."""
        whole = [self.prompt_id, self.attempt, self.request]
        return hashlib.sha256(json.dumps(whole, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def at_most(self) -> Usage:
        """Return the tokens that the answer may use up, the prompt's being an estimate."""
        return Usage(prompt=estimate_tokens(json.dumps(self.request, ensure_ascii=False)), completion=self.max_tokens)


@dataclass(frozen=True)
class Questions:
    """Makes the questions of a run."""

    config: SynthesisConfig
    prompts: Prompts

    def make(self, stage: Stage, draft: Draft, *, attempt: int) -> Question:
        """Render a stage's question about a draft."""
        model = self.model_of(stage)
        messages = self.prompts.messages(stage, draft, n_examples=self.config.n_examples)
        return Question(
            stage=stage,
            prompt_id=self.prompts.ids[stage],
            attempt=attempt,
            request=_request(stage, messages, model, attempt=attempt),
            max_tokens=model.max_tokens,
            price=model.price,
        )

    def model_of(self, stage: Stage) -> EndpointConfig:
        """Return the model that a stage asks."""
        return self.config.judge if stage is Stage.JUDGE else self.config.generator


def _request(stage: Stage, messages: list[Message], model: EndpointConfig, *, attempt: int) -> dict[str, JsonValue]:
    schema: JsonValue = json_schema(stage)
    request: dict[str, JsonValue] = {
        "model": model.model,
        **model.parameters,
        model.token_limit.value: model.max_tokens,
    }
    if model.seed is not None:
        request["seed"] = model.seed + attempt
    match model.structured_output:
        case StructuredOutput.JSON_SCHEMA:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": stage.value, "strict": True, "schema": schema},
            }
        case StructuredOutput.JSON_OBJECT_WITH_SCHEMA:
            request["response_format"] = {"type": "json_object", "schema": schema}
        case StructuredOutput.JSON_OBJECT:
            request["response_format"] = {"type": "json_object"}
        case StructuredOutput.WORDS:
            pass
    if model.structured_output in {StructuredOutput.JSON_OBJECT, StructuredOutput.WORDS}:
        messages = [_with_schema(messages[0], schema), *messages[1:]]
    request["messages"] = [dict(message._asdict()) for message in messages]
    return request


def _with_schema(system: Message, schema: JsonValue) -> Message:
    words = "Answer with one JSON object that fits this schema, and with nothing else:"
    return Message(system.role, f"{system.content}\n{words}\n{json.dumps(schema, ensure_ascii=False)}")
