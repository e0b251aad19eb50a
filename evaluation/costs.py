"""What serving a bundle costs, several bundles in one run: each in a process of its own, queries in turn.

Turn by turn, a noisy moment of the machine hits all bundles alike; a process each keeps their memory apart. The order
within a turn alternates, and the percentiles are medians over blocks of turns, so that one burst of noise moves none.
"""

import multiprocessing
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from evaluation.report import ServingCosts
from infembed.bundle import Precision
from infembed.encoder import Encoder
from infembed.errors import (
    BadArtefactError,
    BadInputError,
    InfEmbedError,
    MissingArtefactError,
    OverloadedError,
    UnavailableError,
)
from infembed.inputs import TextInput
from infembed.vectors import FloatArray, normalize, require_finite

_WARM_UP = 10
_BLOCKS = 5
_TURNS_OF_BLOCK = 40
_PROBES = 64
_SAME = 1e-6
_PATIENCE_S = 120.0


class _Probes(NamedTuple):
    """Queries whose vectors are looked at."""

    queries: list[TextInput]


class _Findings(NamedTuple):
    """What a worker found out about its probes, and the memory it takes."""

    vectors: FloatArray
    largest_difference: float
    resident_mb: float


def measure_costs(
    bundles: Sequence[Path],
    queries: Sequence[TextInput],
    *,
    precisions: Sequence[Precision] | None = None,
    references: Sequence[Encoder | None] | None = None,
) -> list[ServingCosts]:
    """Measure every bundle on the same queries; latency is one query alone, tokenizing included.

    Without `precisions` all are float32. A reference is the checkpoint a bundle was exported from; without one parity
    is left open.
    """
    if not queries:
        raise BadInputError("costs are measured on queries and there are none; give at least one")
    one_per_text = list({query.text: query for query in queries}.values())[:_PROBES]
    with ExitStack() as stack:
        pairs = zip(bundles, precisions or [Precision.FP32] * len(bundles), strict=True)
        workers = [stack.enter_context(started(bundle, precision)) for bundle, precision in pairs]
        latencies = take_turns(workers, queries)
        findings = [worker.look_at(one_per_text) for worker in workers]
    run = uuid.uuid4().hex
    return [
        ServingCosts(
            parity_max_abs=parity(found.vectors, reference, one_per_text),
            batch_invariance_max_abs=found.largest_difference,
            latency_p50_ms=over_blocks(taken, 50),
            latency_p95_ms=over_blocks(taken, 95),
            resident_mb=found.resident_mb,
            distinct_vectors=distinct(found.vectors),
            measured_in=run,
        )
        for found, taken, reference in zip(findings, latencies, references or [None] * len(bundles), strict=True)
    ]


class Timed(Protocol):
    """Something that can be timed on a query."""

    def time(self, query: TextInput) -> float:
        """Return the seconds one query takes."""
        ...


def take_turns(workers: Sequence[Timed], queries: Sequence[TextInput]) -> list[list[float]]:
    """Time one query alone on each worker in turn; milliseconds by worker, in order, without the first ones."""
    latencies: list[list[float]] = [[] for _ in workers]
    numbers = range(len(workers))
    for turn in range(_WARM_UP + _BLOCKS * _TURNS_OF_BLOCK):
        query = queries[turn % len(queries)]
        for number in numbers if turn % 2 else reversed(numbers):
            latencies[number].append(workers[number].time(query) * 1000)
    return [taken[_WARM_UP:] for taken in latencies]


def over_blocks(latencies: Sequence[float], percentile: float) -> float:
    """Median over the blocks of a run of each block's percentile."""
    blocks = np.array(latencies).reshape(_BLOCKS, _TURNS_OF_BLOCK)
    return float(np.median(np.percentile(blocks, percentile, axis=1)))


def parity(vectors: FloatArray, reference: Encoder | None, queries: Sequence[TextInput]) -> float | None:
    """Return the largest difference of an element from the checkpoint's vectors; None without a checkpoint."""
    if reference is None:
        return None
    wanted = normalize(require_finite(reference.encode_queries(queries)))
    if wanted.shape != vectors.shape:
        raise BadArtefactError(
            f"the checkpoint gives {wanted.shape[1]} dimensions, the bundle {vectors.shape[1]}; "
            "compare a bundle with the checkpoint it was exported from"
        )
    return float(np.abs(vectors - wanted).max())


class Worker:
    """The parent's end of one bundle's process."""

    def __init__(self, bundle: Path, process: BaseProcess, connection: "Connection[object, object]") -> None:
        self._bundle = bundle
        self._process = process
        self._connection = connection

    def time(self, query: TextInput) -> float:
        """Return the seconds one query takes."""
        return float(self._ask(query))

    def look_at(self, queries: list[TextInput]) -> _Findings:
        """Return the vectors of queries and what is odd about them."""
        found: _Findings = self._ask(_Probes(queries))
        return found

    def _ask(self, message: object) -> Any:
        try:
            self._connection.send(message)
            if not self._connection.poll(_PATIENCE_S):
                raise UnavailableError(
                    f"the process that measures {self._bundle} has not answered for {_PATIENCE_S:.0f} s; measure again "
                    "on a machine with less to do",
                    retry_after_s=1.0,
                )
            answer: Any = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(1)
            raise UnavailableError(
                f"the process that measures {self._bundle} died (exit code {self._process.exitcode}); "
                "-9 means that memory ran out: measure again with more of it",
                retry_after_s=1.0,
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def started(bundle: Path, precision: Precision = Precision.FP32) -> Iterator[Worker]:
    """Run a worker; whatever happens, its process does not outlive the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(str(bundle), precision, theirs), daemon=True)
    process.start()
    try:
        theirs.close()
        yield Worker(bundle, process, ours)
    finally:
        ours.close()
        process.terminate()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _serve(bundle: str, precision: Precision, connection: "Connection[object, object]") -> None:
    """Run in the bundle's process: time single queries, then look at vectors."""
    from infembed.encoder import OnnxEncoder
    from infembed.execution import Footprint

    try:
        encoder = OnnxEncoder.open(Path(bundle), precision=precision, footprint=Footprint.SMALL)
        while True:
            message = connection.recv()
            if isinstance(message, TextInput):
                started = time.perf_counter()
                encoder.encode(encoder.tokenizer.tokenize([message]))
                connection.send(time.perf_counter() - started)
            elif isinstance(message, _Probes):
                tokenized = encoder.tokenizer.tokenize(message.queries)
                batched = normalize(require_finite(encoder.encode(tokenized)))
                alone = normalize(require_finite(np.concatenate([encoder.encode([item]) for item in tokenized])))
                connection.send(_Findings(alone, float(np.abs(batched - alone).max()), _resident_mb()))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - the parent raises it
        connection.send(_sendable(error, bundle))


def _sendable(error: Exception, bundle: str) -> Exception:
    """Keep our own errors where their class survives the way between processes."""
    if isinstance(error, InfEmbedError) and not isinstance(error, OverloadedError):
        return error
    return BadArtefactError(f"{bundle} cannot be measured: {type(error).__name__}: {error}")


def distinct(vectors: FloatArray) -> float:
    """Share of unit vectors that differ from all others before them."""
    repeats = np.tril(vectors @ vectors.T > 1 - _SAME, k=-1).any(axis=1)
    return float(1 - repeats.mean())


def _resident_mb() -> float:
    status = Path("/proc/self/status")
    if not status.is_file():
        raise MissingArtefactError(f"there is no {status}: memory is measured on Linux only")
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise AssertionError("Linux writes VmRSS into /proc/self/status")
