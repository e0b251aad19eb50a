"""What a candidate service must show beside the stable one."""

from typing import Self

from pydantic import Field, model_validator

from evaluation.statistics import FEWEST_TOPICS
from infembed.config import Config


class CanaryPolicy(Config):
    """The bounds of a canary run; configs/canary.toml gives the reasons of the defaults."""

    confidence: float = Field(
        default=0.95, ge=0.8, le=0.999, description="of every bound; raising it asks for more queries before a verdict"
    )
    fewest_queries: int = Field(
        default=50, ge=FEWEST_TOPICS, description="different queries both must have answered; fewer: INCONCLUSIVE"
    )
    fewest_probes: int = Field(
        default=20, ge=0, description="probe pairs that show a withdrawn document; 0 asks for none"
    )
    warmup_queries: int = Field(
        default=5, ge=0, le=1000, description="first shadow queries whose latency is not judged"
    )
    error_limit: float = Field(
        default=0.01, ge=0, le=0.5, description="share of the searches answered by stable that the candidate may fail"
    )
    zero_result_limit: float = Field(
        default=0.01, ge=0, le=0.5, description="share of the searches with results that may lose them all"
    )
    overlap_floor: float = Field(default=0.3, ge=0, le=1, description="of the mean share of common documents in top k")
    rank_correlation_floor: float = Field(
        default=0.0, ge=-1, le=1, description="of Kendall's tau over the common documents"
    )
    score_drift_limit: float = Field(
        default=0.2, gt=0, le=2, description="how far the best document's score may move on average; 2 allows anything"
    )
    p_mrr_margin: float = Field(default=0.05, gt=0, le=0.5, description="the largest loss of live p-MRR accepted")
    probe_depth: int = Field(
        default=100, ge=10, le=1000, description="documents asked for by a probe; deeper sees withdrawn ones fall lower"
    )
    latency_p50_ratio: float = Field(default=1.2, ge=1, le=100, description="candidate's p50 against stable's")
    latency_p95_ratio: float = Field(default=1.5, ge=1, le=100, description="candidate's p95 against stable's")
    missing_documents_limit: float = Field(
        default=0.01, ge=0, le=1, description="share by which the collections' document counts may differ"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if 0 < self.fewest_probes < FEWEST_TOPICS:
            raise ValueError(
                f"fewest_probes is {self.fewest_probes}; an interval needs {FEWEST_TOPICS} or more, 0 asks for none"
            )
        if self.warmup_queries + FEWEST_TOPICS > self.fewest_queries:
            raise ValueError(
                f"warmup_queries ({self.warmup_queries}) leaves fewer than {FEWEST_TOPICS} of fewest_queries "
                f"({self.fewest_queries}) to judge latency by"
            )
        return self
