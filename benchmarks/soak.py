"""Mixed traffic for as long as it takes a leak to show, with models swapped under it and a crash at the end.

    infembed bundle assemble --out .cache/plain --recipe all-minilm-l6-v2
    python -m benchmarks.soak --bundles .cache/bundle .cache/plain --collections .cache/collections --minutes 30

Clients embed single texts and batches, search with and without instructions, ask OpenAI's way, and send what is wrong;
each answer is compared with what it must be. Every `--swap-every` minutes the served bundle becomes the next of
`--bundles`, which must share the collections' document fingerprint (`/admin/reload`). At the end the process is killed
in the middle of its work and started again, while clients try again once a second, as clients do.

Wanted: no answer but the expected one, every swap done, memory (a straight line through all after the first third, or
after the second swap where that is later), files and threads flat; after the kill nothing but connection errors and
503 with a time to come back, no answer taken for whole that is not, and every client answered again once the service is
back. Exit code 1: one of these was missed.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
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
    growth_mb,
    judge,
    make_request,
    percentile,
    some_text,
    watch,
)

SEED = 20261128
MOST_GROWTH_MB = 16.0
MOST_GROWTH_FILES = 8
WATCHED_EVERY_S = 1.0
PATIENCE_S = 30.0
UNANSWERED, LOADING = "no answer", "503, come back"
"""What a client may meet while a service that was killed comes back."""


class Asked(NamedTuple):
    """A request and the status it must get."""

    request: bytes
    status: int


def some_request(rng: random.Random) -> Asked:
    """Draw one of what real traffic is made of; one in ten is wrong."""
    text = some_text(rng, rng.randint(3, 60))
    instruction = f"only for {some_text(rng, 4)}" if rng.random() < 0.5 else f"no {rng.choice(_USUAL)}"
    kind = rng.randrange(10)
    if kind <= 2:
        return Asked(make_request("/search", {"query": text, "instruction": instruction, "explain": kind == 0}), 200)
    if kind <= 4:
        return Asked(make_request("/embed", {"inputs": text, "instruction": instruction}), 200)
    if kind <= 6:
        return Asked(make_request("/v1/embeddings", {"input": [text] * 4, "encoding_format": "base64"}), 200)
    if kind == 7:
        return Asked(make_request("/embed", {"inputs": [text] * 16, "normalize": False}), 200)
    if kind == 8:
        return Asked(make_request("/similarity", {"inputs": {"source_sentence": text, "sentences": [text, "x"]}}), 200)
    return Asked(*rng.choice(_WRONG))


_USUAL = ("reference pages", "advertising", "opinions", "code", "tables")
_WRONG = (
    (make_request("/embed", {"inputs": ""}), 400),
    (make_request("/embed", {"inputs": ["a"], "instruction": ["b", "c"]}), 422),
    (make_request("/v1/embeddings", {"input": [1, 2, 3]}), 400),
    (make_request("/search", {"query": "a", "collection": "nothing"}), 404),
    (make_request("/search", {"query": "a", "k": 0}), 422),
    (make_request("/nothing", {}), 404),
    (make_request("/embed", method="GET"), 405),
    (make_request("/embed", "{"), 422),
)


class Traffic:
    """Clients that ask one after the other, and what came of it."""

    def __init__(self, server: Server) -> None:
        self._clients = Clients(server.address)
        self.n_asked = 0
        self.seconds: list[float] = []
        self.unexpected: Counter[str] = Counter()
        self.answered: set[int] = set()
        self.is_over = False

    async def run(self, number: int) -> None:
        rng = random.Random(SEED + number)
        while not self.is_over:
            asked = some_request(rng)
            self.n_asked += 1
            try:
                answer = await self._clients.ask(asked.request)
            except OSError:
                self.unexpected[UNANSWERED] += 1
                await asyncio.sleep(1.0)
                continue
            if answer.status == 503:
                self.unexpected[LOADING] += 1
                await asyncio.sleep(int(answer.headers["retry-after-ms"]) / 1000)
                continue
            if not _is_whole(answer, asked):
                self.unexpected[f"{answer.status} for {asked.status}"] += 1
            self.answered.add(number)
            self.seconds.append(answer.seconds)
            del self.seconds[:-100_000]

    def close(self) -> None:
        self._clients.close()


def _is_whole(answer: Answer, asked: Asked) -> bool:
    with suppress(ValueError):
        json.loads(answer.body)
        return answer.status == asked.status
    return False


class Swapped(NamedTuple):
    """A reload: when, and what the service said of it."""

    at_s: float
    outcome: str


async def swap(server: Server, current: Path, bundles: Sequence[Path], *, every_s: float, done: list[Swapped]) -> None:
    """Point `current` at the next bundle, in one step, and have it loaded, again and again."""
    number = 0
    while True:
        await asyncio.sleep(every_s)
        number += 1
        release = _release(current.parent, number, bundles[number % len(bundles)])
        _point(current, release)
        clients = Clients(server.address)
        answer = await clients.ask(make_request("/admin/reload"))
        clients.close()
        content = json.loads(answer.body)
        done.append(Swapped(time.perf_counter(), content.get("outcome") or f"{answer.status}: {content['error']}"))
        print(f"swap {number}: {done[-1].outcome}", file=sys.stderr)


def _release(site: Path, number: int, bundle: Path) -> Path:
    directory = site / f"release-{number}"
    directory.mkdir()
    (directory / "bundle").symlink_to(bundle.resolve())
    return directory


def _point(current: Path, release: Path) -> None:
    new = current.with_name("new")
    new.symlink_to(release)
    new.rename(current)


class Found(NamedTuple):
    """What the traffic met before the crash and after it."""

    before: Traffic
    vitals: Sequence[Vitals]
    swaps: Sequence[Swapped]
    around_crash: Traffic
    n_clients: int
    n_answered_again: int
    back_after_s: float


async def measure(server: Server, current: Path, arguments: argparse.Namespace) -> Found:
    seen: list[Vitals] = []
    swaps: list[Swapped] = []
    bundles, every_s = arguments.bundles, arguments.swap_every * 60
    traffic = Traffic(server)
    swapping = asyncio.create_task(swap(server, current, bundles, every_s=every_s, done=swaps))
    with background(asyncio.create_task(watch(server.pid, seen, every_s=WATCHED_EVERY_S))), background(swapping):
        clients = [asyncio.create_task(traffic.run(number)) for number in range(arguments.clients)]
        telling = asyncio.create_task(tell(traffic, seen))
        with background(telling):
            await asyncio.sleep(arguments.minutes * 60)
        traffic.is_over = True
        await asyncio.gather(*clients)
    traffic.close()
    return Found(traffic, seen, swaps, *await crash(server, arguments))


async def tell(traffic: Traffic, seen: Sequence[Vitals]) -> None:
    """Say once a minute how far it is."""
    while True:
        await asyncio.sleep(60.0)
        print(f"{traffic.n_asked:,} requests, {seen[-1].resident_mb:.0f} MB", file=sys.stderr)


class Crash(NamedTuple):
    """The traffic around a crash, and how it went on."""

    traffic: Traffic
    n_clients: int
    n_answered_again: int
    back_after_s: float


async def crash(server: Server, arguments: argparse.Namespace) -> Crash:
    """Kill the service under load, start it again, and count the clients that are answered again."""
    traffic = Traffic(server)
    clients = [asyncio.create_task(traffic.run(number)) for number in range(arguments.clients)]
    await asyncio.sleep(2.0)
    server.kill()
    killed = time.perf_counter()
    await asyncio.to_thread(server.start)
    back_after_s = time.perf_counter() - killed
    traffic.answered.clear()
    ends = time.perf_counter() + PATIENCE_S
    while len(traffic.answered) < len(clients) and time.perf_counter() < ends:
        await asyncio.sleep(0.1)
    traffic.is_over = True
    await asyncio.gather(*clients)
    traffic.close()
    return Crash(traffic, len(clients), len(traffic.answered), back_after_s)


def claims(found: Found) -> list[Claim]:
    settled_at = found.vitals[len(found.vitals) // 3].at_s
    if len(found.swaps) > 1:
        settled_at = max(settled_at, found.swaps[1].at_s)
    settled = [one for one in found.vitals if one.at_s >= settled_at] or found.vitals[-1:]
    growth = growth_mb(settled)
    n_files = max(one.n_files for one in settled) - settled[0].n_files
    n_threads = max(one.n_threads for one in settled) - settled[0].n_threads
    refused = [one.outcome for one in found.swaps if one.outcome != "swapped"]
    traffic, crashed = found.before, found.around_crash
    n_errors, n_loading = crashed.unexpected[UNANSWERED], crashed.unexpected[LOADING]
    half = {what: n for what, n in crashed.unexpected.items() if what not in {UNANSWERED, LOADING}}
    minutes = (settled[-1].at_s - settled[0].at_s) / 60
    return [
        Claim(
            "unexpected answers", "0", f"{dict(traffic.unexpected) or 0} of {traffic.n_asked:,}", not traffic.unexpected
        ),
        Claim("swaps refused", "0", f"{refused or 0} of {len(found.swaps)}", not refused),
        Claim(
            f"memory grown in the last {minutes:.1f} minutes",
            f"<= {MOST_GROWTH_MB:.0f} MB",
            f"{growth:.1f} MB to {settled[-1].resident_mb:.0f}",
            growth <= MOST_GROWTH_MB,
        ),
        Claim("files more", f"<= {MOST_GROWTH_FILES}", str(n_files), n_files <= MOST_GROWTH_FILES),
        Claim("threads more", f"<= {MOST_GROWTH_FILES}", str(n_threads), n_threads <= MOST_GROWTH_FILES),
        Claim(
            "around the crash: neither right, nor a connection error, nor a 503 while the model loads",
            "0",
            f"{half or 0} ({n_errors} connection errors, {n_loading} times 503)",
            not half,
        ),
        Claim(
            "clients answered again",
            str(found.n_clients),
            f"{found.n_answered_again}, {found.back_after_s:.1f} s after the kill",
            found.n_answered_again == found.n_clients,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, nargs="+", required=True)
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--swap-every", type=float, default=3.0, help="minutes")
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        current = Path(directory) / "current"
        _point(current, _release(current.parent, 0, arguments.bundles[0]))
        with Server("--bundle", current / "bundle", "--collections", arguments.collections) as server:
            found = uvloop.run(measure(server, current, arguments))
    answered = found.before.seconds
    print(f"{found.before.n_asked:,} requests, p50 {percentile(answered, 0.5) * 1000:.1f} ms, ", end="")
    print(f"p99 {percentile(answered, 0.99) * 1000:.1f} ms\n")
    return judge(claims(found))


if __name__ == "__main__":
    sys.exit(main())
