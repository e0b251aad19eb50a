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
from service.admission import Admission
from service.batching import Lane
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


def _item(number: int, *, length: int = 4) -> TokenizedInput:
    return TokenizedInput(InputType.DOCUMENT, (number,) * length)


def _queue(
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


def test_on_two_threads_batches_run_side_by_side_and_only_one_that_is_alone_is_told_so() -> None:
    async def test() -> None:
        model = Model()
        queue = _queue(model, n_threads=2)
        await queue.run([_item(1)], timeout_s=5)
        model.gate.clear()
        first = asyncio.create_task(queue.run([_item(2)], timeout_s=5))
        await _until(lambda: len(model.begun) == 2)
        rest = asyncio.create_task(queue.run([_item(n) for n in range(4)], timeout_s=5))
        await _until(lambda: len(model.begun) == 3)
        model.gate.set()
        await asyncio.gather(first, rest)
        assert model.begun[:3] == [(1, True), (1, True), (2, False)]
        assert sorted(map(len, model.batches)) == [1, 1, 2, 2]
        await queue.drain()

    _run(test)


def test_bulk_takes_all_threads_but_nothing_of_it_waits_before_a_single_query() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model, n_threads=2, max_batch_tokens=8)
        bulk = asyncio.create_task(queue.run([_item(n) for n in range(10)], timeout_s=5, lane=Lane.BULK))
        await _until(lambda: len(model.begun) == 2)
        single = asyncio.create_task(queue.run([_item(99)], timeout_s=5))
        await _until(lambda: queue.n_tokens == 44)
        model.gate.set()
        await asyncio.gather(bulk, single)
        assert [99] in model.batches[:4]
        await queue.drain()

    _run(test)


def test_a_long_batch_tells_how_fast_the_model_is_whatever_ends_beside_it() -> None:
    async def test() -> None:
        clock, metrics, gates = Clock(), Metrics(), {1: threading.Event(), 2: threading.Event()}

        def encode(items: Sequence[TokenizedInput], *, is_alone: bool) -> FloatArray:
            assert not is_alone
            gates[items[0].ids[0]].wait(timeout=10)
            return np.ones((len(items), 2), dtype=np.float32)

        admission = Admission(max_interactive_tokens=1000, max_bulk_tokens=1000)
        queue = BatchQueue(encode, metrics, admission, max_batch_tokens=512, n_threads=2, clock=clock)
        queue.open()
        before = queue.drained_per_s
        task = asyncio.create_task(queue.run([_item(1, length=300), _item(2)], timeout_s=5))
        await _until(lambda: queue.n_tokens == 304)
        for seconds, number, left in ((0.9, 2, 300), (0.1, 1, 0)):
            clock.now += seconds
            gates[number].set()
            await _until(lambda left=left: queue.n_tokens == left)  # type: ignore[misc]
        await task
        assert queue.drained_per_s == pytest.approx((0.9 * before + 300) / (0.9 + 0.5))
        assert b"infembed_model_busy_seconds_total 0.95" in metrics.render()
        await queue.drain()

    _run(test)


def test_a_prefetched_batch_keeps_the_model_busy_once_a_thread_is_free() -> None:
    async def test() -> None:
        model, clock, metrics = Model(), Clock(), Metrics()
        model.gate.clear()
        queue = _queue(model, clock=clock, metrics=metrics)
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=50)) for n in (1, 2)]
        await _until(lambda: queue.n_tokens == 8 and not queue.n_inputs)
        clock.now += 3
        model.gate.set()
        await asyncio.gather(*tasks)
        assert b"infembed_model_busy_seconds_total 3.0" in metrics.render()
        await queue.drain()

    _run(test)


def test_callers_that_wait_together_share_a_batch() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        first = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2)]
        await _until(lambda: queue.n_tokens == 8)
        rest = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (3, 4, 5)]
        await _until(lambda: queue.n_tokens == 20)
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
        await _until(lambda: queue.n_tokens == 8)
        gone = asyncio.create_task(queue.run([_item(3)], timeout_s=5))
        await _until(lambda: queue.n_tokens == 12)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        model.gate.set()
        await asyncio.gather(*running)
        await queue.run([_item(4)], timeout_s=5)
        assert not any(3 in batch for batch in model.batches)
        assert queue.n_tokens == 0
        await queue.drain()

    _run(test)


def test_a_request_whose_time_ran_out_is_not_encoded() -> None:
    async def test() -> None:
        model, clock = Model(), Clock()
        model.gate.clear()
        queue = _queue(model, clock=clock)
        running = [asyncio.create_task(queue.run([_item(n)], timeout_s=50)) for n in (1, 2)]
        await _until(lambda: queue.n_tokens == 8)
        late = asyncio.create_task(queue.run([_item(3)], timeout_s=2))
        await _until(lambda: queue.n_tokens == 12)
        clock.now += 3
        model.gate.set()
        with pytest.raises(DeadlineExceededError, match=r"waited 3.0 s"):
            await late
        await asyncio.gather(*running)
        assert not any(3 in batch for batch in model.batches)
        await queue.drain()

    _run(test)


def test_a_caller_that_leaves_as_its_time_runs_out_holds_nobody_up() -> None:
    async def test() -> None:
        model, clock = Model(), Clock()
        model.gate.clear()
        queue = _queue(model, clock=clock)
        running = [asyncio.create_task(queue.run([_item(n)], timeout_s=50)) for n in (1, 2)]
        await _until(lambda: queue.n_tokens == 8)
        late = asyncio.create_task(queue.run([_item(3)], timeout_s=2))
        await _until(lambda: queue.n_tokens == 12)
        clock.now += 3
        model.gate.set()
        queue._threads.submit(lambda: None).result()  # both batches have ended, and the loop will hear of it next
        late.cancel()
        await asyncio.gather(*running)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], asyncio.CancelledError)
        await queue.run([_item(4)], timeout_s=5)
        assert queue.n_tokens == 0
        await queue.drain()

    _run(test)


