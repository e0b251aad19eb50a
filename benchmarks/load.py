"""Load on a running service, and what it does to the process. Raw asyncio leaves the processor to the service."""

import asyncio
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import linear_regression
from typing import Any, NamedTuple, Self

WORDS = re.findall(
    r"\w+",
    "the of and to in is for on with as by at from how what which when where why can you use make set run find list "
    "file server memory error network user key index query search model data table time value process start stop read "
    "write open close build test check bread oven flour water salt bike chain road tyre brake child adult guide story",
)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
Address = tuple[str, int]


class Answer(NamedTuple):
    """What came back, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def make_request(path: str, content: object = None, *, method: str = "POST", **headers: str) -> bytes:
    """Write a request, to be sent as often as wanted; an underscore in a header's name stands for a dash."""
    body = b"" if content is None else json.dumps(content).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"host": "load", "content-type": "application/json", "content-length": str(len(body)), **named}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def some_text(rng: random.Random, n_words: int) -> str:
    return " ".join(rng.choices(WORDS, k=n_words))


class ClosedWhileIdleError(ConnectionResetError):
    """A kept connection was closed before a byte of an answer came, as any client must expect and tries again."""


class Connection:
    """One kept-alive connection; whatever ends it early is a ConnectionError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._n_answers = 0
        self.is_open = True

    @classmethod
    async def open(cls, address: Address) -> "Connection":
        return cls(*await asyncio.open_connection(*address, limit=2**20))

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its whole answer."""
        started = time.perf_counter()
        try:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await self._reader.readexactly(int(length[1]) if length else 0)
        except asyncio.IncompleteReadError as error:
            self.close()
            kind = ClosedWhileIdleError if self._n_answers and not error.partial else ConnectionResetError
            raise kind(f"the connection ended after {len(error.partial)} bytes") from None
        except BaseException:
            self.close()
            raise
        self._n_answers += 1
        answer = _parse(head, body, time.perf_counter() - started)
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        self.is_open = False
        self._writer.close()


def _parse(head: bytes, body: bytes, seconds: float) -> Answer:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return Answer(int(first.split(" ")[1]), headers, body, seconds)


class Clients:
    """As many connections as requests are under way; idle ones are used again."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Connection] = []

    async def ask(self, request: bytes) -> Answer:
        while self._idle:
            with suppress(ClosedWhileIdleError):
                return await self._ask_on(self._idle.pop(), request)
        return await self._ask_on(await Connection.open(self._address), request)

    async def _ask_on(self, connection: Connection, request: bytes) -> Answer:
        answer = await connection.ask(request)
        if connection.is_open:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


async def closed_loop(ask: Callable[[], Awaitable[object]], *, n_clients: int, seconds: float) -> None:
    """Let each client ask again as soon as it has an answer."""
    ends = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < ends:
            await ask()

    await asyncio.gather(*(client() for _ in range(n_clients)))


async def open_loop(ask: Callable[[], Awaitable[object]], *, per_s: float, seconds: float, rng: random.Random) -> float:
    """Let requests arrive at random at a mean rate, whatever becomes of those before; returns the largest delay in s.

    A delay says that this process, not the service, was too slow: then fewer requests arrived at once than wanted.
    """
    tasks: set[asyncio.Task[object]] = set()
    began = time.perf_counter()
    due, late = 0.0, 0.0
    while (due := due + rng.expovariate(per_s)) < seconds:
        ahead = began + due - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        late = max(late, -ahead)
        task = asyncio.ensure_future(ask())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return late


def fault_of_refusal(answer: Answer, path: str) -> str | None:
    """Say what is wrong with a 429 or 503: when to come back is missing, or the body is not the route's."""
    for name in ("retry-after", "retry-after-ms"):
        if not answer.headers.get(name, "").isdecimal():
            return f"{answer.status} without {name}"
    try:
        content = json.loads(answer.body)
    except ValueError:
        return f"{answer.status} without JSON"
    is_openai = path.startswith("/v1/") or path == "/embeddings"
    error = content.get("error")
    if is_openai:
        is_whole = isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}
    else:
        is_whole = isinstance(error, str) and set(content) == {"error", "error_type"}
    return None if is_whole else f"{answer.status} with the body {answer.body[:100]!r} on {path}"


class Vitals(NamedTuple):
    """What a process holds at a moment."""

    at_s: float
    resident_mb: float
    n_files: int
    n_threads: int


def vitals(pid: int) -> Vitals:
    process = Path("/proc") / str(pid)
    status = (process / "status").read_text(encoding="ascii")
    found = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
    n_files = sum(1 for _ in (process / "fd").iterdir())
    return Vitals(time.perf_counter(), found["VmRSS"] / 1024, n_files, found["Threads"])


async def watch(pid: int, seen: list[Vitals], *, every_s: float) -> None:
    """Note what a process holds until cancelled."""
    while True:
        seen.append(vitals(pid))
        await asyncio.sleep(every_s)


def growth_mb(seen: Sequence[Vitals]) -> float:
    """Return by how much memory grew over the time seen, as a straight line through all of it has it."""
    if len(seen) < 2:
        return 0.0
    line = linear_regression([one.at_s for one in seen], [one.resident_mb for one in seen])
    return line.slope * (seen[-1].at_s - seen[0].at_s)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all does not exceed; no value is 0."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Claim(NamedTuple):
    """Something that must hold, and what was found."""

    what: str
    wanted: str
    found: str
    is_met: bool


def judge(claims: Sequence[Claim]) -> int:
    """Print what was found beside what was wanted; returns the exit code, 1 where one is not met."""
    print("| claim | wanted | found | |\n|---|---|---|---|")
    for claim in claims:
        print(f"| {claim.what} | {claim.wanted} | {claim.found} | {'met' if claim.is_met else '**missed**'} |")
    print("\nPASS" if all(claim.is_met for claim in claims) else "\nFAIL")
    return 0 if all(claim.is_met for claim in claims) else 1


class Server:
    """A service in a process of its own, on a port that stays its own when it is started again."""

    def __init__(self, *options: str | Path, **settings: object) -> None:
        self._options = options
        self._settings = {"LOG_LEVEL": "error"} | {name.upper(): str(value) for name, value in settings.items()}
        self._port = 0
        most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # here and, inherited, in the service
        self.start()

    @property
    def address(self) -> Address:
        return "127.0.0.1", self._port

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [str(Path(sys.executable).with_name("infembed")), "serve", "--port", str(self._port)]
        environment = os.environ | {f"INFEMBED_{name}": value for name, value in self._settings.items()}
        self._process = subprocess.Popen(
            [*command, *map(str, self._options)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for line in self._process.stdout or ():
            if found := re.search(r"ready on http://\S+:(\d+)", line):
                self._port = int(found[1])
                return
        raise SystemExit("the service did not start")

    def kill(self) -> None:
        """End it as a crash does: nothing is finished, nothing cleaned up."""
        self._process.kill()
        self._process.wait()

    async def metrics(self) -> dict[str, float]:
        connection = await Connection.open(self.address)
        text = (await connection.ask(make_request("/metrics", method="GET"))).body.decode()
        connection.close()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def until_idle(self, *, patience_s: float) -> dict[str, float]:
        """Wait until nothing waits or runs; returns the metrics then, or after `patience_s` as they are."""
        ends = time.perf_counter() + patience_s
        while (found := await self.metrics())["infembed_queue_tokens"] and time.perf_counter() < ends:
            await asyncio.sleep(0.1)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def background(work: "asyncio.Task[Any]") -> Iterator[None]:
    """Let a task run for as long as the block lasts."""
    try:
        yield
    finally:
        work.cancel()
