"""The path every text takes: tokenize, all but a short text off the event loop; queue, encode, normalise."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from infembed.bundle import Bundle
from infembed.encoder import StatesOf, TokenIds
from infembed.errors import BadInputError, EmptyInputError, OverloadedError, TooManyInputsError
from infembed.inputs import InputType, TextInput, has_words
from infembed.tokenization import Token, TokenizedInput, TruncationDirection
from infembed.vectors import FloatArray, normalize
from service.admission import Admission
from service.batching import Lane
from service.callers import Caller
from service.headers import LANE_HEADER
from service.instruction_cache import InstructionCache
from service.metrics import InputKind, Metrics, Stage
from service.queue import BatchQueue, QueueTimes, time_limit, too_late
from service.rate_limits import RateLimits
from service.settings import Settings

T = TypeVar("T")
_TOKENIZER_THREADS = 2
_BODIES_IN_TOKENIZER = 4
"""Characters that may be on their way through the tokenizer, in largest bodies."""
_SHORT_CHARACTERS = 512
"""A text of up to so many is tokenized on the event loop: in 0.1 ms or so, less than waking a thread takes."""
_BATCH_TOKENS_ON_GPU = 4096
_PROBE_TIMEOUT_S = 10.0
_MOST_CHARACTERS_SHOWN = 262_144
"""Each token is shown in about 80 characters of JSON, and most are shorter than five characters of text."""
_WARM_UP_TEXTS = 16
_WARM_UP_TEXTS_PER_RUN = 8
_WARM_UP_WORDS = 62
_ANYBODY = Caller()


class Tokenizer(Protocol):
    """What the service needs of a tokenizer."""

    def tokenize(
        self,
        items: Sequence[TextInput],
        *,
        truncate: bool = True,
        direction: TruncationDirection = ...,
        name_of: Callable[[int], str] = ...,
    ) -> list[TokenizedInput]: ...

    def tokens(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[Token]]: ...


class ServedEncoder(Protocol):
    """What the service needs of a model; `infembed.encoder.OnnxEncoder` is one."""

    @property
    def bundle(self) -> Bundle: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def n_runs(self) -> int: ...

    @property
    def most_run_tokens(self) -> int: ...

    def encode(
        self, items: Sequence[TokenizedInput], *, states_of: StatesOf | None = None, is_alone: bool = True
    ) -> FloatArray: ...

    def encode_instructions(self, instructions: Iterable[TokenIds]) -> Mapping[TokenIds, FloatArray]: ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of one request, (N, D), and what making them took."""

    vectors: FloatArray
    items: Sequence[TokenizedInput]
    n_tokens: int
    n_characters: int
    n_truncated: int
    tokenize_s: float
    queue_s: float
    inference_s: float
    lane: Lane

    def described(self, vectors: Iterable[FloatArray | str]) -> list[dict[str, object]]:
        """Put to each vector, in whatever form it is sent, what the model read of its text."""
        return [
            {"embedding": vector, "tokens": item.n_tokens, "truncated": item.is_truncated}
            for vector, item in zip(vectors, self.items, strict=True)
        ]

    def headers(self) -> dict[str, str]:
        """Write the timing headers of text-embeddings-inference, in milliseconds."""
        total = self.tokenize_s + self.queue_s + self.inference_s
        return {
            "x-compute-type": "cpu",
            "x-compute-time": _ms(total),
            "x-compute-characters": str(self.n_characters),
            "x-compute-tokens": str(self.n_tokens),
            "x-total-time": _ms(total),
            "x-tokenization-time": _ms(self.tokenize_s),
            "x-queue-time": _ms(self.queue_s),
            "x-inference-time": _ms(self.inference_s),
            "x-truncated-inputs": str(self.n_truncated),
            LANE_HEADER: self.lane,
        }


