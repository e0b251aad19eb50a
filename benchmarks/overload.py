"""Ten times what the service can do, for a minute: does it stay calm, and is it itself again at once?

    python -m benchmarks.overload --bundle .cache/bundle

Capacity is measured first, with as many clients as it takes (`--clients`). Then requests arrive at random at `--times`
that rate, whatever becomes of those before (open loop), each with a deadline (`--deadline-ms`), half of them for /embed
and half for /v1/embeddings. After the last one clients ask one after the other again, and those that are refused wait
as long as they are told.

Wanted: memory flat over the last two thirds, the 99th percentile of accepted requests (a 504 counts as infinitely
late) within the deadline, every refusal a 429 or 503 with `Retry-After`, `retry-after-ms` and a body in the dialect of
its route, no other answer, and from one second after the end nine tenths of the capacity without a refusal.
Exit code 1: one of these was missed.
"""

import argparse
import asyncio
import itertools
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.load import (
    Answer,
    Claim,
    Clients,
    Server,
    Vitals,
    background,
    closed_loop,
    fault_of_refusal,
    growth_mb,
    judge,
    make_request,
    open_loop,
    percentile,
    some_text,
    watch,
)

SEED = 20261128
REFUSED = {429, 503}
MOST_GROWTH = 0.02
"""Of resident memory, over the last two thirds of the overload."""
RECOVERY_S = 1.0
MEASURED_AFTER_S = 3.0
_KEPT_BYTES = 1000
"""Of a body: refusals are shorter, vectors need not be kept."""


class Seen(NamedTuple):
    """An answer, where it was asked for, and when it came."""

    at_s: float
    path: str
    answer: Answer


class Asking:
    """Asks with prepared requests in turn and keeps the answers."""

    def __init__(self, clients: Clients, arguments: argparse.Namespace) -> None:
        rng = random.Random(SEED)
        deadline = str(arguments.deadline_ms)
        texts = [some_text(rng, arguments.words) for _ in range(128)]
        requests = [
            (path, make_request(path, {field: text}, x_request_timeout_ms=deadline))
            for text in texts
            for path, field in (("/embed", "inputs"), ("/v1/embeddings", "input"))
        ]
        self._clients = clients
        self._requests = itertools.cycle(requests)
        self.seen: list[Seen] = []
        self.broken: Counter[str] = Counter()

    async def ask(self) -> Answer | None:
        """Ask and keep the answer; None: the connection broke."""
        path, request = next(self._requests)
        try:
            answer = await self._clients.ask(request)
        except OSError as error:
            self.broken[type(error).__name__] += 1
            return None
        self.seen.append(Seen(time.perf_counter(), path, answer._replace(body=answer.body[:_KEPT_BYTES])))
        return answer

    async def ask_politely(self) -> None:
        """Ask, and wait as long as a refusal says."""
        answer = await self.ask()
        if answer is None or answer.status in REFUSED:
            wait_ms = 1000 if answer is None else int(answer.headers.get("retry-after-ms", "1000"))
            await asyncio.sleep(wait_ms / 1000)


class Overload(NamedTuple):
    """What was measured before, during and after."""

    capacity_per_s: float
    during: Asking
    arrived_per_s: float
    late_s: float
    vitals: Sequence[Vitals]
    recovered: Sequence[Seen]
    seconds: float


async def measure(server: Server, arguments: argparse.Namespace) -> Overload:
    clients = Clients(server.address)
    capacity_per_s = await capacity(clients, arguments)
    print(f"capacity {capacity_per_s:.0f} requests/s of {arguments.words} words", file=sys.stderr)
    during, after = Asking(clients, arguments), Asking(clients, arguments)
    seen: list[Vitals] = []
    with background(asyncio.create_task(watch(server.pid, seen, every_s=0.25))):
        late_s = await open_loop(
            during.ask, per_s=capacity_per_s * arguments.times, seconds=arguments.seconds, rng=random.Random(SEED)
        )
    ended = time.perf_counter()
    seconds = RECOVERY_S + MEASURED_AFTER_S
    await closed_loop(after.ask_politely, n_clients=arguments.clients, seconds=seconds)
    clients.close()
    recovered = [one for one in after.seen if RECOVERY_S <= one.at_s - ended <= seconds]
    n_arrived = len(during.seen) + during.broken.total()
    return Overload(
        capacity_per_s, during, n_arrived / arguments.seconds, late_s, seen, recovered, MEASURED_AFTER_S
    )  # fmt: skip


