import asyncio
import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.load import (
    Answer,
    Claim,
    Clients,
    Vitals,
    fault_of_refusal,
    growth_mb,
    judge,
    make_request,
    open_loop,
    percentile,
)
from tests.service.app import listening, make_app

_RETRY = {"retry-after": "1", "retry-after-ms": "120"}
_FLAT = {"error": "full", "error_type": "Overloaded"}
_NESTED = {"error": {"message": "full", "type": "rate_limit_exceeded", "param": None, "code": "overloaded"}}


@pytest.mark.parametrize(
    ("path", "headers", "content", "fault"),
    [
        ("/embed", _RETRY, _FLAT, None),
        ("/v1/embeddings", _RETRY, _NESTED, None),
        ("/embed", _RETRY, _NESTED, "with the body"),
        ("/v1/embeddings", _RETRY, _FLAT, "with the body"),
        ("/embed", {"retry-after": "1"}, _FLAT, "without retry-after-ms"),
        ("/embed", {"retry-after": "soon", "retry-after-ms": "1"}, _FLAT, "without retry-after"),
    ],
)
def test_a_refusal_is_judged_by_headers_and_dialect(
    path: str, headers: Mapping[str, str], content: object, fault: str | None
) -> None:
    found = fault_of_refusal(Answer(429, headers, json.dumps(content).encode(), 0.1), path)
    assert found == fault if fault is None else fault in str(found)


def test_growth_is_that_of_a_line_through_all_points() -> None:
    steady = [Vitals(float(at), 100 + (-1) ** at, 1, 1) for at in range(100)]
    leaking = [Vitals(float(at), 100 + at / 10, 1, 1) for at in range(101)]
    assert growth_mb(leaking) == pytest.approx(10)
    assert abs(growth_mb(steady)) < 0.2
    assert growth_mb(steady[:1]) == 0


def test_a_percentile_is_the_value_that_a_share_does_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    random.Random(1).shuffle(values)
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (51, 100, 0)


@pytest.mark.parametrize(("is_met", "code", "word"), [(True, 0, "PASS"), (False, 1, "FAIL")])
def test_one_claim_that_is_missed_fails_all(
    capsys: pytest.CaptureFixture[str], is_met: bool, code: int, word: str
) -> None:
    assert judge([Claim("a", "0", "0", is_met=True), Claim("b", "0", "1", is_met=is_met)]) == code
    assert capsys.readouterr().out.endswith(f"\n{word}\n")


def test_requests_that_arrive_on_their_own_are_answered_over_kept_connections(tiny_bundle: Path) -> None:
    app, _, _ = make_app(tiny_bundle)
    answers: list[Answer] = []

    async def ask_many(address: tuple[str, int]) -> None:
        clients = Clients(address)

        async def ask() -> None:
            answers.append(await clients.ask(make_request("/embed", {"inputs": "bread"}, x_request_id="r1")))

        await open_loop(ask, per_s=2000, seconds=0.01, rng=random.Random(3))
        clients.close()

    with listening(app) as address:
        asyncio.run(ask_many(address))
    assert len(answers) > 5
    assert {(answer.status, answer.headers["x-request-id"]) for answer in answers} == {(200, "r1")}
    assert {len(json.loads(answer.body)[0]) for answer in answers} == {32}


def test_a_connection_closed_while_idle_is_replaced() -> None:
    served: list[bytes] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
            clients = Clients(server.sockets[0].getsockname())
            for _ in range(3):
                assert (await clients.ask(make_request("/health", method="GET"))).body == b"ok"
            clients.close()

    asyncio.run(test())
    assert len(served) == 3


def test_an_answer_cut_short_is_a_connection_error() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
            clients = Clients(server.sockets[0].getsockname())
            with pytest.raises(ConnectionResetError, match="after 4 bytes"):
                await clients.ask(make_request("/embed", {}))

    asyncio.run(test())
