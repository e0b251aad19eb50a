"""Hand-made observations of a canary run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from evaluation.canary.observations import (
    Answer,
    Exchange,
    Failure,
    FailureKind,
    Hit,
    Observation,
    Observations,
    Outcome,
    ServiceFacts,
    Visit,
)
from evaluation.canary.questions import Probe, Shadow

DOCUMENTS = [f"d{number}" for number in range(10)]
OTHERS = [f"other{number}" for number in range(10)]


def facts(
    *, sha: str = "a" * 64, fingerprint: str = "f" * 64, generation: str = "gen-1", n: int = 340, name: str = "demo"
) -> ServiceFacts:
    """Describe a service with one collection."""
    return ServiceFacts.model_validate(
        {
            "model_id": "tiny",
            "model_sha": sha,
            "document_fingerprint": fingerprint,
            "collections": {name: {"documents": n, "generation": generation}},
            "limits": {"max_k": 1000},
        }
    )


def answer(
    ids: Sequence[str] = DOCUMENTS, *, latency_ms: float = 10.0, best: float = 0.9, collection: str = "demo"
) -> Answer:
    """Rank these documents, the best with this score and each further one a hundredth lower."""
    hits = tuple(Hit(document, best - rank / 100) for rank, document in enumerate(ids))
    return Answer(hits, latency_ms, collection)


def failure(kind: FailureKind = FailureKind.SERVER_ERROR, message: str = "answered 500") -> Failure:
    return Failure(kind, message)


Outcomes = Callable[[int], Outcome]


def shadows(stable: Outcomes, candidate: Outcomes, *, n: int = 60) -> tuple[Observation, ...]:
    """Different shadow queries, both services' outcomes by number."""
    seen = []
    for number in range(n):
        question = Shadow(query=f"query {number}")
        (search,) = question.searches
        seen.append(Observation(question, (Exchange(search, stable(number), candidate(number)),)))
    return tuple(seen)


def probe(
    stable: tuple[Outcome, Outcome],
    candidate: tuple[Outcome, Outcome],
    *,
    withdrawn: Sequence[str] = ("d0",),
    number: int = 0,
) -> Observation:
    """One probe pair: each service's outcome under the original and under the changed instruction."""
    question = Probe(
        query=f"probe {number}",
        original_instruction="with prices",
        changed_instruction="no prices",
        withdrawn=tuple(withdrawn),
    )
    return Observation(question, tuple(map(Exchange, question.searches, stable, candidate)))


def observations(
    stable: Outcomes = lambda _: answer(), candidate: Outcomes = lambda _: answer(), *, n: int = 60, **changes: Any
) -> Observations:
    """A run of shadow queries between two services that describe themselves alike, with changes."""
    made = Observations(
        stable=Visit("http://stable", facts(), facts()),
        candidate=Visit("http://candidate", facts(), facts()),
        seen=shadows(stable, candidate, n=n),
        n_questions=n,
        k=10,
    )
    return replace(made, **changes)
