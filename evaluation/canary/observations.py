"""What a canary run saw: every answer and failure of both services, in pairs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pydantic import ConfigDict, Field

from evaluation.canary.questions import Question, Search
from infembed.config import Config


class Role(StrEnum):
    """The two services of a run."""

    STABLE = "stable"
    CANDIDATE = "candidate"


class _Described(Config):
    """A part of `/info`; what the canary does not use is left alone."""

    model_config = ConfigDict(extra="ignore")


class CollectionFacts(_Described):
    """What `/info` says of one collection."""

    documents: int = Field(ge=0)
    generation: str


class Limits(_Described):
    """What `/info` says of the largest request."""

    max_k: int = Field(ge=1)


class ServiceFacts(_Described):
    """What `/info` says of a service."""

    model_id: str
    model_sha: str
    document_fingerprint: str
    collections: dict[str, CollectionFacts]
    limits: Limits

    def is_same_as(self, other: "ServiceFacts") -> bool:
        """Whether model and index generations are the same; documents may come and go."""
        ours, theirs = (
            (facts.model_sha, {name: found.generation for name, found in facts.collections.items()})
            for facts in (self, other)
        )
        return ours == theirs


class FailureKind(StrEnum):
    """Why a request has no answer."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"  # 429 or 503 for longer than we may wait
    SERVER_ERROR = "server error"  # any other 5xx
    REFUSED = "refused"  # 4xx, and redirects, which are not followed
    BAD_ANSWER = "bad answer"  # 200 with something else than search results


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without an answer; `n_waits` counts the times it was told to come back later."""

    kind: FailureKind
    message: str
    n_waits: int = 0


class Hit(NamedTuple):
    """One document of an answer."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The documents a service found, best first, and how long the last attempt took."""

    hits: tuple[Hit, ...]
    latency_ms: float
    collection: str
    n_waits: int = 0


Outcome = Answer | Failure


@dataclass(frozen=True, slots=True)
class Exchange:
    """One search and what each service made of it, a moment apart."""

    search: Search
    stable: Outcome
    candidate: Outcome

    def of(self, role: Role) -> Outcome:
        """Return one service's outcome."""
        return self.stable if role is Role.STABLE else self.candidate


@dataclass(frozen=True, slots=True)
class Observation:
    """One question of the file with its exchange, or its two if it is a probe."""

    question: Question
    exchanges: tuple[Exchange, ...]


class Stop(StrEnum):
    """Why a run ended before its last question."""

    TIME_LIMIT = "the time limit ended the run"
    STABLE_FAILS = "the stable service failed too often in a row"
    CANDIDATE_FAILS = "the candidate failed too often in a row"
    BOTH_FAIL = "both services failed too often in a row"


class Visit(NamedTuple):
    """What `/info` of a service said before and after the questions; `after` is None where none were asked."""

    url: str
    before: ServiceFacts | Failure
    after: ServiceFacts | Failure | None


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything a verdict is made from."""

    stable: Visit
    candidate: Visit
    seen: tuple[Observation, ...]
    n_questions: int
    k: int
    collection: str | None = None
    stop: Stop | None = None
    questions_sha256: str = ""
    started_at: str = ""
    duration_s: float = 0.0

    def visit(self, role: Role) -> Visit:
        """Return one service's facts."""
        return self.stable if role is Role.STABLE else self.candidate

    @property
    def exchanges(self) -> list[Exchange]:
        return [exchange for observation in self.seen for exchange in observation.exchanges]

    def collection_of(self, role: Role) -> str | None:
        """Name the collection a service answered from: the one asked for, else what its answers say."""
        if self.collection is not None:
            return self.collection
        outcomes = (exchange.of(role) for exchange in self.exchanges)
        return next((outcome.collection for outcome in outcomes if isinstance(outcome, Answer)), None)
