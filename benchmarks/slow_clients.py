"""A thousand clients that trickle or never read, then thousands that hang up: does a normal client notice?

    python -m benchmarks.slow_clients --bundle .cache/bundle

1. A normal client asks at a steady rate and alone, for comparison.
2. It goes on while `--slow` others are there: a half sends the bytes of a body one by one, a quarter those of its
   headers, and a quarter asks for a large answer and reads none of it. They come one by one within the first third;
   those that are cut off come back at once.
3. It goes on while `--dropped` requests are sent and left: within the body, right after it, or some milliseconds later.

Wanted: the normal client is always answered, its median within 1.5 times and its 99th percentile within twice what it
was alone (or 20 ms more); afterwards nothing waits, and files, threads and memory are what they were. The share of the
dropped requests that reached the model is told, not judged: how many had time to is up to the machine. That those left
while they wait never do is a test (tests/service/test_overload.py). Exit code 1: one of these was missed.
"""

import argparse
import asyncio
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.load import (
    Address,
    Claim,
    Clients,
    Server,
    Vitals,
    background,
    judge,
    make_request,
    open_loop,
    percentile,
    some_text,
    vitals,
    watch,
)

SEED = 20261128
MOST_LEFT_MB = 32.0
MOST_LEFT_FILES = 8
TRICKLE_S = 1.0
UNREAD_S = 30.0
LARGE_ANSWER_CHARACTERS = 8_000
STORM_CLIENTS = 128
_COMPUTED = "infembed_batch_inputs_sum"


class Steady:
    """The normal client: asks at a steady rate, and keeps how long it took and what went wrong."""

    def __init__(self, server: Server, per_s: float) -> None:
        rng = random.Random(SEED)
        self._clients = Clients(server.address)
        self._request = make_request("/embed", {"inputs": some_text(rng, 18)})
        self._per_s = per_s
        self.seconds: list[float] = []
        self.faults: list[str] = []

    async def ask(self) -> None:
        try:
            answer = await self._clients.ask(self._request)
        except OSError as error:
            self.faults.append(type(error).__name__)
            return
        if answer.status == 200:
            self.seconds.append(answer.seconds)
        else:
            self.faults.append(str(answer.status))

    async def go_on(self, seconds: float) -> None:
        await open_loop(self.ask, per_s=self._per_s, seconds=seconds, rng=random.Random(SEED))

    def close(self) -> None:
        self._clients.close()


async def trickle(address: Address, head: bytes, rest: bytes) -> None:
    """Send a head, then the rest byte by byte, until cut off."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(head)
        for byte in rest:
            await asyncio.sleep(TRICKLE_S)
            writer.write(bytes([byte]))
            await writer.drain()
            if reader.at_eof():
                return
    finally:
        writer.close()


async def never_read(address: Address, request: bytes) -> None:
    """Ask for a large answer and leave it, until well after the service has lost patience."""
    taker = socket.socket()
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the kernel would take the answer
    taker.setblocking(False)
    await asyncio.get_running_loop().sock_connect(taker, address)
    _, writer = await asyncio.open_connection(sock=taker, limit=1024)
    try:
        writer.write(request)
        await asyncio.sleep(UNREAD_S)
    finally:
        writer.transport.abort()


async def be_slow(server: Server, number: int, *, after_s: float) -> None:
    """Be one slow client after the other, from some moment on."""
    await asyncio.sleep(after_s)
    request = make_request("/embed", {"inputs": some_text(random.Random(number), 600)})
    head, _, body = request.partition(b"\r\n\r\n")
    large = make_request("/tokenize", {"inputs": some_text(random.Random(number), LARGE_ANSWER_CHARACTERS // 5)})
    while True:
        with suppress(OSError):
            if number % 4 == 0:
                await never_read(server.address, large)
            elif number % 4 == 1:
                await trickle(server.address, head[:40], head[40:])
            else:
                await trickle(server.address, head + b"\r\n\r\n", body)


async def drop(address: Address, rng: random.Random) -> None:
    """Send a request, or a part of it, and go away."""
    request = make_request("/embed", {"inputs": some_text(rng, 60)})
    with suppress(OSError):
        _, writer = await asyncio.open_connection(*address)
        way = rng.randrange(3)
        writer.write(request[: len(request) // 2] if way == 0 else request)
        await asyncio.sleep(rng.uniform(0, 0.05) if way == 2 else 0)
        writer.transport.abort()


async def storm(server: Server, n: int) -> None:
    """Hang up `n` times, in another process: the normal client's times must not be this one's work."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        await asyncio.get_running_loop().run_in_executor(other, _storm, server.address, n)


def _storm(address: Address, n: int) -> None:
    uvloop.run(_drop_many(address, n))


async def _drop_many(address: Address, n: int) -> None:
    rng = random.Random(SEED)
    numbers = iter(range(n))

    async def client() -> None:
        for _ in numbers:
            await drop(address, rng)

    await asyncio.gather(*(client() for _ in range(STORM_CLIENTS)))


class Phase(NamedTuple):
    """How the normal client fared, and how much memory was held at most."""

    name: str
    client: Steady
    peak_mb: float


