"""What may wait: counts tokens, never requests, and says when to come back. No clock, no event loop."""

from infembed.errors import OverloadedError, TooManyInputsError
from service.batching import Backlog, Lane

_LEAST_RETRY_S = 0.1
_MOST_RETRY_S = 30.0
_SURE_OF_TIME = 0.7
"""Share of a request's time that what waits before it may take: the rate is an estimate, and under overload every lane
is full to its bound, so that without room for a slower batch each request would end at its deadline or just beyond."""


class TokenRate:
    """Tokens per second over the last batches, each counting by its share of the model's time.

    A thread's time lasts from the end of one batch to the end of the next: longer than the model ran where other work
    took the processor, and what those who wait will see.

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


class Admission:
    """Budgets of the lanes. A lane with nothing waiting takes one request of any size that can be done in time."""

    def __init__(self, *, max_interactive_tokens: int, max_bulk_tokens: int) -> None:
        self._budgets = {Lane.INTERACTIVE: max_interactive_tokens, Lane.BULK: max_bulk_tokens}
        self._tokens = dict.fromkeys(Lane, 0)
        self.rate = TokenRate()

    @property
    def n_tokens(self) -> int:
        """Tokens waiting or being computed."""
        return sum(self._tokens.values())

    def admit(self, n_tokens: int, lane: Lane) -> None:
        """Take tokens in for which there is room."""
        self._tokens[lane] += n_tokens

    def release(self, n_tokens: int, lane: Lane) -> None:
        """Give back the tokens of an input that has been computed or dropped."""
        self._tokens[lane] -= n_tokens

    def require_room(self, n_tokens: int, lane: Lane, *, timeout_s: float) -> None:
        """Refuse at once what could not be finished in time; urgent inputs always have room."""
        if lane is Lane.URGENT:
            return
        alone = int(self.rate.per_s * timeout_s)
        if n_tokens > alone:
            raise TooManyInputsError(
                f"the request has {n_tokens} tokens, about {alone} can be computed within its {timeout_s:g} s; "
                "send fewer inputs at once",
                param="inputs",
            )
        waiting = self._tokens[lane]
        drained_per_s = self._drained_per_s(lane, waiting + n_tokens)
        most = min(self._budgets[lane], int(_SURE_OF_TIME * drained_per_s * timeout_s))
        excess = waiting + n_tokens - most
        if waiting and excess > 0:
            raise OverloadedError(
                f"{waiting} tokens of {lane} requests are waiting and this request has {n_tokens}; at most {most} may "
                "wait: try again later",
                retry_after_s=min(_MOST_RETRY_S, max(_LEAST_RETRY_S, excess / drained_per_s)),
            )

    def _drained_per_s(self, lane: Lane, n_tokens: int) -> float:
        """How fast a lane's tokens are computed, with what the other lane gets meanwhile."""
        if lane is Lane.BULK:
            others = min(self._tokens[Lane.INTERACTIVE], n_tokens * Backlog.SHARE)
        else:
            others = min(self._tokens[Lane.BULK], n_tokens // Backlog.SHARE)
        return self.rate.per_s * n_tokens / (n_tokens + others)
