import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from infembed.errors import OverloadedError, UnavailableError
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.admission import Admission
from service.batching import Lane
from service.metrics import Metrics
from service.queue import BatchQueue
from tests.service.queues import Clock, Model, item, open_queue, run, until


def test_vectors_come_back_in_the_order_of_the_request() -> None:
    async def test() -> None:
        queue = open_queue(Model())
        vectors, _ = await queue.run([item(n, length=n) for n in (3, 30, 7, 1)], timeout_s=5)
        assert [float(vector[0]) for vector in vectors] == [3, 30, 7, 1]
        await queue.drain()

    run(test)


def test_on_two_threads_batches_run_side_by_side_and_only_one_that_is_alone_is_told_so() -> None:
    async def test() -> None:
        model = Model()
        queue = open_queue(model, n_threads=2)
        await queue.run([item(1)], timeout_s=5)
        model.gate.clear()
        first = asyncio.create_task(queue.run([item(2)], timeout_s=5))
        await until(lambda: len(model.begun) == 2)
        rest = asyncio.create_task(queue.run([item(n) for n in range(4)], timeout_s=5))
        await until(lambda: len(model.begun) == 3)
        model.gate.set()
        await asyncio.gather(first, rest)
        assert model.begun[:3] == [(1, True), (1, True), (2, False)]
        assert sorted(map(len, model.batches)) == [1, 1, 2, 2]
        await queue.drain()

    run(test)


def test_bulk_takes_all_threads_but_nothing_of_it_waits_before_a_single_query() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model, n_threads=2, max_batch_tokens=8)
        bulk = asyncio.create_task(queue.run([item(n) for n in range(10)], timeout_s=5, lane=Lane.BULK))
        await until(lambda: len(model.begun) == 2)
        single = asyncio.create_task(queue.run([item(99)], timeout_s=5))
        await until(lambda: queue.n_tokens == 44)
        model.gate.set()
        await asyncio.gather(bulk, single)
        assert [99] in model.batches[:4]
        await queue.drain()

    run(test)


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
        task = asyncio.create_task(queue.run([item(1, length=300), item(2)], timeout_s=5))
        await until(lambda: queue.n_tokens == 304)
        for seconds, number, left in ((0.9, 2, 300), (0.1, 1, 0)):
            clock.now += seconds
            gates[number].set()
            await until(lambda left=left: queue.n_tokens == left)  # type: ignore[misc]
        await task
        assert queue.drained_per_s == pytest.approx((0.9 * before + 300) / (0.9 + 0.5))
        assert b"infembed_model_busy_seconds_total 0.95" in metrics.render()
        await queue.drain()

    run(test)


def test_a_prefetched_batch_keeps_the_model_busy_once_a_thread_is_free() -> None:
    async def test() -> None:
        model, clock, metrics = Model(), Clock(), Metrics()
        model.gate.clear()
        queue = open_queue(model, clock=clock, metrics=metrics)
        tasks = [asyncio.create_task(queue.run([item(n)], timeout_s=50)) for n in (1, 2)]
        await until(lambda: queue.n_tokens == 8 and not queue.n_inputs)
        clock.now += 3
        model.gate.set()
        await asyncio.gather(*tasks)
        assert b"infembed_model_busy_seconds_total 3.0" in metrics.render()
        await queue.drain()

    run(test)


def test_callers_that_wait_together_share_a_batch() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model)
        first = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (1, 2)]
        await until(lambda: queue.n_tokens == 8)
        rest = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (3, 4, 5)]
        await until(lambda: queue.n_tokens == 20)
        model.gate.set()
        await asyncio.gather(*first, *rest)
        assert model.batches == [[1], [2], [3, 4, 5]]
        await queue.drain()

    run(test)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model, max_queued_tokens=10)
        task = asyncio.create_task(queue.run([item(1), item(2)], timeout_s=5))
        await until(lambda: queue.n_tokens == 8)
        with pytest.raises(
            OverloadedError, match="8 tokens of interactive requests are waiting and this request has 4"
        ) as caught:
            await queue.run([item(3)], timeout_s=5)
        assert caught.value.retry_after_s > 0
        model.gate.set()
        await task
        await queue.run([item(3)], timeout_s=5)
        await queue.drain()

    run(test)


def test_an_urgent_input_goes_ahead_of_those_that_wait() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model, max_batch_tokens=4)
        tasks = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (1, 2, 3, 4)]
        await until(lambda: queue.n_tokens == 16)
        tasks.append(asyncio.create_task(queue.run([item(9)], timeout_s=5, lane=Lane.URGENT)))
        await until(lambda: queue.n_tokens == 20)
        model.gate.set()
        await asyncio.gather(*tasks)
        assert model.batches == [[1], [2], [9], [3], [4]]
        await queue.drain()

    run(test)


def test_bulk_that_waits_is_overtaken_by_a_single_query() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model)
        bulk = asyncio.create_task(queue.run([item(n, length=20) for n in range(1, 7)], timeout_s=5, lane=Lane.BULK))
        await until(lambda: queue.n_tokens == 120)
        single = asyncio.create_task(queue.run([item(9)], timeout_s=5))
        await until(lambda: queue.n_tokens == 124)
        model.gate.set()
        await asyncio.gather(bulk, single)
        assert model.batches == [[1, 2], [9], [3, 4], [5, 6]]
        await queue.drain()

    run(test)


def test_until_the_model_is_warm_only_urgent_inputs_are_taken() -> None:
    async def test() -> None:
        metrics = Metrics()
        admission = Admission(max_interactive_tokens=100, max_bulk_tokens=100)
        queue = BatchQueue(Model(), metrics, admission, max_batch_tokens=40, clock=Clock())
        with pytest.raises(UnavailableError, match="is loading its model"):
            await queue.run([item(1)], timeout_s=5)
        assert b'infembed_refused_requests_total{lane="interactive"} 1.0' in metrics.render()
        await queue.run([item(1)], timeout_s=5, lane=Lane.URGENT)
        queue.open()
        await queue.run([item(1)], timeout_s=5)
        await queue.drain()

    run(test)


def test_draining_finishes_what_was_admitted_and_refuses_the_rest() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model)
        tasks = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (1, 2, 3)]
        await until(lambda: queue.n_tokens == 12)
        draining = asyncio.create_task(queue.drain())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await queue.run([item(4)], timeout_s=5)
        model.gate.set()
        assert len(await asyncio.gather(*tasks)) == 3
        await draining

    run(test)
