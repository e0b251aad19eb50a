"""How many tokens a client may send over time. No event loop; the clock is passed in."""

import time
from collections.abc import Callable

from infembed.errors import OverloadedError

BURST_S = 10.0
"""A client that has been quiet may send this many seconds' worth at once."""
_CLIENTS_BEFORE_CLEANING = 4096


class RateLimits:
    """One allowance for each client: `tokens_per_s`, and up to `BURST_S` of it saved up.

    A request is taken while anything is left, however large it is, and paid in full: the next ones wait for it. Clients
    without a name share no allowance and have no limit.
    """

    def __init__(self, tokens_per_s: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens_per_s = tokens_per_s
        self._clock = clock
        self._paid_until: dict[str, float] = {}

    def require(self, client: str | None) -> None:
        """Refuse a client that has used up its allowance."""
        now = self._clock()
        wait_s = self._paid_until.get(client or "", now) - now - BURST_S
        if wait_s >= 0 and self._tokens_per_s is not None:
            raise OverloadedError(
                f"this client sent more than its {self._tokens_per_s} tokens a second; try again later",
                retry_after_s=max(wait_s, 0.001),
            )

    def charge(self, client: str | None, n_tokens: int) -> None:
        """Take tokens off a client's allowance; fewer than none gives them back."""
        if self._tokens_per_s is None or client is None:
            return
        now = self._clock()
        if len(self._paid_until) >= _CLIENTS_BEFORE_CLEANING:
            self._paid_until = {name: until for name, until in self._paid_until.items() if until > now}
        self._paid_until[client] = max(self._paid_until.get(client, now), now) + n_tokens / self._tokens_per_s
