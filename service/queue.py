"""The batch queue: admits work by tokens, forms batches, runs them on one inference thread.

Everything but the model runs on the event loop, so there are no locks. While one batch runs, the next is already
formed and waiting in the thread's queue (one batch is prefetched). Work whose caller has gone or whose time has run out
is dropped when a batch is formed, before it costs anything.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from infembed.errors import (
    DeadlineExceededError,
    NonFiniteError,
    OverloadedError,
    TooManyInputsError,
    UnavailableError,
)
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray, require_finite
from service.batching import fill_batch
from service.metrics import Metrics

Encode = Callable[[Sequence[TokenizedInput]], FloatArray]

_IN_FLIGHT = 2
_LEAST_RETRY_S = 0.1
_MOST_RETRY_S = 30.0


@dataclass(slots=True)
class _Work:
    """One input on its way through the model."""

    item: TokenizedInput
    future: asyncio.Future[FloatArray]
    deadline: float
    queued_at: float
    started_at: float = 0.0


class TokenRate:
    """Tokens per second over the last batches, each counting by the time it took.

    Batches of a few tokens are left out: their time is overhead and says nothing of how fast a backlog drains.
    """

    _MEMORY = 0.9
    _TELLING_TOKENS = 256

    def __init__(self, first: float = 2000.0) -> None:
        self._tokens = first
        self._seconds = 1.0

    def observe(self, tokens: int, seconds: float) -> None:
        if tokens >= self._TELLING_TOKENS and seconds > 0:
            self._tokens = self._MEMORY * self._tokens + tokens
            self._seconds = self._MEMORY * self._seconds + seconds

    @property
    def per_s(self) -> float:
        return self._tokens / self._seconds


class QueueTimes(NamedTuple):
    """How long a request waited for its last batch to start, and how long from there to its last vector."""

    queue_s: float
    inference_s: float


class BatchQueue:
    """Turns tokenized inputs into vectors, many callers at a time."""

    def __init__(
        self,
        encode: Encode,
        metrics: Metrics,
        *,
        max_batch_tokens: int,
        max_queued_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encode = encode
        self._metrics = metrics
        self._max_batch_tokens = max_batch_tokens
        self._max_queued_tokens = max_queued_tokens
        self._clock = clock
        self._waiting: deque[_Work] = deque()
        self._queued_tokens = 0
        self._running = 0
        self._rate = TokenRate()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.last_forward_at = float("-inf")

    @property
    def queued_tokens(self) -> int:
        return self._queued_tokens

    async def run(
        self, items: Sequence[TokenizedInput], *, timeout_s: float, is_urgent: bool = False
    ) -> tuple[list[FloatArray], QueueTimes]:
        """Encode inputs; one (D,) vector each, in order, with the times they took.

        Raises OverloadedError when the queue is full, TooManyInputsError when they could not be computed in time even
        alone, DeadlineExceededError when they took longer than `timeout_s`, NonFiniteError or the model's own error
        when the model fails on one of them. Urgent inputs, such as a probe, go ahead of all others.
        """
        n_tokens = sum(item.n_tokens for item in items)
        self._admit(n_tokens, timeout_s, is_urgent=is_urgent)
        now = self._clock()
        loop = asyncio.get_running_loop()
        works = [_Work(item, loop.create_future(), now + timeout_s, now) for item in items]
        if is_urgent:
            self._waiting.extendleft(reversed(works))
        else:
            self._waiting.extend(works)
        self._queued_tokens += n_tokens
        self._idle.clear()
        self._start_batches()
        self._observe()
        try:
            async with asyncio.timeout(timeout_s):
                vectors = await asyncio.gather(*(work.future for work in works))
        except TimeoutError as error:
            if isinstance(error, DeadlineExceededError):
                raise
            raise DeadlineExceededError(
                f"the request took longer than {timeout_s:g} s; send fewer inputs at once, or try again later"
            ) from None
        finally:
            for work in works:
                work.future.cancel()
            self._observe()
        last_start = max(work.started_at for work in works)
        return vectors, QueueTimes(last_start - now, self._clock() - last_start)

    async def drain(self) -> None:
        """Refuse new work, let the queued work finish, stop the thread."""
        self._is_draining = True
        await self._idle.wait()
        self._thread.shutdown(wait=True)

    def close(self) -> None:
        """Stop without waiting for queued work."""
        self._is_draining = True
        for work in self._waiting:
            work.future.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _admit(self, n_tokens: int, timeout_s: float, *, is_urgent: bool) -> None:
        """Refuse at once what the queue could not finish in time."""
        if self._is_draining:
            raise UnavailableError(
                "the service is shutting down; send the request to another instance", retry_after_s=1.0
            )
        if is_urgent:
            return
        in_time = int(self._rate.per_s * timeout_s)
        if n_tokens > in_time:
            raise TooManyInputsError(
                f"the request has {n_tokens} tokens, about {in_time} can be computed within its {timeout_s:g} s; "
                "send fewer inputs at once",
                param="inputs",
            )
        most = min(self._max_queued_tokens, in_time)
        excess = self._queued_tokens + n_tokens - most
        if self._queued_tokens and excess > 0:
            raise OverloadedError(
                f"{self._queued_tokens} tokens are waiting and this request has {n_tokens}; at most {most} may wait: "
                "try again later",
                retry_after_s=min(_MOST_RETRY_S, max(_LEAST_RETRY_S, excess / self._rate.per_s)),
            )

    def _start_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < _IN_FLIGHT:
            batch = self._next_batch()
            if batch:
                self._running += 1
                self._thread.submit(self._run_batch, batch, loop)
        if not self._waiting and not self._running:
            self._idle.set()

    def _next_batch(self) -> list[_Work]:
        """Take the next batch off the queue, dropping what nobody waits for any more."""
        now = self._clock()
        alive: deque[_Work] = deque()
        for work in self._waiting:
            if work.future.done():
                self._forget(work, "cancelled")
            elif work.deadline <= now:
                self._forget(work, "expired")
                waited = now - work.queued_at
                work.future.set_exception(
                    DeadlineExceededError(
                        f"the request waited {waited:.1f} s in the queue, longer than its time-out; try again later"
                    )
                )
            else:
                alive.append(work)
        rows = fill_batch([work.item.n_tokens for work in alive], budget=self._max_batch_tokens)
        chosen = set(rows)
        batch = [work for row, work in enumerate(alive) if row in chosen]
        self._waiting = deque(work for row, work in enumerate(alive) if row not in chosen)
        for work in batch:
            work.started_at = now
        return batch

    def _forget(self, work: _Work, reason: str) -> None:
        self._queued_tokens -= work.item.n_tokens
        self._metrics.dropped(reason)

    def _run_batch(self, batch: list[_Work], loop: asyncio.AbstractEventLoop) -> None:
        """Run on the inference thread; a batch that fails is run one by one, so a bad input fails alone."""
        started = self._clock()
        outcomes: list[FloatArray | BaseException]
        try:
            outcomes = list(require_finite(self._encode([work.item for work in batch])))
        except Exception:  # noqa: BLE001 - each input's own failure is found below and handed to its caller
            outcomes = [self._run_alone(work) for work in batch]
        seconds = self._clock() - started
        loop.call_soon_threadsafe(self._finish, batch, outcomes, seconds)

    def _run_alone(self, work: _Work) -> FloatArray | BaseException:
        try:
            vector: FloatArray = require_finite(self._encode([work.item]))[0]
        except Exception as error:  # noqa: BLE001 - handed to the caller of this input
            return error
        return vector

    def _finish(self, batch: list[_Work], outcomes: Sequence[FloatArray | BaseException], seconds: float) -> None:
        self._running -= 1
        if not all(isinstance(outcome, BaseException) for outcome in outcomes):
            self.last_forward_at = self._clock()
        n_tokens = sum(work.item.n_tokens for work in batch)
        self._queued_tokens -= n_tokens
        self._rate.observe(n_tokens, seconds)
        longest = max(work.item.n_tokens for work in batch)
        self._metrics.batch(rows=len(batch), tokens=n_tokens, padded_tokens=longest * len(batch), seconds=seconds)
        for work, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, NonFiniteError):
                self._metrics.non_finite()
            if work.future.done():
                continue
            if isinstance(outcome, BaseException):
                work.future.set_exception(outcome)
            else:
                work.future.set_result(outcome)
        self._start_batches()
        self._observe()

    def _observe(self) -> None:
        self._metrics.queue(inputs=len(self._waiting), tokens=self._queued_tokens)
