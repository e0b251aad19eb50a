"""How to use the processors of one machine: threads, runs side by side or processes; and how large batches should be.

    python -m benchmarks.workers --bundle .cache/bundle
    python -m benchmarks.workers --bundle .cache/bundle --part batch-tokens --batch-tokens 1024 --batch-tokens 4096

- `model`: the model alone in one process; one run at a time, or several side by side that share weights and threads.
- `processes`: the service over HTTP, one process or several. Connections are divided evenly, as a balancer that costs
  nothing would; a real one, or SO_REUSEPORT, can only be worse.
- `batch-tokens`: values of INFEMBED_MAX_BATCH_TOKENS, and what a single query waits while batches are ingested.

Client, texts and rounds are those of benchmarks/peers.py. The last column compares with the first case of a workload.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.paired import Case, Key, run_rounds, table
from benchmarks.peer_servers import Program, Running, service, started
from benchmarks.workloads import (
    BATCH_TEXTS,
    WARM_UP_S,
    Workload,
    batch_requests,
    short_texts,
    single_requests,
    text_batches,
    timed,
)
from benchmarks.wrk import Load, joined
from infembed.bundle import Precision
from infembed.cpu import available_cpus
from infembed.encoder import OnnxEncoder
from infembed.inputs import TextInput
from infembed.tokenization import TokenizedInput

SHORT_TOGETHER = 8
"""Short texts in a batch: of 16 connections half are in the model, the others about to be."""
BATCH_TOKENS = (4096, 2048, 1024, 512)


class Part(StrEnum):
    """What can be measured by itself."""

    MODEL = "model"
    PROCESSES = "processes"
    BATCH_TOKENS = "batch-tokens"


class Shape(NamedTuple):
    """So many side by side, and the threads of the model that each has; `runs` None: the service's own choice."""

    n: int
    threads: int
    runs: int | None = None

    def __str__(self) -> str:
        runs = "" if self.runs is None else f", {self.runs} run at a time"
        return f"{self.n} with {self.threads} thread{'s' * (self.threads > 1)}{' each' * (self.n > 1)}{runs}"


