"""Around the queue: the clock of a request, the allowance of a client, the threads of the tokenizer and their end."""

import asyncio
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infembed.errors import DeadlineExceededError, TooManyInputsError
from infembed.inputs import TextInput
from infembed.tokenization import BundleTokenizer, Token, TokenizedInput
from service.admission import Admission
from service.callers import Caller
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.settings import Settings
from tests.service.app import FaultyEncoder, make_client


class SlowTokenizer:
    """A real tokenizer that waits to be let go, and knows which threads it ran on."""

    def __init__(self, real: BundleTokenizer) -> None:
        self._real = real
        self.gate = threading.Event()
        self.gate.set()
        self.is_entered = threading.Event()
        self.threads: list[threading.Thread] = []

    def tokenize(self, items: Sequence[TextInput], **options: Any) -> list[TokenizedInput]:
        self.threads.append(threading.current_thread())
        self.is_entered.set()
        self.gate.wait(timeout=60)
        return self._real.tokenize(items, **options)

    def tokens(self, texts: Sequence[str], **options: Any) -> list[list[Token]]:
        self.gate.wait(timeout=60)
        return self._real.tokens(texts, **options)


class SlowlyReadEncoder(FaultyEncoder):
    """The tiny model behind a `SlowTokenizer`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slow = SlowTokenizer(super().tokenizer)

    @property
    def tokenizer(self) -> Any:
        return self.slow


def test_time_that_ran_out_while_a_text_was_tokenized_is_a_504(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, encoder, _ = make_client(tiny_bundle)
    with client:
        encoder.batches.clear()
        seconds = itertools.count()
        monkeypatch.setattr("service.pipeline.time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))
        answer = client.post("/embed", json={"inputs": "road"}, headers={"x-request-timeout-ms": "900"})
    assert (answer.status_code, answer.json()["error_type"]) == (504, "Timeout")
    assert "longer than 0.9 s" in answer.json()["error"]
    assert encoder.batches == []


def test_a_request_refused_as_too_large_costs_its_client_no_allowance(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TooManyInputsError("too many tokens")

    client, _, _ = make_client(tiny_bundle, client_tokens_per_s=1)
    with client:
        with monkeypatch.context() as patch:
            patch.setattr(Admission, "require_room", refuse)
            assert client.post("/embed", json={"inputs": "bread " * 20}).status_code == 422
        assert client.post("/embed", json={"inputs": "bread"}).status_code == 200


def test_tokens_that_are_shown_count_to_their_client(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, client_tokens_per_s=1)
    with client:
        assert client.post("/tokenize", json={"inputs": "bread " * 20}).status_code == 200
        assert client.post("/tokenize", json={"inputs": "bread"}).status_code == 429


def test_tokens_are_shown_in_time_or_not_at_all(tiny_bundle: Path) -> None:
    async def ask() -> None:
        encoder = SlowlyReadEncoder(tiny_bundle)
        pipeline = Pipeline(encoder, Metrics(), Settings())
        await pipeline.warm_up()
        encoder.slow.gate.clear()
        try:
            await pipeline.tokens(["bread"], caller=Caller(timeout_s=0.05), add_special_tokens=True)
        finally:
            encoder.slow.gate.set()
            await pipeline.drain()

    with pytest.raises(DeadlineExceededError):
        asyncio.run(ask())


class ManyRunsEncoder(FaultyEncoder):
    """The tiny model on a machine with eight processors."""

    n_runs = 8
    most_run_tokens = 512


def test_however_many_batches_run_side_by_side_the_warm_up_tells_how_fast_the_model_is(tiny_bundle: Path) -> None:
    async def warm_up() -> tuple[float, float]:
        pipeline = Pipeline(ManyRunsEncoder(tiny_bundle), Metrics(), Settings())
        guessed = pipeline.queue.drained_per_s
        await pipeline.warm_up()
        await pipeline.drain()
        return guessed, pipeline.queue.drained_per_s

    guessed, measured = asyncio.run(warm_up())
    assert measured != guessed


def test_one_short_text_is_tokenized_without_a_thread_and_all_else_in_one(tiny_bundle: Path) -> None:
    async def embed() -> list[bool]:
        encoder = SlowlyReadEncoder(tiny_bundle)
        pipeline = Pipeline(encoder, Metrics(), Settings())
        await pipeline.warm_up()
        encoder.slow.threads.clear()
        for texts in (["bread"], ["bread " * 200], ["bread", "oven"]):
            await pipeline.embed([TextInput(text) for text in texts])
        await pipeline.drain()
        return [thread is threading.current_thread() for thread in encoder.slow.threads]

    assert asyncio.run(embed()) == [True, False, False]


def test_the_end_of_a_pipeline_keeps_nobody_waiting_for_texts_that_nobody_wants(tiny_bundle: Path) -> None:
    async def leave() -> bool:
        encoder = SlowlyReadEncoder(tiny_bundle)
        pipeline = Pipeline(encoder, Metrics(), Settings())
        await pipeline.warm_up()
        encoder.slow.is_entered.clear()
        encoder.slow.gate.clear()
        asking = asyncio.create_task(pipeline.embed([TextInput("bread"), TextInput("oven")]))
        await asyncio.to_thread(encoder.slow.is_entered.wait, 60)
        asking.cancel()
        draining = asyncio.create_task(pipeline.drain())
        await asyncio.wait([asking])
        await asyncio.sleep(0)  # the loop goes on while the thread does
        was_waiting = not draining.done()
        encoder.slow.gate.set()
        await draining
        return was_waiting

    assert asyncio.run(leave())
