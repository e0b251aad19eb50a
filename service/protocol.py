"""uvicorn's HTTP protocol with the bounds it lacks: connections, a request's head, and clients that do not read."""

import asyncio
import math
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import orjson
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import Problem, retry_headers
from service.routes import error_response

MOST_HEAD_BYTES = 65_536
_LEAST_READ_BYTES = 65_536
"""What a client must take of a waiting answer in each period; one that reads nothing holds memory for ever."""


class Limits(NamedTuple):
    """What one client may take before its request is even known."""

    max_connections: int
    """As many again are told to come back, in the words of the route that they ask; what is beyond is closed."""
    head_timeout_s: float
    """Also the period in which a client must read on."""
    max_unread_bytes: int = 134_217_728
    """Of all answers that wait for their clients to read on."""


class Places(NamedTuple):
    """Which connections of a server wait for their next request, longest first, and which are too many."""

    idle: dict["BoundedProtocol", None]
    surplus: set["BoundedProtocol"]


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections beyond the limit, heads too large or too slow, and answers that nobody takes."""

    def __init__(self, *args: Any, limits: Limits, places: Places, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._places = places
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._unread_since = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        most = self._limits.max_connections
        if len(self.connections) - len(self._places.surplus) > most and not self._end_longest_idle():
            self._places.surplus.add(self)
            if len(self._places.surplus) > most:
                self._refuse("503 Service Unavailable", "Overloaded", _too_many(most))
                return
            self.app = partial(_refuse_surplus, limits=self._limits)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self._end_reading()
        self._places.idle.pop(self, None)
        self._places.surplus.discard(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._places.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()
        self._watch_reading()
        self._make_room()

    def resume_writing(self) -> None:
        self._end_reading()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        self._places.idle.pop(self, None)
        super().data_received(data)
        if self._head_timer is None:
            self._stay_idle()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            message = f"the request's headers are larger than {MOST_HEAD_BYTES} bytes; send fewer"
            self._refuse("431 Request Header Fields Too Large", "Validation", message)

    def _stay_idle(self) -> None:
        """Go on waiting for a request where what came began none: an empty line, or the rest of an answered one."""
        is_waiting = self.cycle is not None and self.cycle.response_complete and not self.transport.is_closing()
        if is_waiting and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self._places.idle[self] = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as all errors are answered."""
        self._refuse("400 Bad Request", "Validation", f"this is not HTTP/1.1: {msg}")

    def _end_longest_idle(self) -> bool:
        """Close the connection that has waited longest for its next request; false if none waits for one.

        One whose answer is not read yet stays: it would hold its place until it was.
        """
        for one in self._places.idle:
            if not one.transport.is_closing() and not one.transport.get_write_buffer_size():
                del self._places.idle[one]
                one.transport.close()
                return True
        return False

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self._head_took_too_long)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_took_too_long(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            message = f"the request's headers took longer than {self._limits.head_timeout_s:g} s to arrive"
            self._refuse("408 Request Timeout", "Validation", message)
        else:
            self.transport.close()

    def _watch_reading(self) -> None:
        """Come back in one period to see whether the client has read on."""
        waiting = self.transport.get_write_buffer_size()
        self._reading_timer = self.loop.call_later(self._limits.head_timeout_s, self._check_reading, waiting)

    def _check_reading(self, waited: int) -> None:
        if waited - self.transport.get_write_buffer_size() < _LEAST_READ_BYTES:
            self.transport.abort()
        else:
            self._watch_reading()

    def _make_room(self) -> None:
        """Give up the answers that have waited longest while all that wait take more than may be held."""
        waiting = [one for one in self.connections if isinstance(one, BoundedProtocol) and one.is_unread]
        unread = {one: one.transport.get_write_buffer_size() for one in waiting}
        excess = sum(unread.values()) - self._limits.max_unread_bytes
        for one in sorted(waiting, key=lambda one: one._unread_since):
            if excess <= 0:
                return
            excess -= unread[one]
            one.transport.abort()

    @property
    def is_unread(self) -> bool:
        """Whether an answer waits for its client to read on."""
        return self._unread_since < math.inf

    def _end_reading(self) -> None:
        self._unread_since = math.inf
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _refuse(self, status: str, error_type: str, message: str) -> None:
        self._end_head()
        body = orjson.dumps({"error": message, "error_type": error_type})
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        headers = retry_headers(1.0) if status.startswith("503") else {}
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


async def _refuse_surplus(scope: Scope, receive: Receive, send: Send, *, limits: Limits) -> None:
    """Answer the request of a connection too many; one that is closed unread would never see why."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limits.head_timeout_s):
            while (await receive()).get("more_body", False):
                pass
    message = _too_many(limits.max_connections)
    problem = Problem(503, "Overloaded", message, None, {**retry_headers(1.0), "connection": "close"})
    await error_response(problem, scope["path"])(scope, receive, send)


def _too_many(most: int) -> str:
    return f"{most} connections are open, no more are taken; try again later"
