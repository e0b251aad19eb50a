"""A suite of a few words a document, and a model that follows it as much as one likes: for pages and commands."""

from collections.abc import Sequence

import numpy as np

from evaluation.report import ModelIdentity, Report, ServingCosts
from evaluation.scoring import score_suite
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from infembed.inputs import TextInput
from infembed.vectors import FloatArray, normalize
from tests.fakes import HashingEncoder

FACETS = ("alpha", "beta", "gamma")
COSTS = ServingCosts(
    batch_invariance_max_abs=1e-6,
    latency_p50_ms=3,
    latency_p95_ms=5,
    resident_mb=300,
    distinct_vectors=1.0,
    measured_in="one run",
)


def small_suite(*, n_topics: int, name: str = "facets") -> Suite:
    """Each topic has two documents per facet and one with all; the instruction asks for facets."""
    documents: dict[str, str] = {}
    queries, qrels = [], {}
    for topic in range(n_topics):
        own = {
            f"{name}{topic}-{facet}{copy}": f"topic{topic} {facet} noise{topic}x{copy}"
            for facet in FACETS
            for copy in range(2)
        }
        own[f"{name}{topic}-all"] = f"topic{topic} alpha beta gamma"
        documents |= own
        asks = {"og": ("alpha", "beta"), "c1": ("beta",), "c2": ("alpha",)}
        for role, wanted in asks.items():
            query = SuiteQuery(
                id=f"{name}{topic}-{role}",
                topic=f"{name}{topic}",
                text=f"topic{topic}",
                instruction=" ".join(wanted),
                instruction_type="inclusion" if role == "c1" else "exclusion",
                original=None if role == "og" else f"{name}{topic}-og",
            )
            queries.append(query)
            qrels[query.id] = {d: int(any(facet in text.split() for facet in wanted)) for d, text in own.items()}
    return Suite(
        info=SuiteInfo(name=name, licence="none", source="made for tests"),
        documents=documents,
        queries=tuple(queries),
        qrels=qrels,
        qrel_diff=derive_qrel_diff(queries, qrels),
    )


class ObedientEncoder(HashingEncoder):
    """Follows instructions by adding them with a weight; 0 ignores them."""

    def __init__(self, weight: float, *, noise: float = 0.0) -> None:
        super().__init__(dim=64)
        self._weight = weight
        self._noise = noise

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        topics = self._encode([query.text for query in queries])
        wishes = np.array(
            [self._encode([query.instruction])[0] if query.instruction else np.zeros(self.dim) for query in queries]
        )
        noise = self._noise * np.random.default_rng(0).normal(size=topics.shape)
        return normalize((topics + self._weight * wishes + noise).astype(np.float32))


def scored(encoder: HashingEncoder, suites: Sequence[Suite], *, name: str) -> Report:
    """Score a model on suites."""
    return Report(
        model=ModelIdentity(name=name, digest=name, document_fingerprint=encoder.document_fingerprint),
        created_at="2026-01-01T00:00:00+00:00",
        suites=tuple(score_suite(suite, encoder) for suite in suites),
        serving=COSTS,
    )
