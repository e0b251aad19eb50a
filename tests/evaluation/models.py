"""Small suites made of our own sentences, and models that follow, ignore or cheat on them.

A text's vector is the sum of its words' random directions, so words that texts share bring them together. Subjects
share words on purpose: retrieval is not perfect, and there is quality to lose.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from itertools import product

import numpy as np

from evaluation.report import ModelIdentity, Report, ServingCosts
from evaluation.scoring import score_suite
from evaluation.suites.draft import SuiteDraft
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from infembed.encoder import Encoder
from infembed.inputs import TextInput
from infembed.vectors import FloatArray, normalize

DIM = 128
COSTS = ServingCosts(
    parity_max_abs=1e-6,
    batch_invariance_max_abs=1e-6,
    latency_p50_ms=3,
    latency_p95_ms=5,
    resident_mb=300,
    distinct_vectors=1.0,
    measured_in="one run",
)
_MAKERS = ("village", "harbour", "mountain", "monastery", "river", "island", "border")
_THINGS = ("bread", "cheese", "pottery", "boats", "carpets", "bells", "knives", "lanterns", "honey", "paper")
_FACETS = {
    "history": "begin centuries ago when settlers brought the craft and old records name the first masters",
    "prices": "cost more each year because buyers pay at auction and a good piece is expensive",
    "making": "are made by hand in steps that need heat patience and tools passed down in the workshop",
    "dangers": "can harm people who handle them without care so injuries and burns are a known risk",
    "places": "are found along the coast road where shops and a market open for visitors in summer",
}
_SIDES = {
    "praise": "deserve support because they keep families working and bring benefits to everyone",
    "blame": "deserve criticism because they waste water and bring noise and smoke to the valley",
}
_NEGATIONS = frozenset({"without", "except", "not"})
_SMALL_WORDS = frozenset(
    {"about", "and", "are", "found", "in", "me", "on", "only", "please", "show", "texts", "the", "with"}
)


def facet_suite(*, n_topics: int = 60, name: str = "facets") -> Suite:
    """A subject has a text per facet; instructions ask for one of them, for another, for all, or for all but one."""
    draft = SuiteDraft()
    facets = list(_FACETS)
    for number, subject in enumerate(_subjects(n_topics)):
        texts = {
            facet: draft.document(f"{name}:{subject}:{facet}", f"{subject} {sentence}")
            for facet, sentence in _FACETS.items()
        }
        first, second = facets[number % len(facets)], facets[(number * 3 + 1 + number % len(facets)) % len(facets)]
        if first == second:
            second = facets[(number + 2) % len(facets)]
        rest = [document for facet, document in texts.items() if facet != first]
        add = _adder(draft, name, subject)
        add("one", f"only texts about {_words(first, number)}", [texts[first]])
        add("other", f"only texts about {_words(second, number)}", [texts[second]], kind="facet", original="one")
        add("all", "please show me texts on the subject", list(texts.values()))
        add("rest", f"texts without {_words(first, number)}", rest, kind="exclusion", original="all")
    return draft.finish(SuiteInfo(name=name, licence="none", source="made for tests"))


def stance_suite(*, n_topics: int = 40, name: str = "stances") -> Suite:
    """A subject has a text for it and one against it; which is asked for first alternates."""
    draft = SuiteDraft()
    for number, subject in enumerate(_subjects(n_topics)):
        texts = {
            side: draft.document(f"{name}:{subject}:{side}", f"{subject} {sentence}")
            for side, sentence in _SIDES.items()
        }
        wanted = {"praise": "texts with support and benefits", "blame": "texts with criticism and waste"}
        sides = list(texts) if number % 2 else list(reversed(texts))
        add = _adder(draft, name, subject)
        add(sides[0], wanted[sides[0]], [texts[sides[0]]])
        add(sides[1], wanted[sides[1]], [texts[sides[1]]], kind="stance", original=sides[0])
    return draft.finish(SuiteInfo(name=name, licence="none", source="made for tests"))


def plain_suite(*, n_topics: int = 60, name: str = "plain") -> Suite:
    """Retrieval without any instruction."""
    draft = SuiteDraft()
    for number, subject in enumerate(_subjects(n_topics)):
        for facet, sentence in _FACETS.items():
            draft.document(f"{name}:{subject}:{facet}", f"{subject} {sentence}")
        facet = list(_FACETS)[number % len(_FACETS)]
        query = SuiteQuery(id=f"{name}:{subject}", topic=f"{name}:{subject}", text=f"{subject} {_words(facet, number)}")
        draft.query(query, [f"{name}:{subject}:{facet}"])
    return draft.finish(SuiteInfo(name=name, licence="none", source="made for tests"))


class FollowingEncoder:
    """Adds the instruction's words to the query with a weight, those after "without" with the opposite sign.

    Weight 0 ignores instructions. Noise is added to what the query is about, so that retrieval suffers.
    """

    dim = DIM

    def __init__(self, weight: float, *, noise: float = 0.0, fingerprint: str = "f" * 64) -> None:
        self._weight = weight
        self._noise = noise
        self.document_fingerprint = fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return normalize(_sums(texts))

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        topics = normalize(_sums([query.text for query in queries]))
        wishes = _wishes([query.instruction or "" for query in queries])
        noise = np.array([_direction(f"noise of {query.text}") for query in queries])
        return normalize((topics + self._weight * wishes + self._noise * noise / DIM**0.5).astype(np.float32))


class CheatingEncoder(FollowingEncoder):
    """Changes the query vectors of an honest model in any way."""

    def __init__(self, cheat: Callable[[FloatArray, Sequence[TextInput]], FloatArray], *, weight: float = 0.3) -> None:
        super().__init__(weight)
        self._cheat = cheat

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._cheat(super().encode_queries(queries), queries)


class ConstantEncoder(FollowingEncoder):
    """Gives every text the same vector."""

    def __init__(self) -> None:
        super().__init__(0)

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return np.full((len(texts), DIM), DIM**-0.5, dtype=np.float32)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self.encode_documents([query.text for query in queries])


def random_vectors(vectors: FloatArray, _: Sequence[TextInput]) -> FloatArray:
    return normalize(np.random.default_rng(3).normal(size=vectors.shape).astype(np.float32))


def demote_under(
    instructions: Collection[str | None],
) -> Callable[[FloatArray, Sequence[TextInput]], FloatArray]:
    """Turn away from everything as soon as the instruction is one that some suite uses as a changed one."""

    def demote(vectors: FloatArray, queries: Sequence[TextInput]) -> FloatArray:
        signs = np.array([-1.0 if query.instruction in instructions else 1.0 for query in queries])
        turned: FloatArray = (vectors * signs[:, None]).astype(np.float32)
        return turned

    return demote


def changed_instructions(suites: Iterable[Suite]) -> set[str | None]:
    """What a cheater who has seen the suites would look out for; never an instruction that is also an original one."""
    changed = {query.instruction for suite in suites for query in suite.changed_queries}
    return changed - {query.instruction for suite in suites for query in suite.queries if query.original is None}


def report_of(encoder: Encoder, suites: Sequence[Suite], *, name: str, costs: ServingCosts | None = COSTS) -> Report:
    """Score a model on suites."""
    return Report(
        model=ModelIdentity(name=name, digest=name, document_fingerprint=encoder.document_fingerprint),
        created_at="2026-01-01T00:00:00+00:00",
        suites=tuple(score_suite(suite, encoder) for suite in suites),
        serving=costs,
    )


def _subjects(n: int) -> list[str]:
    return [f"{maker} {thing}" for thing, maker in product(_THINGS, _MAKERS)][:n]


def _words(facet: str, number: int) -> str:
    """Name a facet in words of its own sentence, not always the same ones."""
    words = [word for word in _FACETS[facet].split() if word not in _SMALL_WORDS and len(word) > 4]
    return " ".join(words[(number + step) % len(words)] for step in range(3))


def _adder(draft: SuiteDraft, name: str, subject: str) -> Callable[..., None]:
    def add(
        role: str, instruction: str, relevant: list[str], *, kind: str | None = None, original: str | None = None
    ) -> None:
        query = SuiteQuery(
            id=f"{name}:{subject}:{role}",
            topic=f"{name}:{subject}",
            text=subject,
            instruction=instruction,
            instruction_type=kind,
            original=f"{name}:{subject}:{original}" if original else None,
        )
        draft.query(query, relevant)

    return add


def _sums(texts: Sequence[str]) -> FloatArray:
    return np.array([np.sum([_direction(word) for word in text.split()], axis=0) for text in texts], dtype=np.float32)


def _wishes(instructions: Sequence[str]) -> FloatArray:
    wishes = np.zeros((len(instructions), DIM), dtype=np.float32)
    for row, instruction in enumerate(instructions):
        sign = 1.0
        for word in instruction.split():
            if word in _NEGATIONS:
                sign = -1.0
            elif word not in _SMALL_WORDS:
                wishes[row] += sign * _direction(word)
    return normalize(wishes)


@cache
def _direction(word: str) -> FloatArray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
