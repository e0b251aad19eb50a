"""A suite one can reason about, and models that follow, ignore or cheat on it."""

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.report import ModelIdentity, Report, ServingCosts
from evaluation.scoring import score_suite
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from infembed.inputs import TextInput
from infembed.vectors import FloatArray, normalize
from tests.fakes import HashingEncoder

FACETS = ("alpha", "beta", "gamma")
COSTS = ServingCosts(
    parity_max_abs=1e-6,
    batch_invariance_max_abs=1e-6,
    latency_p50_ms=3,
    latency_p95_ms=5,
    resident_mb=300,
    distinct_vectors=1.0,
)


def facet_suite(*, n_topics: int = 60, name: str = "facets") -> Suite:
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


class WeighingEncoder(HashingEncoder):
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
        rng = np.random.default_rng(0)
        noise = self._noise * rng.normal(size=topics.shape)
        return normalize((topics + self._weight * wishes + noise).astype(np.float32))


class CheatingEncoder(WeighingEncoder):
    """Changes the query vectors of an honest model in any way."""

    def __init__(self, cheat: Callable[[FloatArray, Sequence[TextInput]], FloatArray], *, weight: float = 0.5) -> None:
        super().__init__(weight)
        self._cheat = cheat

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._cheat(super().encode_queries(queries), queries)


def random_vectors(vectors: FloatArray, _: Sequence[TextInput]) -> FloatArray:
    return normalize(np.random.default_rng(3).normal(size=vectors.shape).astype(np.float32))


def demote_everything(vectors: FloatArray, queries: Sequence[TextInput]) -> FloatArray:
    """Turn away from the topic as soon as the instruction is a changed one (one word only)."""
    signs = [-1.0 if query.instruction and len(query.instruction.split()) == 1 else 1.0 for query in queries]
    turned: FloatArray = (vectors * np.array(signs)[:, None]).astype(np.float32)
    return turned


def report_of(
    encoder: HashingEncoder, suites: Sequence[Suite], *, name: str, costs: ServingCosts | None = COSTS
) -> Report:
    """Score a model on suites."""
    return Report(
        model=ModelIdentity(name=name, digest=name, document_fingerprint=encoder.document_fingerprint),
        created_at="2026-01-01T00:00:00+00:00",
        suites=tuple(score_suite(suite, encoder) for suite in suites),
        serving=costs,
    )