def test_an_inference_thread_that_is_stopped_fails_its_batch_and_goes_on() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[1] = SystemExit(3)
        queue = _queue(model)
        with pytest.raises(RuntimeError, match="stopped by SystemExit"):
            await queue.run([_item(1)], timeout_s=5)
        await queue.run([_item(2)], timeout_s=5)
        assert queue.n_tokens == 0
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
        await _until(lambda: queue.n_tokens == 20)
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
        await _until(lambda: queue.n_tokens == 8)
        with pytest.raises(
            OverloadedError, match="8 tokens of interactive requests are waiting and this request has 4"
        ) as caught:
            await queue.run([_item(3)], timeout_s=5)
        assert caught.value.retry_after_s > 0
        model.gate.set()
        await task
        await queue.run([_item(3)], timeout_s=5)
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
        assert queue.n_tokens == 0

    _run(test)


def test_an_urgent_input_goes_ahead_of_those_that_wait() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model, max_batch_tokens=4)
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2, 3, 4)]
        await _until(lambda: queue.n_tokens == 16)
        tasks.append(asyncio.create_task(queue.run([_item(9)], timeout_s=5, lane=Lane.URGENT)))
        await _until(lambda: queue.n_tokens == 20)
        model.gate.set()
        await asyncio.gather(*tasks)
        assert model.batches == [[1], [2], [9], [3], [4]]
        await queue.drain()

    _run(test)


def test_bulk_that_waits_is_overtaken_by_a_single_query() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        bulk = asyncio.create_task(queue.run([_item(n, length=20) for n in range(1, 7)], timeout_s=5, lane=Lane.BULK))
        await _until(lambda: queue.n_tokens == 120)
        single = asyncio.create_task(queue.run([_item(9)], timeout_s=5))
        await _until(lambda: queue.n_tokens == 124)
        model.gate.set()
        await asyncio.gather(bulk, single)
        assert model.batches == [[1, 2], [9], [3, 4], [5, 6]]
        await queue.drain()

    _run(test)


def test_inputs_that_nobody_waits_for_make_room_at_once() -> None:
    async def test() -> None:
        model, metrics = Model(), Metrics()
        model.gate.clear()
        queue = _queue(model, max_queued_tokens=20, metrics=metrics)
        running = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2)]
        gone = asyncio.create_task(queue.run([_item(3), _item(4), _item(5)], timeout_s=5))
        await _until(lambda: queue.n_tokens == 20)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert queue.n_tokens == 8
        assert b'infembed_dropped_inputs_total{reason="cancelled"} 3.0' in metrics.render()
        model.gate.set()
        await asyncio.gather(*running)
        await queue.drain()
        assert sorted(n for batch in model.batches for n in batch) == [1, 2]

    _run(test)


def test_the_rest_of_a_request_of_which_one_input_failed_is_not_encoded() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[1] = RuntimeError("broken")
        queue = _queue(model, max_batch_tokens=4)
        with pytest.raises(RuntimeError, match="broken"):
            await queue.run([_item(n) for n in range(1, 1000)], timeout_s=20)
        await queue.drain()
        assert len(model.batches) < 500

    _run(test)


def test_a_failing_batch_is_halved_until_the_input_at_fault_is_alone() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[13] = RuntimeError("broken")
        queue = _queue(model, max_batch_tokens=64)
        model.gate.clear()
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (98, 99, *range(1, 17))]
        await _until(lambda: queue.n_tokens == 72)
        model.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [
            n for n, result in zip((98, 99, *range(1, 17)), results, strict=True) if isinstance(result, Exception)
        ] == [13]
        assert len(model.batches) == 2 + 1 + 2 * 4
        await queue.drain()

    _run(test)


def test_until_the_model_is_warm_only_urgent_inputs_are_taken() -> None:
    async def test() -> None:
        metrics = Metrics()
        admission = Admission(max_interactive_tokens=100, max_bulk_tokens=100)
        queue = BatchQueue(Model(), metrics, admission, max_batch_tokens=40, clock=Clock())
        with pytest.raises(UnavailableError, match="is loading its model"):
            await queue.run([_item(1)], timeout_s=5)
        assert b'infembed_refused_requests_total{lane="interactive"} 1.0' in metrics.render()
        await queue.run([_item(1)], timeout_s=5, lane=Lane.URGENT)
        queue.open()
        await queue.run([_item(1)], timeout_s=5)
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
        queue = _queue(model, metrics=metrics)
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in range(1, 6)]
        await _until(lambda: queue.n_tokens == 20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        model.gate.set()
        await queue.drain()
        assert b"infembed_queue_inputs 0.0" in metrics.render()
        assert b"infembed_queue_tokens 0.0" in metrics.render()

    _run(test)


def test_draining_finishes_what_was_admitted_and_refuses_the_rest() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = _queue(model)
        tasks = [asyncio.create_task(queue.run([_item(n)], timeout_s=5)) for n in (1, 2, 3)]
        await _until(lambda: queue.n_tokens == 12)
        draining = asyncio.create_task(queue.drain())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await queue.run([_item(4)], timeout_s=5)
        model.gate.set()
        assert len(await asyncio.gather(*tasks)) == 3
        await draining

    _run(test)
