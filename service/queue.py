"""The batch queue: admits work by tokens, forms batches, runs them on inference threads.

Everything but the model runs on the event loop, so there are no locks. On several threads batches run side by side and
share what waits. While all threads are busy, the next batch is already formed and waiting (one batch is prefetched),
unless it is bulk's turn: a single query that comes meanwhile goes before the next bulk batch. Work whose caller has
gone or whose time has run out is dropped before it costs anything.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from infembed.errors import DeadlineExceededError, NonFiniteError, OverloadedError, UnavailableError
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.admission import Admission
from service.batching import Backlog, Lane, Size
from service.metrics import Dropped, Metrics

Costs = Callable[[Sequence[TokenizedInput]], list[int]]
Outcome = FloatArray | BaseException


class Encode(Protocol):
    """Runs one batch, (B, D); `is_alone` says that no other is running."""

    def __call__(self, items: Sequence[TokenizedInput], *, is_alone: bool) -> FloatArray: ...


@dataclass(slots=True, eq=False)
class _Work:
    """One input on its way through the model; `cost` is how many tokens the model will compute for it.

    `started_at` is when its batch was formed, `on_thread_at` when a thread was free to run it.
    """

    item: TokenizedInput
    cost: int
    lane: Lane
    future: asyncio.Future[FloatArray]
    deadline: float
    queued_at: float
    started_at: float = 0.0
    on_thread_at: float = 0.0

    @property
    def size(self) -> Size:
        return Size(len(self.item.ids), len(self.item.instruction_ids))


class QueueTimes(NamedTuple):
    """How long a request waited for its last batch to start, and how long from there to its last vector."""

    queue_s: float
    inference_s: float


class _Stage(Enum):
    LOADING = auto()
    SERVING = auto()
    DRAINING = auto()


STILL_LOADING = "the service is loading its model; try again soon"
_REFUSALS = {
    _Stage.LOADING: STILL_LOADING,
    _Stage.DRAINING: "the service is shutting down; send the request to another instance",
}


def _costs_everything(items: Sequence[TokenizedInput]) -> list[int]:
    return [item.n_tokens for item in items]


class BatchQueue:
    """Turns tokenized inputs into vectors, many callers at a time."""

    def __init__(
        self,
        encode: Encode,
        metrics: Metrics,
        admission: Admission,
        *,
        max_batch_tokens: int,
        n_threads: int = 1,
        costs: Costs = _costs_everything,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encode = encode
        self._metrics = metrics
        self._admission = admission
        self._costs = costs
        self._clock = clock
        self._backlog = Backlog[_Work](budget=max_batch_tokens)
        self._running = 0
        self._running_tokens = 0
        self._prefetched: list[_Work] = []
        self._n_threads = n_threads
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="inference")
        self._stage = _Stage.LOADING
        self._idle = asyncio.Event()
        self._idle.set()
        self.last_forward_at = float("-inf")
        metrics.watch_queue(self)

    @property
    def n_inputs(self) -> int:
        """Inputs waiting for a batch."""
        return len(self._backlog)

    @property
    def n_tokens(self) -> int:
        """Tokens waiting or being computed."""
        return self._admission.n_tokens

    @property
    def drained_per_s(self) -> float:
        """Tokens computed per second of a backlog."""
        return self._admission.rate.per_s

    def open(self) -> None:
        """Take requests from now on; until then only urgent inputs, such as those that warm the model up."""
        if self._stage is _Stage.LOADING:
            self._stage = _Stage.SERVING

    async def run(
        self, items: Sequence[TokenizedInput], *, timeout_s: float, lane: Lane = Lane.INTERACTIVE
    ) -> tuple[list[FloatArray], QueueTimes]:
        """Encode inputs; one (D,) vector each, in order, with the times they took.

        Raises OverloadedError when the queue is full, TooManyInputsError when they could not be computed in time even
        alone, DeadlineExceededError when they took longer than `timeout_s`, NonFiniteError or the model's own error
        when the model fails on one of them.
        """
        costs = self._costs(items)
        n_tokens = sum(costs)
        self.require_room(n_tokens, lane, timeout_s=timeout_s)
        self._admission.admit(n_tokens, lane)
        now = self._clock()
        loop = asyncio.get_running_loop()
        works = [
            _Work(item, cost, lane, loop.create_future(), now + timeout_s, now)
            for item, cost in zip(items, costs, strict=True)
        ]
        self._backlog.add(works, lane)
        self._idle.clear()
        self._start_batches()
        try:
            async with time_limit(timeout_s):
                vectors = await asyncio.gather(*(work.future for work in works))
        except DeadlineExceededError:
            self._leave(works, Dropped.EXPIRED)
            raise
        finally:
            self._leave(works, Dropped.CANCELLED)
        last_start = max(work.started_at for work in works)
        return vectors, QueueTimes(last_start - now, self._clock() - last_start)

    async def drain(self) -> None:
        """Refuse new work, let the queued work finish, stop the threads."""
        self._stage = _Stage.DRAINING
        await self._idle.wait()
        self._threads.shutdown(wait=True)

    def require_room(self, n_tokens: int, lane: Lane, *, timeout_s: float) -> None:
        """Refuse what `run` would refuse with so many tokens: for one look before tokens are counted."""
        is_refusing = self._stage is _Stage.DRAINING or (self._stage is _Stage.LOADING and lane is not Lane.URGENT)
        try:
            if is_refusing:
                raise UnavailableError(_REFUSALS[self._stage], retry_after_s=1.0)
            self._admission.require_room(n_tokens, lane, timeout_s=timeout_s)
        except OverloadedError:
            self._metrics.refused(lane)
            raise

    def _start_batches(self) -> None:
        loop = asyncio.get_running_loop()
        in_flight = self._n_threads + 1
        while self._running < in_flight and (lane := self._backlog.next_lane):
            if lane is Lane.BULK and self._running >= self._n_threads:
                break
            now = self._clock()
            batch = self._backlog.take(now, n_runs=self._n_threads, running_tokens=self._running_tokens)
            for work in batch.expired:
                self._expire(work, now)
            if batch.works:
                for work in batch.works:
                    work.started_at = work.on_thread_at = now
                if self._running == self._n_threads:
                    self._prefetched = batch.works
                is_alone = not self._running and not self._backlog
                self._running += 1
                self._running_tokens += _size(batch.works)
                self._threads.submit(self._run_batch, batch.works, loop, is_alone=is_alone)
        if not self._backlog and not self._running:
            self._idle.set()

    def _expire(self, work: _Work, now: float) -> None:
        self._drop(work, Dropped.EXPIRED)
        if work.future.done():  # its caller left in this very moment
            return
        waited = now - work.queued_at
        work.future.set_exception(
            DeadlineExceededError(
                f"the request waited {waited:.1f} s in the queue, longer than its time-out; try again later"
            )
        )

    def _leave(self, works: Sequence[_Work], reason: Dropped) -> None:
        """Take what still waits of a request out of the queue: nobody waits for it any more."""
        for work in works:
            work.future.cancel()
            if self._backlog.remove(work, work.lane):
                self._drop(work, reason)
        if not self._backlog and not self._running:
            self._idle.set()

    def _drop(self, work: _Work, reason: Dropped) -> None:
        self._admission.release(work.cost, work.lane)
        self._metrics.dropped(reason)

    def _run_batch(self, batch: list[_Work], loop: asyncio.AbstractEventLoop, *, is_alone: bool) -> None:
        """Run on an inference thread."""
        started = self._clock()
        try:
            outcomes = self._outcomes([work.item for work in batch], is_alone=is_alone)
        except BaseException as error:  # noqa: BLE001 - an end that nobody hears of leaves its callers waiting
            outcomes = [RuntimeError(f"the inference thread was stopped by {error!r}")] * len(batch)
        loop.call_soon_threadsafe(partial(self._finish, batch, outcomes, self._clock() - started, is_alone=is_alone))

    def _outcomes(self, items: Sequence[TokenizedInput], *, is_alone: bool) -> list[Outcome]:
        """Encode a batch; one that fails is halved until the inputs at fault are alone, so that only they fail."""
        try:
            vectors = self._encode(items, is_alone=is_alone)
        except Exception as error:  # noqa: BLE001 - handed to the caller of the input at fault
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            parts = items[:half], items[half:]
            return [outcome for part in parts for outcome in self._outcomes(part, is_alone=is_alone)]
        finite = np.all(np.isfinite(vectors), axis=1, keepdims=True)
        return [
            vector if is_finite else NonFiniteError("the model produced NaN or infinity for this input")
            for vector, is_finite in zip(vectors, finite, strict=True)
        ]

    def _finish(self, batch: list[_Work], outcomes: Sequence[Outcome], seconds: float, *, is_alone: bool) -> None:
        busy_s = (self._clock() - batch[0].on_thread_at) / (1 if is_alone else self._n_threads)
        self._running -= 1
        self._running_tokens -= _size(batch)
        for work in self._prefetched:
            work.on_thread_at = self._clock()
        self._prefetched = []
        self._start_batches()
        if not all(isinstance(outcome, BaseException) for outcome in outcomes):
            self.last_forward_at = self._clock()
            self._metrics.forward()
        for work, outcome in zip(batch, outcomes, strict=True):
            self._admission.release(work.cost, work.lane)
            if isinstance(outcome, NonFiniteError):
                self._metrics.non_finite()
            if work.future.done():
                continue
            if isinstance(outcome, BaseException):
                work.future.set_exception(outcome)
            else:
                work.future.set_result(outcome)
        self._measure(batch, seconds, busy_s)

    def _measure(self, batch: list[_Work], seconds: float, busy_s: float) -> None:
        """Count a batch; of the model's time, `busy_s`, it took its thread's share, or all while it was alone."""
        n_tokens = sum(work.cost for work in batch)
        self._admission.rate.observe(n_tokens, busy_s)
        longest = max(work.size.text for work in batch)
        n_padding = longest * len(batch) - sum(work.size.text for work in batch)
        self._metrics.batch(rows=len(batch), tokens=n_tokens, padding=n_padding, seconds=seconds, busy_s=busy_s)


def _size(works: Sequence[_Work]) -> int:
    return sum(work.size.total for work in works)


@asynccontextmanager
async def time_limit(timeout_s: float) -> AsyncIterator[None]:
    """End what takes longer with DeadlineExceededError."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        if isinstance(error, DeadlineExceededError):
            raise
        raise too_late(timeout_s) from None


def too_late(timeout_s: float) -> DeadlineExceededError:
    """Say that a request's time has run out."""
    return DeadlineExceededError(
        f"the request took longer than {timeout_s:g} s; send fewer inputs at once, or try again later"
    )
