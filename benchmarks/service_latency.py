"""Latency of the service over HTTP beside the bare ONNX Runtime session on the same texts.

    python -m benchmarks.service_latency --bundle .cache/bundle --collections .cache/collections

Each round measures every case once, the bare session among them, so that a change of the machine's mood hits all of
them; the table gives the median over the rounds. The bare session is the limit: it gets token ids, tokenizes nothing,
parses nothing and searches nothing.
"""

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from index.generation import STORE_FILE, current_name, directory_of, read_manifest
from index.store import PassageStore
from infembed.encoder import OnnxEncoder
from infembed.inputs import InputType, TextInput

INSTRUCTIONS = (
    "only steps that work without administrator rights",
    "leave out reference pages; I want a worked example",
    "for someone who has never used a command line",
    "only what changed in recent versions",
    "nothing about security settings",
    "short definitions, no code",
    "explain the trade-offs, not the syntax",
    "only troubleshooting",
)
WORDS_PER_QUERY = 12
SEED = 20261124


@dataclass(frozen=True)
class Sample:
    """One case in one round."""

    latencies_ms: list[float]
    seconds: float

    @property
    def per_s(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, q: float) -> float:
        return float(np.percentile(self.latencies_ms, q))


@dataclass(frozen=True)
class Case:
    """What is measured: a name, how many clients, and how to run it once."""

    name: str
    n_clients: int
    run: Callable[[], Sample]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("--collection", help="which one to search; default: the largest")
    parser.add_argument("--requests", type=int, default=1000, help="requests of one case in one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write every sample here")
    arguments = parser.parse_args()
    collection = (
        arguments.collections / arguments.collection if arguments.collection else largest(arguments.collections)
    )
    queries = sample_queries(collection, arguments.requests)
    encoder = OnnxEncoder.open(arguments.bundle)
    with served(arguments.bundle, arguments.collections) as url:
        cases = [*bare_cases(encoder, queries), *http_cases(url, queries, collection.name)]
        rounds = [run_round(cases, number) for number in range(arguments.rounds)]
    manifest = read_manifest(collection, str(current_name(collection)))
    print(
        f"\n{collection.name}: {manifest.n_documents:,} passages, {manifest.factory}, nprobe {manifest.nprobe}; ",
        end="",
    )
    print(f"{arguments.requests} requests a case, median of {arguments.rounds} rounds\n")
    print(table(cases, rounds))
    if arguments.json:
        found = [{case.name: sample.latencies_ms for case, sample in zip(cases, one, strict=True)} for one in rounds]
        arguments.json.write_text(json.dumps(found), encoding="utf-8")


def run_round(cases: Sequence[Case], number: int) -> list[Sample]:
    samples = []
    for case in cases:
        samples.append(case.run())
        print(f"round {number + 1}: {case.name}: {samples[-1].per_s:.0f}/s", file=sys.stderr)
    return samples


def table(cases: Sequence[Case], rounds: Sequence[Sequence[Sample]]) -> str:
    lines = ["| case | clients | p50 ms | p99 ms | per second (lowest to highest round) |", "|---|---|---|---|---|"]
    for number, case in enumerate(cases):
        samples = [one[number] for one in rounds]
        rates = sorted(sample.per_s for sample in samples)
        lines.append(
            f"| {case.name} | {case.n_clients} | {median(s.percentile(50) for s in samples):.1f} "
            f"| {median(s.percentile(99) for s in samples):.1f} "
            f"| {median(rates):.0f} ({rates[0]:.0f} to {rates[-1]:.0f}) |"
        )
    return "\n".join(lines)


def largest(collections: Path) -> Path:
    """Return the collection with the most documents."""
    found = [path.parent for path in collections.glob("*/CURRENT")]
    return max(found, key=lambda path: read_manifest(path, str(current_name(path))).n_documents)


def sample_queries(collection: Path, n: int) -> list[TextInput]:
    """Take the first words of passages as queries, with eight instructions in turn."""
    store = PassageStore.open(directory_of(collection, str(current_name(collection))) / STORE_FILE)
    rows = random.Random(SEED).choices(store.rows(), k=n)
    found = store.get(sorted(set(rows)))
    texts = [" ".join(found[row].text.split()[:WORDS_PER_QUERY]) for row in rows]
    store.close()
    return [TextInput(t, InputType.QUERY, INSTRUCTIONS[i % len(INSTRUCTIONS)]) for i, t in enumerate(texts)]


def bare_cases(encoder: OnnxEncoder, queries: Sequence[TextInput]) -> Iterator[Case]:
    """The model alone on the token ids of the same texts: one at a time, and 16 at a time."""
    plain = encoder.tokenizer.tokenize([TextInput(query.text) for query in queries])
    instructed = encoder.tokenizer.tokenize(queries)
    for name, items in (("bare session", plain), ("bare session, with instruction", instructed)):
        for size in (1, 16):
            batches = [items[i : i + size] for i in range(0, len(items), size)]
            yield Case(f"{name}, batches of {size}", size, lambda batches=batches: run_bare(encoder, batches))  # type: ignore[misc]


def run_bare(encoder: OnnxEncoder, batches: Sequence[Any]) -> Sample:
    latencies: list[float] = []
    began = time.perf_counter()
    for batch in batches:
        started = time.perf_counter()
        encoder.encode(batch)
        latencies += [(time.perf_counter() - started) * 1000] * len(batch)
    return Sample(latencies, time.perf_counter() - began)


def http_cases(url: str, queries: Sequence[TextInput], collection: str) -> Iterator[Case]:
    bodies: dict[str, list[dict[str, str | None]]] = {
        "/embed": [{"inputs": query.text} for query in queries],
        "/embed, with instruction": [{"inputs": query.text, "instruction": query.instruction} for query in queries],
        "/search, with instruction": [
            {"query": query.text, "instruction": query.instruction, "collection": collection} for query in queries
        ],
    }
    for name, contents in bodies.items():
        requests = [as_http(name.split(",")[0], content) for content in contents]
        for n_clients in (1, 16):
            yield Case(name, n_clients, lambda r=requests, n=n_clients: asyncio.run(run_http(url, r, n)))  # type: ignore[misc]


def as_http(path: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_http(url: str, requests: Sequence[bytes], n_clients: int) -> Sample:
    """Send prepared requests over kept-alive connections; a client this plain leaves the processor to the service."""
    host, port = url.removeprefix("http://").split(":")
    waiting = iter(requests)
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for request in waiting:
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                raise RuntimeError(f"unexpected answer: {head.decode()}")
            await reader.readexactly(int(length[1]))
            latencies.append((time.perf_counter() - started) * 1000)
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(n_clients)))
    return Sample(latencies, time.perf_counter() - began)


@contextmanager
def served(bundle: Path, collections: Path) -> Iterator[str]:
    command = [Path(sys.executable).with_name("infembed"), "serve", "--port", "0"]
    command += ["--bundle", bundle, "--collections", collections]
    environment = {**os.environ, "INFEMBED_LOG_LEVEL": "warning"}
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield ready_url(process)
        finally:
            process.terminate()


def ready_url(process: "subprocess.Popen[str]") -> str:
    """Wait for a starting service to say where it listens."""
    for line in process.stdout or ():
        if found := re.search(r"ready on (http://\S+)", line):
            return found[1]
    raise SystemExit("the service did not start")


if __name__ == "__main__":
    main()
