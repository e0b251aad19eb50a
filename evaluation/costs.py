"""What serving a bundle costs, several bundles in one run: each in a process of its own, queries in turn.

Turn by turn, a noisy moment of the machine hits all bundles alike; a process each keeps their memory apart.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report import ServingCosts
from infembed.errors import UnavailableError
from infembed.inputs import TextInput
from infembed.vectors import FloatArray

_WARM_UP = 10
_TIMED = 200
_INVARIANCE_TEXTS = 64
_SAME = 1e-6


def measure_costs(bundles: Sequence[Path], queries: Sequence[TextInput]) -> list[ServingCosts]:
    """Measure every bundle on the same queries; latency is one query alone, tokenizing included."""
    workers = []
    with _started(bundles) as started:
        workers = list(started)
        latencies: list[list[float]] = [[] for _ in workers]
        for number in range(_WARM_UP + _TIMED):
            query = queries[number % len(queries)]
            for worker, found in zip(workers, latencies, strict=True):
                seconds = worker.ask(query)
                if number >= _WARM_UP:
                    found.append(seconds * 1000)
        states = [worker.finish(list(queries[:_INVARIANCE_TEXTS])) for worker in workers]
    return [
        ServingCosts(
            batch_invariance_max_abs=difference,
            latency_p50_ms=float(np.percentile(found, 50)),
            latency_p95_ms=float(np.percentile(found, 95)),
            resident_mb=resident_mb,
            distinct_vectors=distinct,
        )
        for found, (difference, distinct, resident_mb) in zip(latencies, states, strict=True)
    ]


class _Worker:
    """The parent's end of one bundle's process."""

    def __init__(self, bundle: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._bundle = bundle
        self.process = context.Process(target=_serve, args=(str(bundle), theirs), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, query: TextInput) -> float:
        self._connection.send(query)
        return float(self._receive())

    def finish(self, queries: list[TextInput]) -> tuple[float, float, float]:
        self._connection.send(queries)
        found: tuple[float, float, float] = self._receive()
        return found

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError as error:
            raise UnavailableError(f"the process that measures {self._bundle} died", retry_after_s=1.0) from error
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def _started(bundles: Sequence[Path]) -> Iterator[list[_Worker]]:
    workers = [_Worker(bundle) for bundle in bundles]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()


def _serve(bundle: str, connection: "Connection[object, object]") -> None:
    """Run in the bundle's process: time single queries, then look at the vectors."""
    from infembed.encoder import OnnxEncoder

    try:
        encoder = OnnxEncoder.open(Path(bundle))
        while True:
            message = connection.recv()
            if isinstance(message, TextInput):
                started = time.perf_counter()
                encoder.encode(encoder.tokenizer.tokenize([message]))
                connection.send(time.perf_counter() - started)
            elif isinstance(message, list):
                tokenized = encoder.tokenizer.tokenize(message)
                batched = encoder.encode(tokenized)
                alone = np.concatenate([encoder.encode([item]) for item in tokenized])
                connection.send((float(np.abs(batched - alone).max()), _distinct(alone), _resident_mb()))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - the parent raises it
        connection.send(error)


def _distinct(vectors: FloatArray) -> float:
    """Share of vectors that differ from all others before them."""
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = (vectors / norms) @ (vectors / norms).T
    repeats = np.tril(cosines > 1 - _SAME, k=-1).any(axis=1)
    return float(1 - repeats.mean())


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise AssertionError("Linux writes VmRSS into /proc/self/status")
