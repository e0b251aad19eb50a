import asyncio

import pytest

from infembed.errors import DeadlineExceededError, NonFiniteError
from service.metrics import Metrics
from tests.service.queues import Clock, Model, item, open_queue, run, until


def test_a_cancelled_request_is_not_encoded() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model)
        running = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (1, 2)]
        await until(lambda: queue.n_tokens == 8)
        gone = asyncio.create_task(queue.run([item(3)], timeout_s=5))
        await until(lambda: queue.n_tokens == 12)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        model.gate.set()
        await asyncio.gather(*running)
        await queue.run([item(4)], timeout_s=5)
        assert not any(3 in batch for batch in model.batches)
        assert queue.n_tokens == 0
        await queue.drain()

    run(test)


def test_a_request_whose_time_ran_out_is_not_encoded() -> None:
    async def test() -> None:
        model, clock = Model(), Clock()
        model.gate.clear()
        queue = open_queue(model, clock=clock)
        running = [asyncio.create_task(queue.run([item(n)], timeout_s=50)) for n in (1, 2)]
        await until(lambda: queue.n_tokens == 8)
        late = asyncio.create_task(queue.run([item(3)], timeout_s=2))
        await until(lambda: queue.n_tokens == 12)
        clock.now += 3
        model.gate.set()
        with pytest.raises(DeadlineExceededError, match=r"waited 3.0 s"):
            await late
        await asyncio.gather(*running)
        assert not any(3 in batch for batch in model.batches)
        await queue.drain()

    run(test)


def test_a_caller_that_leaves_as_its_time_runs_out_holds_nobody_up() -> None:
    async def test() -> None:
        model, clock = Model(), Clock()
        model.gate.clear()
        queue = open_queue(model, clock=clock)
        running = [asyncio.create_task(queue.run([item(n)], timeout_s=50)) for n in (1, 2)]
        await until(lambda: queue.n_tokens == 8)
        late = asyncio.create_task(queue.run([item(3)], timeout_s=2))
        await until(lambda: queue.n_tokens == 12)
        clock.now += 3
        model.gate.set()
        queue._threads.submit(lambda: None).result()  # both batches have ended, and the loop will hear of it next
        late.cancel()
        await asyncio.gather(*running)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], asyncio.CancelledError)
        await queue.run([item(4)], timeout_s=5)
        assert queue.n_tokens == 0
        await queue.drain()

    run(test)


def test_an_inference_thread_that_is_stopped_fails_its_batch_and_goes_on() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[1] = SystemExit(3)
        queue = open_queue(model)
        with pytest.raises(RuntimeError, match="stopped by SystemExit"):
            await queue.run([item(1)], timeout_s=5)
        await queue.run([item(2)], timeout_s=5)
        assert queue.n_tokens == 0
        await queue.drain()

    run(test)


@pytest.mark.parametrize("fault", [RuntimeError("broken"), float("nan"), float("inf")])
def test_a_poisoned_input_fails_alone(fault: float | Exception) -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[2] = fault
        queue = open_queue(model)
        model.gate.clear()
        tasks = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (8, 9, 1, 2, 3)]
        await until(lambda: queue.n_tokens == 20)
        model.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        expected = RuntimeError if isinstance(fault, Exception) else NonFiniteError
        assert [isinstance(result, expected) for result in results] == [False, False, False, True, False]
        await queue.drain()

    run(test)


def test_a_request_ends_at_its_deadline_though_a_batch_is_in_its_way() -> None:
    async def test() -> None:
        model = Model()
        model.gate.clear()
        queue = open_queue(model)
        with pytest.raises(DeadlineExceededError, match=r"took longer than 0.05 s"):
            await queue.run([item(1)], timeout_s=0.05)
        model.gate.set()
        await queue.drain()
        assert queue.n_tokens == 0

    run(test)


def test_inputs_that_nobody_waits_for_make_room_at_once() -> None:
    async def test() -> None:
        model, metrics = Model(), Metrics()
        model.gate.clear()
        queue = open_queue(model, max_queued_tokens=20, metrics=metrics)
        running = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (1, 2)]
        gone = asyncio.create_task(queue.run([item(3), item(4), item(5)], timeout_s=5))
        await until(lambda: queue.n_tokens == 20)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert queue.n_tokens == 8
        assert b'infembed_dropped_inputs_total{reason="cancelled"} 3.0' in metrics.render()
        model.gate.set()
        await asyncio.gather(*running)
        await queue.drain()
        assert sorted(n for batch in model.batches for n in batch) == [1, 2]

    run(test)


def test_the_rest_of_a_request_of_which_one_input_failed_is_not_encoded() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[1] = RuntimeError("broken")
        queue = open_queue(model, max_batch_tokens=4)
        with pytest.raises(RuntimeError, match="broken"):
            await queue.run([item(n) for n in range(1, 1000)], timeout_s=20)
        await queue.drain()
        assert len(model.batches) < 500

    run(test)


def test_a_failing_batch_is_halved_until_the_input_at_fault_is_alone() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[13] = RuntimeError("broken")
        queue = open_queue(model, max_batch_tokens=64)
        model.gate.clear()
        tasks = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in (98, 99, *range(1, 17))]
        await until(lambda: queue.n_tokens == 72)
        model.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [
            n for n, result in zip((98, 99, *range(1, 17)), results, strict=True) if isinstance(result, Exception)
        ] == [13]
        assert len(model.batches) == 2 + 1 + 2 * 4
        await queue.drain()

    run(test)


def test_a_model_that_fails_on_everything_is_no_sign_of_life() -> None:
    async def test() -> None:
        model = Model()
        model.poisoned[1] = RuntimeError("broken")
        queue = open_queue(model)
        with pytest.raises(RuntimeError, match="broken"):
            await queue.run([item(1)], timeout_s=5)
        assert queue.last_forward_at == float("-inf")
        await queue.run([item(2)], timeout_s=5)
        assert queue.last_forward_at == 100.0
        await queue.drain()

    run(test)


def test_gauges_are_zero_once_everybody_hung_up() -> None:
    async def test() -> None:
        model, metrics = Model(), Metrics()
        model.gate.clear()
        queue = open_queue(model, metrics=metrics)
        tasks = [asyncio.create_task(queue.run([item(n)], timeout_s=5)) for n in range(1, 6)]
        await until(lambda: queue.n_tokens == 20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        model.gate.set()
        await queue.drain()
        assert b"infembed_queue_inputs 0.0" in metrics.render()
        assert b"infembed_queue_tokens 0.0" in metrics.render()

    run(test)
