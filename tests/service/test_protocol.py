import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.protocol import MOST_HEAD_BYTES, BoundedProtocol, Limits, Places


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class _Watched(BoundedProtocol):
    """Tells when its connection is gone."""

    is_lost: asyncio.Event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.is_lost = asyncio.Event()
        _open_connections.append(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()
        super().connection_lost(exc)


_open_connections: list[_Watched] = []


def _with_server(
    limits: Limits, test: Callable[[int], Awaitable[None]], *, app: Callable[..., Awaitable[None]] = _app
) -> None:
    """Run a test against the protocol on a free port."""
    _open_connections.clear()

    async def run() -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        config.load()
        state = uvicorn.server.ServerState()
        places = Places({}, set())
        server = await asyncio.get_running_loop().create_server(
            lambda: _Watched(config=config, server_state=state, app_state={}, limits=limits, places=places),
            "127.0.0.1",
            0,
        )
        async with server:
            await test(server.sockets[0].getsockname()[1])

    asyncio.run(asyncio.wait_for(run(), timeout=20))


async def _answer(port: int, *parts: bytes) -> bytes:
    """Send parts and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        return await reader.read()
    finally:
        writer.close()


def test_a_request_within_the_bounds_is_served_and_its_connection_kept() -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in (b"", b"x" * (2 * MOST_HEAD_BYTES)):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()

    _with_server(Limits(max_connections=2, head_timeout_s=10), test)


def test_a_head_beyond_the_bound_is_refused() -> None:
    async def test(port: int) -> None:
        head = b"GET / HTTP/1.1\r\nhost: a\r\nx-long: "
        found = await _answer(port, head, *[b"a" * 16_384] * 5)
        assert found.startswith(b"HTTP/1.1 431")
        assert b"headers are larger than 65536 bytes" in found

    _with_server(Limits(max_connections=2, head_timeout_s=10), test)


def test_a_head_that_never_ends_is_refused() -> None:
    async def test(port: int) -> None:
        found = await _answer(port, b"GET / HTTP/1.1\r\nhost: a\r\n")
        assert found.startswith(b"HTTP/1.1 408")

    _with_server(Limits(max_connections=2, head_timeout_s=0.05), test)


def test_what_is_no_http_is_answered_as_all_errors_are() -> None:
    async def test(port: int) -> None:
        found = await _answer(port, b"bread\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 400")
        assert b"content-type: application/json" in found
        assert json.loads(found.partition(b"\r\n\r\n")[2])["error_type"] == "Validation"

    _with_server(Limits(max_connections=2, head_timeout_s=10), test)


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def test(port: int) -> None:
        assert await _answer(port) == b""

    _with_server(Limits(max_connections=2, head_timeout_s=0.05), test)


@pytest.mark.parametrize(
    ("path", "shape"), [("/embed", {"error", "error_type"}), ("/v1/embeddings", {"message", "type", "param", "code"})]
)
def test_a_connection_beyond_the_limit_is_told_so_in_the_words_of_its_route(path: str, shape: set[str]) -> None:
    async def test(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        found = await _answer(port, f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n".encode(), b"read")
        head, _, body = found.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\nretry-after-ms: 1000\r\n" in head
        assert b"connection: close" in head
        told = json.loads(body)
        assert (set(told["error"]) if isinstance(told["error"], dict) else set(told)) == shape
        for _, writer in held:
            writer.close()

    _with_server(Limits(max_connections=2, head_timeout_s=10), test)


def test_a_connection_too_many_takes_no_place_of_a_later_one() -> None:
    async def test(port: int) -> None:
        held, too_many = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        while len(_open_connections) < 2:
            await asyncio.sleep(0)
        held[1].close()
        await _open_connections[0].is_lost.wait()
        found = await _answer(port, b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 200")
        too_many[1].close()

    _with_server(Limits(max_connections=1, head_timeout_s=10), test)


def test_connections_beyond_twice_the_limit_are_closed_with_a_word() -> None:
    async def test(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        found = await _answer(port)
        assert found.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\nretry-after-ms: 1000\r\n" in found
        for _, writer in held:
            writer.close()

    _with_server(Limits(max_connections=2, head_timeout_s=10), test)


def test_a_connection_beyond_the_limit_takes_the_place_of_the_one_that_is_idle_longest() -> None:
    request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"

    async def test(port: int) -> None:
        streams = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            streams.append((reader, writer))
        (first, _), (second, kept) = streams
        newest, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await first.read() == b""
        for reader, asking in ((newest, writer), (second, kept)):
            asking.write(request)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        for _, each in (*streams, (newest, writer)):
            each.close()

    _with_server(Limits(max_connections=2, head_timeout_s=10), test)


def test_a_connection_that_sends_what_begins_no_request_is_idle_still() -> None:
    request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"

    async def test(port: int) -> None:
        first, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        assert (await first.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        _open_connections[0].data_received(b"\r\n")
        second, asking = await asyncio.open_connection("127.0.0.1", port)
        asking.write(request)
        assert (await second.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        assert await first.read() == b""
        for each in (writer, asking):
            each.close()

    _with_server(Limits(max_connections=1, head_timeout_s=10), test)


async def _flooding_app(scope: Scope, receive: Receive, send: Send) -> None:
    body = b"x" * 20_000_000
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def test_an_answer_that_nobody_takes_is_dropped() -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readexactly(1)
        while not _open_connections:
            await asyncio.sleep(0)
        (connection,) = _open_connections
        await asyncio.wait_for(connection.is_lost.wait(), timeout=10)
        writer.close()

    _with_server(Limits(max_connections=2, head_timeout_s=0.05), test, app=_flooding_app)


def test_answers_that_have_waited_longest_make_room_for_new_ones() -> None:
    async def test(port: int) -> None:
        clients = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            clients.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readexactly(1)
        for connection in _open_connections[:2]:
            await asyncio.wait_for(connection.is_lost.wait(), timeout=10)
        assert not _open_connections[2].is_lost.is_set()
        for writer in clients:
            writer.close()

    limits = Limits(max_connections=5, head_timeout_s=10, max_unread_bytes=25_000_000)
    _with_server(limits, test, app=_flooding_app)


def test_a_client_that_reads_on_gets_the_whole_answer() -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(20_000_000)) == 20_000_000
        writer.close()

    _with_server(Limits(max_connections=2, head_timeout_s=5), test, app=_flooding_app)