async def phase(
    name: str, server: Server, arguments: argparse.Namespace, beside: Callable[[], Awaitable[object]] | None = None
) -> Phase:
    """Let the normal client ask while something goes on beside it; where that ends by itself, it is waited for."""
    client = Steady(server, arguments.per_s)
    seen: list[Vitals] = []
    with background(asyncio.create_task(watch(server.pid, seen, every_s=0.25))):
        if beside is None:
            await client.go_on(arguments.seconds)
        else:
            await asyncio.gather(client.go_on(arguments.seconds), beside())
    client.close()
    print(f"{name}: {len(client.seconds)} answers", file=sys.stderr)
    return Phase(name, client, max(one.resident_mb for one in seen))


class Found(NamedTuple):
    """The phases, what the process held before and after, and how many dropped requests the model saw."""

    phases: list[Phase]
    before: Vitals
    after: Vitals
    waiting: float
    n_computed_for_nobody: float


async def measure(server: Server, arguments: argparse.Namespace) -> Found:
    await phase("warm-up", server, argparse.Namespace(per_s=arguments.per_s, seconds=2.0))
    before = vitals(server.pid)
    phases = [await phase("alone", server, arguments)]

    async def be_many_and_slow() -> None:
        every_s = arguments.seconds / 3 / max(1, arguments.slow)
        slow = [asyncio.create_task(be_slow(server, n, after_s=n * every_s)) for n in range(arguments.slow)]
        await asyncio.sleep(arguments.seconds)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    phases.append(await phase(f"beside {arguments.slow} slow clients", server, arguments, be_many_and_slow))
    await server.until_idle(patience_s=30)
    computed = (await server.metrics())[_COMPUTED]
    phases.append(
        await phase("in a storm of hang-ups", server, arguments, lambda: storm(server, arguments.dropped))
    )  # fmt: skip
    idle = await server.until_idle(patience_s=30)
    n_for_nobody = idle[_COMPUTED] - computed - len(phases[-1].client.seconds)
    waiting = idle["infembed_queue_inputs"] + idle["infembed_queue_tokens"]
    return Found(phases, before, await settled(server, before), waiting, n_for_nobody)


async def settled(server: Server, before: Vitals) -> Vitals:
    """Return what is held once connections are closed and caches are trimmed, within half a minute."""
    ends = time.perf_counter() + UNREAD_S
    while (found := vitals(server.pid)).n_files > before.n_files + MOST_LEFT_FILES and time.perf_counter() < ends:
        await asyncio.sleep(0.5)
    return found


def claims(found: Found, arguments: argparse.Namespace) -> list[Claim]:
    alone, *others = found.phases
    claimed = [_is_answered(alone)]
    for one in others:
        claimed += [
            _is_answered(one),
            *(_is_as_fast(one, alone, share, times) for share, times in ((0.5, 1.5), (0.99, 2))),
        ]
    left_mb = found.after.resident_mb - found.before.resident_mb
    claimed += [
        Claim("inputs and tokens that wait afterwards", "0", f"{found.waiting:.0f}", not found.waiting),
        Claim(
            "files open afterwards",
            f"<= {found.before.n_files + MOST_LEFT_FILES}",
            str(found.after.n_files),
            found.after.n_files <= found.before.n_files + MOST_LEFT_FILES,
        ),
        Claim(
            "threads afterwards",
            f"<= {found.before.n_threads + MOST_LEFT_FILES}",
            str(found.after.n_threads),
            found.after.n_threads <= found.before.n_threads + MOST_LEFT_FILES,
        ),
        Claim(
            "memory kept, MB",
            f"<= {MOST_LEFT_MB:.0f}",
            f"{left_mb:.1f} (at most {', '.join(f'{one.peak_mb:.0f} {one.name}' for one in found.phases)})",
            left_mb <= MOST_LEFT_MB,
        ),
    ]
    share = found.n_computed_for_nobody / arguments.dropped
    print(f"Of {arguments.dropped:,} requests left midway the model saw {share:.1%}.\n")
    return claimed


def _is_answered(one: Phase) -> Claim:
    n = len(one.client.seconds)
    faults = one.client.faults
    found = f"{dict(Counter(faults)) or 0} of {n + len(faults)}"
    return Claim(f"requests not answered, {one.name}", "0", found, not faults and n > 0)


def _is_as_fast(one: Phase, alone: Phase, share: float, times: float) -> Claim:
    was, now = (percentile(phase.client.seconds, share) * 1000 for phase in (alone, one))
    most = max(times * was, was + 20)
    return Claim(f"percentile {share * 100:.0f} {one.name}", f"<= {most:.1f} ms", f"{now:.1f} ms", now <= most)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--slow", type=int, default=1000)
    parser.add_argument("--dropped", type=int, default=5000)
    parser.add_argument("--per-s", type=float, default=20.0, help="requests of the normal client")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each phase")
    arguments = parser.parse_args()
    with Server("--bundle", arguments.bundle) as server:
        return judge(claims(uvloop.run(measure(server, arguments)), arguments))


if __name__ == "__main__":
    sys.exit(main())