async def capacity(clients: Clients, arguments: argparse.Namespace) -> float:
    """Answers per second with every client waiting for its own; the first second warms up."""
    asking = Asking(clients, arguments)
    await closed_loop(asking.ask, n_clients=arguments.clients, seconds=1.0)
    asking.seen.clear()
    await closed_loop(asking.ask, n_clients=arguments.clients, seconds=arguments.capacity_seconds)
    answers = [one for one in asking.seen if one.answer.status == 200]
    seconds: float = arguments.capacity_seconds
    return len(answers) / seconds


def claims(found: Overload, arguments: argparse.Namespace) -> list[Claim]:
    answers = [one.answer for one in found.during.seen]
    refused = [one for one in found.during.seen if one.answer.status in REFUSED]
    accepted = [math.inf if one.status == 504 else one.seconds for one in answers if one.status in {200, 504}]
    others = Counter(one.status for one in answers if one.status not in {200, 504, *REFUSED})
    faults = Counter(fault for one in refused if (fault := fault_of_refusal(one.answer, one.path)))
    p99_ms = percentile(accepted, 0.99) * 1000
    settled = found.vitals[len(found.vitals) // 3 :]
    growth, resident = growth_mb(settled), settled[-1].resident_mb
    wanted_per_s = found.capacity_per_s * arguments.times
    after_per_s = sum(one.answer.status == 200 for one in found.recovered) / found.seconds
    n_refused_after = sum(one.answer.status in REFUSED for one in found.recovered)
    return [
        Claim(
            "requests that arrived a second (largest delay of this process)",
            f">= {0.9 * wanted_per_s:.0f}",
            f"{found.arrived_per_s:.0f} ({found.late_s * 1000:.0f} ms)",
            found.arrived_per_s >= 0.9 * wanted_per_s,
        ),
        Claim(
            "99th percentile of accepted requests",
            f"<= {arguments.deadline_ms} ms",
            f"{p99_ms:.0f} ms of {len(accepted)}, {sum(map(math.isinf, accepted))} expired",
            bool(accepted) and p99_ms <= arguments.deadline_ms,
        ),
        Claim("refusals that are malformed", "0", f"{dict(faults) or 0} of {len(refused)}", not faults),
        Claim(
            "other answers, broken connections",
            "0",
            f"{dict(others) or 0}, {dict(found.during.broken) or 0}",
            not others and not found.during.broken,
        ),
        Claim(
            "memory grown over the last two thirds",
            f"<= {MOST_GROWTH:.0%}",
            f"{growth:.1f} MB of {resident:.0f}",
            growth <= MOST_GROWTH * resident,
        ),
        Claim(
            f"answers a second from {RECOVERY_S:g} s after the end",
            f">= {0.9 * found.capacity_per_s:.0f}",
            f"{after_per_s:.0f}",
            after_per_s >= 0.9 * found.capacity_per_s,
        ),
        Claim("refusals from then on", "0", str(n_refused_after), not n_refused_after),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0, help="arrivals, in capacities")
    parser.add_argument("--clients", type=int, default=32, help="clients that measure the capacity")
    parser.add_argument("--capacity-seconds", type=float, default=10.0)
    parser.add_argument("--words", type=int, default=60, help="words of a text")
    parser.add_argument("--deadline-ms", type=int, default=2000)
    arguments = parser.parse_args()
    with Server("--bundle", arguments.bundle) as server:
        return judge(claims(uvloop.run(measure(server, arguments)), arguments))


if __name__ == "__main__":
    sys.exit(main())
