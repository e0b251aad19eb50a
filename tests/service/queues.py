"""A model, a clock and inputs for tests of the queue."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.admission import Admission
from service.metrics import Metrics
from service.queue import BatchQueue


class Model:
    """Encodes an input as its first token; waits at a gate, keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.poisoned: dict[int, float | BaseException] = {}
        self.begun: list[tuple[int, bool]] = []

    def __call__(self, items: Sequence[TokenizedInput], *, is_alone: bool) -> FloatArray:
        self.begun.append((len(items), is_alone))
        self.gate.wait(timeout=10)
        self.batches.append([item.ids[0] for item in items])
        for item in items:
            fault = self.poisoned.get(item.ids[0])
            if isinstance(fault, BaseException):
                raise fault
        rows = [[self.poisoned.get(item.ids[0], item.ids[0])] for item in items]
        return np.array(rows, dtype=np.float32)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def item(number: int, *, length: int = 4) -> TokenizedInput:
    return TokenizedInput(InputType.DOCUMENT, (number,) * length)


def open_queue(
    model: Model,
    *,
    clock: Clock | None = None,
    max_queued_tokens: int = 1000,
    max_batch_tokens: int = 40,
    metrics: Metrics | None = None,
    n_threads: int = 1,
) -> BatchQueue:
    queue = BatchQueue(
        model,
        metrics or Metrics(),
        Admission(max_interactive_tokens=max_queued_tokens, max_bulk_tokens=max_queued_tokens),
        max_batch_tokens=max_batch_tokens,
        n_threads=n_threads,
        clock=clock or Clock(),
    )
    queue.open()
    return queue


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=20))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)
