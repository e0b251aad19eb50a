"""The evaluation report: values per topic first, then means with intervals; what the gate reads."""

import hashlib
import re
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, JsonValue

from evaluation import statistics
from evaluation.statistics import Interval, Values
from infembed.artefacts import write_atomically
from infembed.bundle import Precision
from infembed.config import Config, parse_json
from infembed.errors import BadInputError, MissingArtefactError


class Measure(StrEnum):
    """Everything a report may hold per topic; higher is better except where said."""

    P_MRR = "p-MRR"
    PRESERVE_MRR = "preserve-MRR"  # 0 is best
    SHUFFLED_P_MRR = "shuffled p-MRR"  # 0 is best: another topic's instruction must not move these documents
    PAIRWISE = "pairwise accuracy"
    PAIRED = "paired accuracy"
    ROBUSTNESS = "Robustness@10"
    NDCG = "nDCG@10"
    PLAIN_NDCG = "plain nDCG@10"
    LIFT = "instruction lift"
    MAP = "MAP@1000"
    RECALL = "R@100"
    RECIPROCAL_RANK = "RR@10"
    SICR = "SICR"
    WISE = "WISE"


class Effect(StrEnum):
    """What the changed instruction means for a judged document."""

    WITHDRAWN = "withdrawn"  # relevant before, no longer: it should fall
    KEPT = "kept"  # relevant under both: it should stay
    ADDED = "added"  # relevant only now: it should rise


class DocumentMove(Config):
    """One judged document's rank under the original and the changed instruction."""

    document: str
    excerpt: str
    effect: Effect
    rank_before: int = Field(ge=1)
    rank_after: int = Field(ge=1)


class QueryMoves(Config):
    """A changed query and what it moved."""

    text: str
    original_instruction: str | None
    changed_instruction: str | None
    instruction_type: str | None
    p_mrr: float
    documents: tuple[DocumentMove, ...]


class TopicMoves(Config):
    """One of a suite's best or worst topics, for people to look at; the gate reads none of it."""

    topic: str
    p_mrr: float
    queries: tuple[QueryMoves, ...]


class TopicScores(Config):
    """One topic's values; `by_type` splits p-MRR by the type of the changed instruction."""

    topic: str
    values: dict[Measure, float]
    by_type: dict[str, float] = Field(default_factory=dict)


class SuiteScores(Config):
    """One suite's values, bound to the suite by its digest."""

    suite: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    n_documents: int
    n_queries: int
    topics: tuple[TopicScores, ...] = Field(min_length=1)
    moves: tuple[TopicMoves, ...] = Field(default=(), description="the ten best and the ten worst topics, best first")

    def values_of(self, measure: Measure) -> dict[str, float]:
        """Return the measure by topic, leaving out topics it does not apply to."""
        return {topic.topic: topic.values[measure] for topic in self.topics if measure in topic.values}

    def values_of_type(self, instruction_type: str) -> dict[str, float]:
        """Return p-MRR by topic for one type of changed instruction."""
        return {t.topic: t.by_type[instruction_type] for t in self.topics if instruction_type in t.by_type}

    @property
    def instruction_types(self) -> list[str]:
        return sorted({kind for topic in self.topics for kind in topic.by_type})


class ServingCosts(Config):
    """What one run measured of the model as it will be served."""

    parity_max_abs: float | None = Field(default=None, description="against the checkpoint, where one was given")
    batch_invariance_max_abs: float = Field(description="largest difference between a text alone and in a batch")
    latency_p50_ms: float = Field(gt=0, description="one query with an instruction, alone")
    latency_p95_ms: float = Field(gt=0)
    resident_mb: float = Field(gt=0, description="memory of the process with the model loaded, after the runs")
    distinct_vectors: float = Field(ge=0, le=1, description="share of different vectors among different probe texts")
    measured_in: str = Field(default="", description="the run: only costs of one run can be compared")


class ModelKind(StrEnum):
    """Through what a model was scored."""

    BUNDLE = "bundle"
    URL = "url"
    CHECKPOINT = "checkpoint"
    SENTENCE_TRANSFORMERS = "sentence-transformers"


class ModelIdentity(Config):
    """Which model was scored."""

    name: str
    digest: str = Field(description="of the bundle, or of what was scored in its place")
    document_fingerprint: str
    kind: ModelKind = ModelKind.BUNDLE
    precision: Precision = Field(default=Precision.FP32, description="of the bundle's graphs that were scored")
    fusion: str | None = None
    dimensions: int | None = Field(
        default=None,
        gt=0,
        exclude_if=lambda width: width is None,  # reports on whole vectors keep the digest that decisions name
        description="that vectors were cut to; absent: whole",
    )

    @property
    def short_name(self) -> str:
        """A name for a directory: what people call the model, how it was scored, and which one it is."""
        kind = "" if self.kind is ModelKind.BUNDLE else self.kind
        precision = "" if self.precision is Precision.FP32 else self.precision
        width = "" if self.dimensions is None else f"{self.dimensions}d"
        parts = [self.name, kind, precision, width, self.digest[:8]]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(filter(None, parts))).lstrip(".")


class Estimate(Config):
    """A mean with its 95 % interval; no interval where there are too few topics for one."""

    mean: float
    low: float | None = None
    high: float | None = None
    n_topics: int


class Summary(Config):
    """The means a report is read for, all made from its topics' values."""

    suites: dict[str, dict[Measure, Estimate]]
    macro: dict[Measure, Estimate] = Field(description="means of the suites that have the measure")
    types: dict[str, Estimate] = Field(description="p-MRR by type of instruction, mean of the suites that have it")


class Report(Config):
    """A model's scores on some suites."""

    schema_version: Literal[1] = 1
    model: ModelIdentity
    created_at: str
    suites: tuple[SuiteScores, ...] = Field(min_length=1)
    summary: Summary | None = None
    serving: ServingCosts | None = None
    made_with: dict[str, str] = Field(default_factory=dict)
    notes: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of everything the report says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def suite(self, name: str) -> SuiteScores:
        """Return one suite's scores."""
        for scores in self.suites:
            if scores.suite == name:
                return scores
        raise BadInputError(f"the report of {self.model.name} has no suite {name!r}; evaluate it on that suite")

    def strata(self, measure: Measure) -> dict[str, Values]:
        """Return the measure's topic values by suite, for suites it applies to."""
        found = {scores.suite: scores.values_of(measure) for scores in self.suites}
        return {suite: np.array(list(values.values())) for suite, values in found.items() if values}

    def macro(self, measure: Measure) -> Interval | None:
        """Mean over suites with its interval; None where no suite has the measure."""
        strata = self.strata(measure)
        return statistics.interval(strata) if strata else None


def save_report(report: Report, path: Path) -> None:
    """Write a report as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (report.model_dump_json(indent=1) + "\n").encode())


def load_report(path: Path) -> Report:
    """Read a report; non-finite or missing values are refused."""
    if not path.is_file():
        raise MissingArtefactError(f"no report at {path}; make one with `infembed evaluate`")
    return parse_json(Report, path, remedy="give the report.json that `infembed evaluate` or `infembed gate` wrote")
