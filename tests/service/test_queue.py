import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from infembed.errors import (
    DeadlineExceededError,
    NonFiniteError,
    OverloadedError,
    TooManyInputsError,
    UnavailableError,
)
from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.metrics import Metrics
from service.queue import BatchQueue, TokenRate


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


def test_a_request_that_could_never_be_done_in_time_is_told_so_at_once() -> None:
    async def test() -> None:
        queue = _queue(Model())
        with pytest.raises(TooManyInputsError, match=r"has 400 tokens, about 200 can be computed within its 0.1 s"):
            await queue.run([_item(1, length=400)], timeout_s=0.1)
        await queue.drain()

    _run(test)


def test_what_waits_longer_than_the_time_out_allows_is_refused_at_admission() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        task = asyncio.create_task(queue.run([_item(1, length=150)], timeout_s=5))
        await _until(lambda: queue.queued_tokens == 150)
        with pytest.raises(OverloadedError, match="at most 200 may wait") as caught:
            await queue.run([_item(2, length=80)], timeout_s=0.1)
        assert caught.value.retry_after_s == pytest.approx(0.1)  # 30 tokens too many: less than the least wait
        model.gate.set()
        await task
        await queue.drain()

    _run(test)


def test_a_request_ends_at_its_deadline_though_a_batch_is_in_its_way() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        with pytest.raises(DeadlineExceededError, match=r"took longer than 0.05 s"):
            await queue.run([_item(1)], timeout_s=0.05)
        model.gate.set()
        await queue.drain()
        assert queue.queued_tokens == 0

    _run(test)


def test_an_urgent_input_goes_ahead_of_those_that_wait() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model, max_batch_tokens=4)
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2, 3, 4)]
        await _until(lambda: queue.queued_tokens == 16)
        tasks.append(asyncio.create_task(queue.run([_item(9)], timeout_s=5, is_urgent=True)))
        await _until(lambda: queue.queued_tokens == 20)
        model.gate.set()
        await asyncio.gather(*tasks)
        assert model.batches == [[1], [2], [9], [3], [4]]
        await queue.drain()

    _run(test)


def test_a_model_that_fails_on_everything_is_no_sign_of_life() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[1] = RuntimeError("broken")
        queue = _queue(model)
        with pytest.raises(RuntimeError, match="broken"):
            await queue.run([_item(1)], timeout_s=5)
        assert queue.last_forward_at == float("-inf")
        await queue.run([_item(2)], timeout_s=5)
        assert queue.last_forward_at == 100.0
        await queue.drain()

    _run(test)


def test_gauges_are_zero_once_everybody_hung_up() -> None:
    async def test() -> None:
        model, metrics = Model(), Metrics()
        model.gate.clear()
        queue = BatchQueue(model, metrics, max_batch_tokens=40, max_queued_tokens=1000, clock=Clock())
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in range(1, 6)]
        await _until(lambda: queue.queued_tokens == 20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        model.gate.set()
        await queue.drain()
        assert b"infembed_queue_inputs 0.0" in metrics.render()
        assert b"infembed_queue_tokens 0.0" in metrics.render()

    _run(test)


def test_the_rate_weighs_batches_by_their_time_and_leaves_out_small_ones() -> None:
    rate = TokenRate(first=1000)
    for _ in range(100):
        rate.observe(4, 0.1)
    assert rate.per_s == 1000
    for _ in range(200):
        rate.observe(3000, 1.0)
        rate.observe(600, 0.1)
    assert rate.per_s == pytest.approx(3600 / 1.1, rel=0.1)


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