def shapes(n_cpus: int) -> list[Shape]:
    """List the ways to divide processors: one with all, one that leaves HTTP a processor, as many as there are."""
    return list(dict.fromkeys([Shape(1, n_cpus), Shape(1, max(1, n_cpus - 1)), Shape(n_cpus, 1)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP32)
    parser.add_argument("--part", type=Part, choices=list(Part), action="append", help="default: all; may be repeated")
    parser.add_argument("--batch-tokens", type=int, action="append", help="default: 4096 to 512; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one case in one round")
    parser.add_argument("--logs", type=Path, default=Path(".cache/peers/logs"))
    arguments = parser.parse_args()
    parts = frozenset(arguments.part or Part)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        requests = Requests(
            single_requests(Path(scratch), connections=16),
            batch_requests(Path(scratch), connections=4),
            arguments.seconds,
        )
        start = partial(service, bundle=arguments.bundle, precision=arguments.precision)
        cases: list[Case] = []
        servers: dict[str, Running] = {}
        if Part.MODEL in parts:
            cases += model_cases(arguments.bundle, arguments.precision, seconds=arguments.seconds)
        if Part.PROCESSES in parts:
            ways = [*shapes(available_cpus()), Shape(1, available_cpus(), runs=1)]
            groups = {shape: replicas(shape, start) for shape in ways}
            programs = [program for group in groups.values() for program in group]
            servers |= stack.enter_context(started(programs, arguments.logs))
            cases += process_cases(groups, servers, requests)
        if Part.BATCH_TOKENS in parts:
            programs = [budgeted(n, start) for n in arguments.batch_tokens or BATCH_TOKENS]
            budgets = stack.enter_context(started(programs, arguments.logs))
            cases += budget_cases(budgets, requests)
            servers |= budgets
        rounds = run_rounds(cases, arguments.rounds)
        memory = {name: server.memory for name, server in servers.items()}
    print(f"\n{arguments.precision}, {available_cpus()} processors\n\n{table(rounds)}\n")
    for name, found in memory.items():
        print(f"{name}: {found.total:.0f} MB resident at the end, {found.private:.0f} of them private")


class Requests(NamedTuple):
    """The workloads of a run, and how long each is measured."""

    short: Workload
    batches: Workload
    seconds: float


def replicas(shape: Shape, start: Callable[..., Program]) -> list[Program]:
    """Make the processes of a shape."""
    settings = {"INFEMBED_THREADS": str(shape.threads)}
    if shape.runs is not None:
        settings["INFEMBED_RUNS"] = str(shape.runs)
    return [start(f"{shape}, process {i + 1}", **settings) for i in range(shape.n)]


def budgeted(n_tokens: int, start: Callable[..., Program]) -> Program:
    """Make a service with batches of so many tokens."""
    return start(f"{n_tokens} tokens a batch", INFEMBED_MAX_BATCH_TOKENS=str(n_tokens))


def process_cases(
    groups: Mapping[Shape, Sequence[Program]], servers: Mapping[str, Running], requests: Requests
) -> Iterator[Case]:
    """Yield short texts, then batches, on each group of processes."""
    for name, workload in (("short", requests.short), ("batches", requests.batches)):
        for shape, group in groups.items():
            some = [servers[program.name] for program in group]
            run = partial(workload.put_on, *some, seconds=requests.seconds)
            yield Case(Key(f"{Part.PROCESSES}, {name}", str(shape)), run)


def budget_cases(servers: Mapping[str, Running], requests: Requests) -> Iterator[Case]:
    """Yield short texts, batches, and one client that must wait for other clients' batches."""
    alone = requests.short._replace(connections=1)
    for name, workload in (("short", requests.short), ("batches", requests.batches)):
        for budget, server in servers.items():
            run = partial(workload.put_on, server, seconds=requests.seconds)
            yield Case(Key(f"{Part.BATCH_TOKENS}, {name}", budget), run)
    for budget, server in servers.items():
        run = partial(beside, alone, requests.batches, server, seconds=requests.seconds)
        yield Case(Key(f"{Part.BATCH_TOKENS}, one client beside batches", budget), run)


def beside(measured: Workload, other: Workload, server: Running, *, seconds: float) -> Load:
    """Measure one workload while another keeps the server busy."""
    with server.awake(), ThreadPoolExecutor(1) as client:
        other.warm_up(server)
        busy = client.submit(other.run, server, seconds=seconds + WARM_UP_S)
        found = measured.run(server, seconds=seconds)
        busy.result()
    return found


def model_cases(bundle: Path, precision: Precision, *, seconds: float) -> Iterator[Case]:
    """Yield batches on the model alone, also with runs side by side that share all threads."""
    n_cpus = available_cpus()
    found = dict.fromkeys([*shapes(n_cpus), Shape(n_cpus, n_cpus)])
    encoders = {shape: OnnxEncoder.open(bundle, precision=precision, n_threads=shape.threads) for shape in found}
    long = [text for batch in text_batches() for text in batch]
    for name, texts, size in (("short", short_texts(), SHORT_TOGETHER), ("batches", long, BATCH_TEXTS)):
        for shape, encoder in encoders.items():
            items = encoder.tokenizer.tokenize([TextInput(text) for text in texts])
            batches = [items[i : i + size] for i in range(0, len(items), size)]
            run = partial(side_by_side, encoder.encode, batches, n=shape.n, seconds=seconds)
            yield Case(Key(f"{Part.MODEL}, {name}", str(shape)), run)


def side_by_side(
    run: Callable[[Sequence[TokenizedInput]], object],
    batches: Sequence[Sequence[TokenizedInput]],
    *,
    n: int,
    seconds: float,
) -> Load:
    """Run batches in `n` threads of this process; an answer is a batch."""
    parts = [batches[i::n] for i in range(n)]
    with ThreadPoolExecutor(n) as threads:
        return joined(list(threads.map(partial(timed, run, seconds=seconds), parts)))


if __name__ == "__main__":
    main()