class Pipeline:
    """Encodes the texts of requests through one queue and one memory of instructions; both live as long as a model."""

    def __init__(self, encoder: ServedEncoder, metrics: Metrics, settings: Settings) -> None:
        self._encoder = encoder
        self._metrics = metrics
        self._settings = settings
        self._tokenizers = ThreadPoolExecutor(_TOKENIZER_THREADS, thread_name_prefix="tokenize")
        self._tokenizing_characters = 0
        self._probe = encoder.tokenizer.tokenize([TextInput("ready?")])
        self.max_batch_tokens = settings.max_batch_tokens or min(encoder.most_run_tokens, _BATCH_TOKENS_ON_GPU)
        self._limits = RateLimits(settings.client_tokens_per_s)
        instructions = InstructionCache(
            encoder.encode_instructions, metrics, max_bytes=settings.instruction_cache_bytes
        )
        self.queue = BatchQueue(
            partial(encoder.encode, states_of=instructions.states_of),
            metrics,
            Admission(max_interactive_tokens=settings.max_queued_tokens, max_bulk_tokens=settings.max_bulk_tokens),
            max_batch_tokens=self.max_batch_tokens,
            n_threads=encoder.n_runs,
            costs=instructions.costs,
        )

    async def embed(
        self,
        items: Sequence[TextInput],
        *,
        caller: Caller = _ANYBODY,
        width: int | None = None,
        normalized: bool = True,
        truncate: bool = True,
        direction: TruncationDirection = TruncationDirection.RIGHT,
        name_of: Callable[[int], str] = "input {}".format,
    ) -> Embedded:
        """Encode the texts of one request, in order; `name_of` is how its messages call each input.

        Vectors keep their first `width` values (None: all), and are made unit vectors after that.
        """
        self._require_allowance(caller)
        started = time.perf_counter()
        timeout_s = self._time_of(caller)
        lane = Lane.BULK if len(items) > self._settings.bulk_inputs else Lane.INTERACTIVE
        self.queue.require_room(len(items), lane, timeout_s=timeout_s)  # a token each at least: refusals are cheap
        tokenize = partial(
            self._encoder.tokenizer.tokenize, items, truncate=truncate, direction=direction, name_of=name_of
        )
        n_characters = sum(len(item.text) + len(item.instruction or "") for item in items)
        if len(items) == 1 and n_characters <= _SHORT_CHARACTERS:
            tokenized = tokenize()
        else:
            async with time_limit(timeout_s):
                tokenized = await self._tokenize(tokenize, n_characters)
        tokenize_s = time.perf_counter() - started
        if tokenize_s >= timeout_s:
            raise too_late(timeout_s)
        rows, times = await self._run(tokenized, caller, lane, timeout_s=timeout_s - tokenize_s)
        vectors = np.stack([row[:width] for row in rows])
        n_truncated = sum(item.is_truncated for item in tokenized)
        self._metrics.inputs(Counter(map(_kind_of, items)), truncated=n_truncated)
        self._metrics.stage(Stage.TOKENIZE, tokenize_s, lane=lane)
        self._metrics.stage(Stage.QUEUE, times.queue_s, lane=lane)
        self._metrics.stage(Stage.INFERENCE, times.inference_s, lane=lane)
        return Embedded(
            vectors=normalize(vectors) if normalized else vectors,
            items=tokenized,
            n_tokens=sum(item.n_tokens for item in tokenized),
            n_characters=n_characters,
            n_truncated=n_truncated,
            tokenize_s=tokenize_s,
            queue_s=times.queue_s,
            inference_s=times.inference_s,
            lane=lane,
        )

    async def tokens(
        self, texts: Sequence[str], *, caller: Caller = _ANYBODY, add_special_tokens: bool
    ) -> list[list[Token]]:
        """Show the tokens of texts, which count to the caller; refuses more text than an answer could hold."""
        self._require_allowance(caller)
        n_characters = sum(map(len, texts))
        if n_characters > _MOST_CHARACTERS_SHOWN:
            raise TooManyInputsError(
                f"inputs has {n_characters} characters, the tokens of at most {_MOST_CHARACTERS_SHOWN} are shown at "
                "once; send fewer texts, or shorter ones",
                param="inputs",
            )
        show = partial(self._encoder.tokenizer.tokens, texts, add_special_tokens=add_special_tokens)
        async with time_limit(self._time_of(caller)):
            shown = await self._tokenize(show, n_characters)
        self._limits.charge(caller.client, sum(map(len, shown)))
        return shown

    async def warm_up(self) -> None:
        """Run full batches, the first allocates, the second tells how fast the model is; then one alone, and open."""
        n_texts = max(_WARM_UP_TEXTS, _WARM_UP_TEXTS_PER_RUN * self._encoder.n_runs)
        items = self._encoder.tokenizer.tokenize([TextInput("word " * _WARM_UP_WORDS)] * n_texts)
        for _ in range(2):
            await self.queue.run(items, timeout_s=self._settings.request_timeout_s, lane=Lane.URGENT)
        await self.probe()
        self.queue.open()

    async def probe(self) -> None:
        """Run one short text through the model ahead of all others, as readiness asks."""
        await self.queue.run(self._probe, timeout_s=_PROBE_TIMEOUT_S, lane=Lane.URGENT)

    async def drain(self) -> None:
        """Finish what was admitted, then stop the threads."""
        await self.queue.drain()
        await asyncio.to_thread(self._tokenizers.shutdown)  # a request whose client has gone may still be in there

    def _time_of(self, caller: Caller) -> float:
        return min(caller.timeout_s or math.inf, self._settings.request_timeout_s)

    def _require_allowance(self, caller: Caller) -> None:
        try:
            self._limits.require(caller.client)
        except OverloadedError:
            self._metrics.rate_limited()
            raise

    async def _run(
        self, items: Sequence[TokenizedInput], caller: Caller, lane: Lane, *, timeout_s: float
    ) -> tuple[list[FloatArray], QueueTimes]:
        """Encode inputs; a refusal costs the caller no allowance."""
        n_tokens = sum(item.n_tokens for item in items)
        self._limits.charge(caller.client, n_tokens)
        try:
            return await self.queue.run(items, timeout_s=timeout_s, lane=lane)
        except (OverloadedError, TooManyInputsError):
            self._limits.charge(caller.client, -n_tokens)
            raise

    async def _tokenize(self, tokenize: Callable[[], T], n_characters: int) -> T:
        """Tokenize off the event loop; refuses when too much text is on its way already."""
        most = _BODIES_IN_TOKENIZER * self._settings.max_body_bytes
        if self._tokenizing_characters + n_characters > most:
            raise OverloadedError(
                f"{self._tokenizing_characters} characters wait for the tokenizer, at most {most} may: try again later",
                retry_after_s=1.0,
            )
        self._tokenizing_characters += n_characters
        try:
            return await asyncio.get_running_loop().run_in_executor(self._tokenizers, tokenize)
        finally:
            self._tokenizing_characters -= n_characters


