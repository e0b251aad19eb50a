"""One model behind an OpenAI-compatible endpoint: asked patiently, believed in nothing."""

import asyncio
import email.utils
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, Self

import httpx2
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    RateLimitError,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from infembed.config import shown
from infembed.errors import BadConfigError, UnfinishedError
from training.synthesis.config import EndpointConfig, Retries
from training.synthesis.questions import Question

Sleep = Callable[[float], Awaitable[None]]
_OVERLOADED = frozenset({408, 409, 425, 429})
_OUR_SETTINGS = {401: "the key is wrong", 403: "the key may not do this", 404: "there is no such model or path"}
_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_ABOUT_THE_TEXT = frozenset({"content_filter", "content_policy_violation", "context_length_exceeded"})
_SHOWN_MODELS = 5


class Response(NamedTuple):
    """The body of an answer; a request that the endpoint refused outright cost nothing."""

    body: str
    is_paid: bool


class NoAnswerError(Exception):
    """The endpoint gave no answer to one question, however often it was asked."""


class Endpoint:
    """Sends questions. `sleep` and `jitter` are passed in so that tests wait for nothing."""

    def __init__(
        self, model: EndpointConfig, client: AsyncOpenAI, retries: Retries, *, sleep: Sleep, jitter: Callable[[], float]
    ) -> None:
        self.model = model
        self.n_retries = 0
        self.n_failures_in_a_row = 0
        self.has_answered = False
        self._client = client
        self._sleep = sleep
        self._hurry = asyncio.Event()
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(retries.n_tries),
            wait=lambda state: _wait_s(state, retries, jitter()),
            retry=retry_if_exception(
                lambda error: not self._hurry.is_set() and _is_worth_another_try(error, retries.longest_retry_after_s)
            ),
            before_sleep=self._count,
            sleep=self._wait,
            reraise=True,
        )

    @classmethod
    def open(
        cls, model: EndpointConfig, retries: Retries, *, sleep: Sleep, jitter: Callable[[], float] = random.random
    ) -> Self:
        """Connect to nothing yet, but refuse a key that is not there."""
        key = "none"
        if model.api_key_env is not None:
            key = os.environ.get(model.api_key_env, "").strip()
            if not key:
                raise BadConfigError(
                    f"the environment variable {model.api_key_env} is not set; put the key of {model.base_url} into it"
                )
        client = AsyncOpenAI(api_key=key, base_url=model.base_url, timeout=model.timeout_s, max_retries=0)
        return cls(model, client, retries, sleep=sleep, jitter=jitter)

    async def check(self) -> None:
        """Ask for the list of models, which costs nothing, to see that address, key and model are right."""
        if not self.model.check_model:
            return
        try:
            listed = [found.id async for found in self._client.models.list()]
        except APIStatusError as error:
            if error.status_code in {401, 403}:
                raise self._refusal(error) from error
            return  # no list here: the first question will show
        except (APIConnectionError, APITimeoutError) as error:
            raise BadConfigError(
                f"{self.model.base_url} cannot be reached ({_reason(error)}); check base_url and that it runs"
            ) from error
        except (APIError, AttributeError, TypeError, ValueError):
            return  # a list that is none
        if listed and self.model.model not in listed:
            nearest = get_close_matches(self.model.model, listed, n=_SHOWN_MODELS, cutoff=0.3) or listed[:_SHOWN_MODELS]
            raise BadConfigError(
                f"{self.model.base_url} has no model {shown(self.model.model)}; it lists {', '.join(nearest)} "
                "(check_model = false goes on all the same)"
            )

    async def ask(self, question: Question) -> Response:
        """Send a question until there is an answer; raises `NoAnswerError` when there is none for this one alone."""
        try:
            response = await self._ask(question)
        except NoAnswerError:
            self.n_failures_in_a_row += 1
            raise
        self.n_failures_in_a_row = 0
        return response

    def hurry(self) -> None:
        """Try nothing again from now on, and end every wait."""
        self._hurry.set()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, question: Question) -> Response:
        try:
            return Response(await self._retrying(self._send, question), is_paid=True)
        except APIStatusError as error:
            if error.status_code >= 500 or (error.status_code in _OVERLOADED and not _is_out_of_money(error)):
                raise NoAnswerError(_reason(error)) from error
            if self._is_about_our_settings(error):
                raise self._refusal(error) from error
            return Response(error.response.text, is_paid=False)
        except APIConnectionError as error:
            raise NoAnswerError(_reason(error)) from error

    async def _send(self, question: Question) -> str:
        rest = {key: value for key, value in question.request.items() if key not in {"model", "messages"}}
        messages: Any = question.request["messages"]
        try:
            async with asyncio.timeout(self.model.timeout_s):  # the client's bounds silence only
                raw = await self._client.chat.completions.with_raw_response.create(
                    model=str(question.request["model"]), messages=messages, extra_body=rest
                )
        except TimeoutError as error:
            raise APITimeoutError(httpx2.Request("POST", self.model.base_url)) from error
        self.has_answered = True
        return raw.content.decode("utf-8", errors="replace")

    def _is_about_our_settings(self, error: APIStatusError) -> bool:
        """Tell a request that no question of this run could make from one whose text the endpoint will not have."""
        if error.status_code in _OUR_SETTINGS or _is_out_of_money(error):
            return True
        return not self.has_answered and error.code not in _ABOUT_THE_TEXT

    def _refusal(self, error: APIStatusError) -> BadConfigError | UnfinishedError:
        said = shown(_message(error))
        where = f"{self.model.base_url}, model {shown(self.model.model)}: HTTP {error.status_code}"
        if _is_out_of_money(error):
            return UnfinishedError(
                f"{where}: no credit is left there ({said}); add some and run the same command again"
            )
        meaning = _OUR_SETTINGS.get(error.status_code, "it does not take such requests")
        return BadConfigError(f"{where}: {meaning} ({said}); check base_url, model, api_key_env and parameters")

    async def _wait(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(wait) for wait in (self._sleep(seconds), self._hurry.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _count(self, _: RetryCallState) -> None:
        self.n_retries += 1


def retry_after_s(headers: Mapping[str, str], *, now: Callable[[], float] = time.time) -> float | None:
    """Return how long an endpoint wants us to wait: seconds, milliseconds or a date; None where it does not say."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        if not math.isnan(seconds):
            return max(seconds, 0.0)
    try:
        return max(email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - now(), 0.0)
    except (KeyError, ValueError, TypeError):
        return None


def _wait_s(state: RetryCallState, retries: Retries, jitter: float) -> float:
    """Double a random wait each time (AWS's full jitter), on top of what the endpoint asks for."""
    longest = min(retries.first_wait_s * 2.0 ** (state.attempt_number - 1), retries.longest_wait_s)
    error = state.outcome.exception() if state.outcome else None
    asked = retry_after_s(error.response.headers) if isinstance(error, APIStatusError) else None
    return longest * jitter if asked is None else asked + retries.first_wait_s * jitter


def _is_worth_another_try(error: BaseException, longest_retry_after_s: float) -> bool:
    if isinstance(error, APIStatusError):
        asked = retry_after_s(error.response.headers)
        if asked is not None and asked > longest_retry_after_s:
            return False
        return error.status_code >= 500 or (error.status_code in _OVERLOADED and not _is_out_of_money(error))
    return isinstance(error, APIConnectionError)


def _is_out_of_money(error: APIStatusError) -> bool:
    return error.status_code == 402 or (isinstance(error, RateLimitError) and error.code in _NO_MONEY)


def _message(error: APIError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.message


def _reason(error: APIError) -> str:
    if isinstance(error, APIStatusError):
        return f"HTTP {error.status_code}"
    if isinstance(error, APITimeoutError):
        return "time-out"
    cause = error.__cause__
    return f"{type(cause).__name__}: {shown(str(cause))}" if cause is not None else error.message
