"""The promotion policy: what a candidate must show before it may take the champion's place."""

import hashlib
import json
from typing import Literal, Self

from pydantic import Field, model_validator

from evaluation.statistics import FEWEST_TOPICS
from infembed.config import Config


class Policy(Config):
    """What a candidate must show. Scores are on a scale of -1..1 or 0..1, so 0.01 is one point.

    All margins are fixed before the models are scored; a margin chosen afterwards proves nothing.
    """

    @property
    def digest(self) -> str:
        """SHA-256 over all fields: two decisions with one digest asked for the same."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    goal: Literal["improve", "maintain"] = Field(
        default="improve",
        description="improve: p-MRR must be higher; maintain: it must not be lower by more than the margin",
    )
    p_mrr_margin: float = Field(
        default=0.02, gt=0, le=0.2, description="maintain: the largest loss of p-MRR that is accepted"
    )
    suite_loss: float = Field(
        default=0.05, gt=0, le=0.5, description="the largest loss of p-MRR or nDCG@10 accepted on one suite"
    )
    ndcg_margin: float = Field(
        default=0.01, gt=0, le=0.1, description="the largest loss of nDCG@10 accepted on the mean of the suites"
    )
    ndcg_floor: float = Field(default=0.2, gt=0, lt=1, description="every suite's nDCG@10 must be above it")
    preserve_bound: float = Field(
        default=0.1, gt=0, le=0.5, description="how far documents that stay relevant may fall (preserve-MRR)"
    )
    requires_preserve: bool = Field(
        default=True, description="leave the gate open where no suite has documents that stay relevant"
    )
    shuffle_share: float = Field(
        default=0.5, gt=0, lt=1, description="the largest share of p-MRR that another topic's instructions may give"
    )
    type_loss: float = Field(
        default=0.05, gt=0, le=0.5, description="the largest loss of p-MRR accepted on one instruction type"
    )
    type_floor: float = Field(
        default=-0.25, ge=-1, lt=1, description="no instruction type may have a p-MRR clearly below it"
    )
    fewest_topics_of_type: int = Field(
        default=20, ge=FEWEST_TOPICS, description="types with fewer topics are reported, not judged"
    )
    confidence: float = Field(default=0.95, ge=0.8, le=0.999, description="of every one-sided bound and test")
    parity_max_abs: float = Field(
        default=1e-4, gt=0, le=0.01, description="largest difference of a unit vector's element from the checkpoint's"
    )
    requires_parity: bool = Field(
        default=False, description="refuse a candidate whose parity with its checkpoint was not measured"
    )
    batch_invariance_max_abs: float = Field(
        default=1e-4, gt=0, le=0.01, description="largest difference of an element between a text alone and batched"
    )
    latency_ratio: float = Field(default=1.2, ge=1, le=10, description="p95 against the champion's, in one run")
    memory_ratio: float = Field(default=1.2, ge=1, le=10, description="resident memory against the champion's")
    requires_serving: bool = Field(default=True, description="refuse reports without serving costs of one run")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in ("suite_loss", "type_loss"):
            part = getattr(self, name)
            if self.goal == "maintain" and self.p_mrr_margin > part:
                raise ValueError(
                    f"p_mrr_margin ({self.p_mrr_margin}) is more than {name} ({part}): the mean cannot lose more than "
                    f"each of its parts may; lower p_mrr_margin or raise {name}"
                )
        if self.ndcg_margin > self.suite_loss:
            raise ValueError(
                f"ndcg_margin ({self.ndcg_margin}) is more than suite_loss ({self.suite_loss}): the mean cannot lose "
                "more than each suite may; lower ndcg_margin or raise suite_loss"
            )
        if self.ndcg_margin >= self.ndcg_floor:
            raise ValueError(
                f"ndcg_margin ({self.ndcg_margin}) is not below ndcg_floor ({self.ndcg_floor}): a model at the floor "
                "could lose all its quality; lower ndcg_margin or raise ndcg_floor"
            )
        if self.requires_parity and not self.requires_serving:
            raise ValueError(
                "requires_parity is true and requires_serving is false: parity is one of the serving costs; "
                "set both or neither"
            )
        return self
