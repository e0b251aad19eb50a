"""The conclusion of a canary run, as the job that started it reads it."""

from typing import Literal

from evaluation.canary.observations import FailureKind
from evaluation.canary.policy import CanaryPolicy
from evaluation.gate import Check, Verdict
from infembed.config import Config


class ServiceSummary(Config):
    """One service in figures; None: not known, or nothing to compute it from."""

    url: str
    model: str | None = None
    model_sha: str | None = None
    document_fingerprint: str | None = None
    collection: str | None = None
    generation: str | None = None
    documents: int | None = None
    n_searches: int
    n_waits: int
    failures: dict[FailureKind, int]
    first_failure: str | None = None
    n_without_result: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p_mrr: float | None = None
    instruction_sensitivity: float | None = None


class CanaryDecision(Config):
    """The verdict about a candidate service with every check behind it."""

    schema_version: Literal[1] = 1
    verdict: Verdict
    checks: tuple[Check, ...]
    stable: ServiceSummary
    candidate: ServiceSummary
    k: int
    n_questions: int
    n_asked: int
    questions_sha256: str
    started_at: str
    duration_s: float
    policy: CanaryPolicy

    @property
    def reasons(self) -> list[str]:
        """The reasons that decided: those of the verdict's checks, or all for PASS."""
        return [check.reason for check in self.checks if self.verdict in (Verdict.PASS, check.verdict)]
