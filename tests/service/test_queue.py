import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from infembed.errors import DeadlineExceededError, NonFiniteError, OverloadedError, UnavailableError
from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.metrics import Metrics
from service.queue import BatchQueue


class Model:
    """Encodes an input as its first token; waits at a gate, keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.poisoned: dict[int, float | Exception] = {}

    def __call__(self, items: Sequence[TokenizedInput]) -> FloatArray:
        self.gate.wait(timeout=10)
        self.batches.append([item.ids[0] for item in items])
        for item in items:
            fault = self.poisoned.get(item.ids[0])
            if isinstance(fault, Exception):
                raise fault
        rows = [[self.poisoned.get(item.ids[0], item.ids[0])] for item in items]
        return np.array(rows, dtype=np.float32)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _item(number: int, *, length: int = 4) -> TokenizedInput:
    return TokenizedInput(InputType.DOCUMENT, (number,) * length)


def _queue(
    model: Model, *, clock: Clock | None = None, max_queued_tokens: int = 1000, max_batch_tokens: int = 40
) -> BatchQueue:
    return BatchQueue(
        model,
        Metrics(),
        max_batch_tokens=max_batch_tokens,
        max_queued_tokens=max_queued_tokens,
        clock=clock or Clock(),
    )


def _run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=20))


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_vectors_come_back_in_the_order_of_the_request() -> None:
    async def test() -> None:
        queue = _queue(Model())
        vectors, _ = await queue.run([_item(n, length=n) for n in (3, 30, 7, 1)], timeout_s=5)
        assert [float(vector[0]) for vector in vectors] == [3, 30, 7, 1]
        await queue.drain()

    _run(test)


def test_callers_that_wait_together_share_a_batch() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        first = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2)]
        await _until(lambda: queue.queued_tokens == 8)
        rest = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (3, 4, 5)]
        await _until(lambda: queue.queued_tokens == 20)
        model.gate.set()
        await asyncio.gather(*first, *rest)
        assert model.batches == [[1], [2], [3, 4, 5]]
        await queue.drain()

    _run(test)


def test_a_cancelled_request_is_not_encoded() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        running = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2)]
        await _until(lambda: queue.queued_tokens == 8)
        gone = asyncio.create_task(queue.run([_item(3)], timeout_s=5))
        await _until(lambda: queue.queued_tokens == 12)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        model.gate.set()
        await asyncio.gather(*running)
        await queue.run([_item(4)], timeout_s=5)
        assert not any(3 in batch for batch in model.batches)
        assert queue.queued_tokens == 0
        await queue.drain()

    _run(test)


def test_a_request_whose_time_ran_out_is_not_encoded() -> None:
    async def test() -> None:
        model, clock = Model(), Clock()
        model.gate.clear()
        queue = _queue(model, clock=clock)
        running = [asyncio.create_task(queue.run([_item(n)], timeout_s=50)) for n in (1, 2)]
        await _until(lambda: queue.queued_tokens == 8)
        late = asyncio.create_task(queue.run([_item(3)], timeout_s=2))
        await _until(lambda: queue.queued_tokens == 12)
        clock.now += 3
        model.gate.set()
        with pytest.raises(DeadlineExceededError, match=r"waited 3.0 s"):
            await late
        await asyncio.gather(*running)
        assert not any(3 in batch for batch in model.batches)
        await queue.drain()

    _run(test)


@pytest.mark.parametrize("fault", [RuntimeError("broken"), float("nan"), float("inf")])
def test_a_poisoned_input_fails_alone(fault: float | Exception) -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[2] = fault
        queue = _queue(model)
        model.gate.clear()
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (8, 9, 1, 2, 3)]
        await _until(lambda: queue.queued_tokens == 20)
        model.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        expected = RuntimeError if isinstance(fault, Exception) else NonFiniteError
        assert [isinstance(result, expected) for result in results] == [False, False, False, True, False]
        await queue.drain()

    _run(test)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model, max_queued_tokens=10)
        task = asyncio.create_task(queue.run([_item(1), _item(2)], timeout_s=5))
        await _until(lambda: queue.queued_tokens == 8)
        with pytest.raises(OverloadedError, match="8 tokens are waiting and this request has 4") as caught:
            await queue.run([_item(3)], timeout_s=5)
        assert caught.value.retry_after_s > 0
        model.gate.set()
        await task
        await queue.run([_item(3)], timeout_s=5)
        await queue.drain()

    _run(test)


def test_a_request_larger_than_the_queue_is_served_when_nothing_waits() -> None:
    async def test() -> None:
        queue = _queue(Model(), max_queued_tokens=10)
        vectors, _ = await queue.run([_item(n) for n in range(1, 9)], timeout_s=5)
        assert len(vectors) == 8
        await queue.drain()

    _run(test)


def test_draining_finishes_what_was_admitted_and_refuses_the_rest() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2, 3)]
        await _until(lambda: queue.queued_tokens == 12)
        draining = asyncio.create_task(queue.drain())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await queue.run([_item(4)], timeout_s=5)
        model.gate.set()
        assert len(await asyncio.gather(*tasks)) == 3
        await draining

    _run(test)
