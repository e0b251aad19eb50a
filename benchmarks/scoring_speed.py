"""How long scoring takes once the vectors are there: ranking, measuring, and the report with its intervals.

    python -m benchmarks.scoring_speed --topics 1000 --documents 1000

Each topic has an original and a changed instruction, so there are twice as many queries, each ranked as written and
without its instruction, and the changed ones twice more in the shuffle control. Vectors are random: the time does not
depend on what they are. CPU seconds are what a machine of its own would take.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from evaluation.report import Measure, ModelIdentity, Report, save_report
from evaluation.scoring import SuiteRuns, make_runs, measure_runs
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from infembed.inputs import TextInput
from infembed.vectors import FloatArray, normalize

DIM = 384
N_RELEVANT = 10
SEED = 20_261_128
_T = TypeVar("_T")


class Taken(NamedTuple):
    """What a step took; CPU time is what is left of it on a machine with nothing else to do."""

    wall_s: float
    cpu_s: float


class RandomEncoder:
    """Gives every text a random vector at once: what is timed is what comes after encoding."""

    dim = DIM
    document_fingerprint = "0" * 64

    def __init__(self) -> None:
        self._rng = np.random.default_rng(SEED)

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._vectors(len(texts))

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._vectors(len(queries))

    def _vectors(self, n: int) -> FloatArray:
        return normalize(self._rng.normal(size=(n, DIM)).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=1000)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    suite = random_suite(n_topics=arguments.topics, n_documents=arguments.documents)
    rounds = [run_once(suite) for _ in range(arguments.rounds)]
    print(f"{arguments.topics} topics, {len(suite.queries)} queries, {arguments.documents} documents, ", end="")
    print(f"median of {arguments.rounds} rounds\n")
    print("| step | wall s | CPU s |\n|---|---|---|")
    for step in rounds[0]:
        print_row(step, [taken[step] for taken in rounds])
    both = [(taken["measures"], taken["report with intervals"]) for taken in rounds]
    print_row("ranks to report", [Taken(a.wall_s + b.wall_s, a.cpu_s + b.cpu_s) for a, b in both])


def print_row(step: str, taken: Sequence[Taken]) -> None:
    wall_s, cpu_s = median(found.wall_s for found in taken), median(found.cpu_s for found in taken)
    print(f"| {step} | {wall_s:.2f} | {cpu_s:.2f} |")


def run_once(suite: Suite) -> dict[str, Taken]:
    taken: dict[str, Taken] = {}
    runs: SuiteRuns = timed(taken, "ranking", lambda: make_runs(suite, RandomEncoder()))
    scores = timed(taken, "measures", lambda: measure_runs(suite, runs))
    model = ModelIdentity(name="random", digest="0" * 64, document_fingerprint="0" * 64)

    def report() -> None:
        made = Report(model=model, created_at="2026-11-28T00:00:00+00:00", suites=(scores,))
        for measure in Measure:
            made.macro(measure)
        with tempfile.TemporaryDirectory() as directory:
            save_report(made, Path(directory) / "report.json")

    timed(taken, "report with intervals", report)
    return taken


def timed(taken: dict[str, Taken], step: str, work: Callable[[], _T]) -> _T:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    made = work()
    taken[step] = Taken(time.perf_counter() - wall_s, time.process_time() - cpu_s)
    return made


def random_suite(*, n_topics: int, n_documents: int) -> Suite:
    rng = np.random.default_rng(SEED)
    documents = {f"d{number:06}": f"document {number}" for number in range(n_documents)}
    ids = list(documents)
    queries, qrels = [], {}
    for topic in range(n_topics):
        relevant = [ids[place] for place in rng.choice(n_documents, size=N_RELEVANT, replace=False)]
        for role, found in (("og", relevant), ("changed", relevant[N_RELEVANT // 2 :])):
            query = SuiteQuery(
                id=f"t{topic}-{role}",
                topic=f"t{topic}",
                text=f"query {topic}",
                instruction=f"instruction {role} {topic}",
                instruction_type=f"type {topic % 3}" if role == "changed" else None,
                original=f"t{topic}-og" if role == "changed" else None,
            )
            queries.append(query)
            qrels[query.id] = dict.fromkeys(found, 1)
    return Suite(
        info=SuiteInfo(name="random", licence="none", source="made at random"),
        documents=documents,
        queries=tuple(queries),
        qrels=qrels,
        qrel_diff=derive_qrel_diff(queries, qrels),
    )


if __name__ == "__main__":
    main()