def make_inputs(
    texts: str | Sequence[str],
    *,
    instruction: str | Sequence[str | None] | None,
    input_type: InputType | None,
    max_inputs: int,
    field: str = "inputs",
) -> list[TextInput]:
    """Pair texts with their instructions; refuses an empty list, too many, and instructions that do not fit."""
    many = [texts] if isinstance(texts, str) else list(texts)
    if not many:
        raise EmptyInputError(f"{field} is an empty list; give at least one text", param=field)
    if len(many) > max_inputs:
        raise TooManyInputsError(f"{field} has {len(many)} texts, at most {max_inputs} fit one request", param=field)
    if instruction is None or isinstance(instruction, str):
        instructions = [instruction] * len(many)
    else:
        instructions = list(instruction)
    if len(instructions) != len(many):
        raise InstructionCountError(len(instructions), len(many))
    has_instruction = any(instructions)
    side = input_type or (InputType.QUERY if has_instruction else InputType.DOCUMENT)
    if has_instruction and side is InputType.DOCUMENT:
        raise BadInputError(
            "an instruction belongs to queries, and input_type is document; leave one of them out", param="instruction"
        )
    return [TextInput(text, side, one) for text, one in zip(many, instructions, strict=True)]


class InstructionCountError(TooManyInputsError):
    """As many instructions as texts are needed, or one for all."""

    def __init__(self, n_instructions: int, n_texts: int) -> None:
        super().__init__(
            f"instruction has {n_instructions} entries for {n_texts} texts; give one string for all, or one entry each",
            param="instruction",
        )


def _kind_of(item: TextInput) -> InputKind:
    if item.input_type is InputType.DOCUMENT:
        return InputKind.DOCUMENT
    return InputKind.INSTRUCTED_QUERY if has_words(item.instruction or "") else InputKind.PLAIN_QUERY


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"
